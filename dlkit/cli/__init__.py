"""The command line: ``dlkit lab``, ``train``, ``profile``, ``bench``, ``live`` and others.

Each command is a module of this package with one function, ``add_parser(subparsers)``, which adds
the command's arguments and sets ``run``, a callable from the parsed arguments to an exit status.
Only the module of the command that was asked for is imported, so that no command pays for what
another one needs. `lab` stands on `copies` and `lab_check`, `doctor` on `machine` and
`environment`, `train` on `train_run`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

__all__ = ["COMMANDS", "build_parser", "main"]

COMMANDS = {
    "lab": "open JupyterLab on the first notebook",
    "live": "watch a live system in the terminal",
    "train": "train a CNN on handwritten digits and report what it learned",
    "profile": "run a loader of yours and say where its time goes",
    "bench": "compare this loader with PyTorch's and others on this machine",
    "exercises": "list exercises, hand them out, and grade submissions",
    "doctor": "examine this machine and say what will hurt",
}


def build_parser(command: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the command line, with the arguments of one command filled in.

    Args:
        command: the command whose module is imported; None for none, which is enough to list
            the commands.

    Returns:
        A parser whose result has a ``run`` attribute when ``command`` was parsed.

    Example:
        >>> build_parser().prog
        'dlkit'
    """
    parser = argparse.ArgumentParser(
        prog="dlkit",
        description="A data-loading lab for deep learning.",
        epilog="dlkit COMMAND --help explains a command.",
    )
    parser.add_argument("--version", action="version", version=f"dlkit {version('dlkit')}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        if name == command:
            importlib.import_module(f"dlkit.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=summary, add_help=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        argv: the arguments after the program's name; those of this process when None.

    Returns:
        0 when the command succeeded, 1 when something it imports is missing or damaged, 130 when
        it was interrupted, otherwise what it returned.

    Raises:
        SystemExit: with status 0 after ``--help`` and ``--version``, 2 for arguments that
            cannot be understood.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # The options before the command take no value, so the first word is the command.
    command = next((word for word in arguments if not word.startswith("-")), None)
    try:
        parser = build_parser(command)
    except ImportError as error:
        print(_unusable(command, error), file=sys.stderr)
        return 1
    args = parser.parse_args(arguments)
    try:
        status: int = args.run(args)
    except ModuleNotFoundError as error:
        print(_unusable(command, error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # what a shell reports for Ctrl-C
    except BrokenPipeError:
        # The reader, for instance `head`, has seen enough. Python flushes the pipe once more at
        # exit and would complain, so let it flush into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _unusable(command: str | None, error: ImportError) -> str:
    """Say what a command misses; a torch that is broken is reported here, by `doctor` too."""
    return (
        f"ERROR: dlkit {command} cannot start: {type(error).__name__}: {error}\n"
        f"Something it imports is missing or damaged in {sys.prefix}.\n"
        "Do: make env, which repairs the environment; "
        "elsewhere pip install --force-reinstall torch 'dlkit[lab]'"
    )
