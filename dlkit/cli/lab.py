"""``dlkit lab``: JupyterLab on the learner's copies of the notebooks, for this user alone.

The notebooks are copied into a folder of the learner first (`copies`). The server listens on the
loopback address and asks for a token. Jupyter has options for all of that; what this command adds
is that they hold whatever is set in the user's own Jupyter settings, and that the address is
printed and the right notebook open.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import secrets
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from dlkit.cli.copies import FIRST_NOTEBOOK, MEMORY, bring_copies, reset_copy

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

FOLDER = Path("dlkit-notebooks")
HOST = "127.0.0.1"
JUPYTERLAB = Path(__file__).parent / "jupyterlab"
# Names and captions for screen readers, which JupyterLab does not give.
EXTENSION = f"--LabApp.extra_labextensions_path={JUPYTERLAB / 'labextensions'}"
USUAL_PORT = 8888

# The token reaches the server through the environment, which only this user can read; on the
# command line every user of the machine could. It is then given as an argument inside the process,
# because an argument outranks settings files, one of which might turn tokens off.
LAUNCH = """\
import os, sys
from jupyterlab.labapp import main
sys.exit(main([*sys.argv[1:], "--IdentityProvider.token=" + os.environ["JUPYTER_TOKEN"]]))
"""

EXAMPLES = """\
examples:
  dlkit lab
  dlkit lab --folder ~/course --port 8899 --no-browser
  dlkit lab --reset 01_batching
  dlkit lab --check
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command's arguments to the command line."""
    parser = subparsers.add_parser(
        "lab",
        help="open JupyterLab on the first notebook",
        description=(
            "Copy the notebooks into a folder of yours, where you may change them, and open "
            "JupyterLab there, reachable from this machine only."
        ),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--port",
        type=port_number,
        help=f"listen here or not at all (default: {USUAL_PORT}, or a free one if that is taken)",
    )
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address and open no browser"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help=f"the folder of your copies (default: {FOLDER}, or the working folder if it is one)",
    )
    task = parser.add_mutually_exclusive_group()
    task.add_argument(
        "--reset", metavar="NAME", help="give a notebook back as it came, keep yours, and end"
    )
    task.add_argument(
        "--check", action="store_true", help="run all notebooks, print a table, and end"
    )
    parser.set_defaults(run=run)


def port_number(text: str) -> int:
    """Return the port that ``text`` names, as argparse wants it.

    Example:
        >>> port_number("8899")
        8899
    """
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, not {text!r}")
    return int(text)


def is_free(port: int) -> bool:
    """Say whether a server could listen on ``port`` of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name == "posix":
            # As the server does it: otherwise a port counts as taken for a minute after use.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def claim(port: int) -> bool:
    """Take a port for the server that this process will become; False if it is taken.

    A server listens seconds after its port was chosen. Until then the port is free, and another
    lab that starts would choose it too; so whoever chooses one locks a file of its name, and the
    lock stays with the process as long as it lives.
    """
    if not is_free(port):
        return False
    if os.name != "posix":
        return True
    import fcntl

    path = Path(tempfile.gettempdir(), f"dlkit-lab-{os.getuid()}-{port}.lock")
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW, 0o600)
    except OSError:
        return True  # without a place for locks it is the one who comes first
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return False
    os.set_inheritable(descriptor, True)
    return True


def choose_port(wanted: int | None) -> int:
    """Return the port to listen on, claimed for this process.

    Args:
        wanted: the port that was asked for, or None to take the usual one or any free one.

    Raises:
        OSError: the port that was asked for is taken.
    """
    if wanted is not None:
        if not claim(wanted):
            raise OSError(
                f"port {wanted} is taken by another program, perhaps an earlier JupyterLab. "
                "Name another one, or none and a free one is found."
            )
        return wanted
    port = USUAL_PORT
    while not claim(port):
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = int(probe.getsockname()[1])
    return port


def choose_folder(wanted: Path | None) -> Path:
    """Return the folder of the learner's copies, which need not be there yet."""
    if wanted is not None:
        return wanted.expanduser().resolve()
    here = Path.cwd()
    return here if (here / MEMORY).is_file() else here / FOLDER


def server_command(folder: Path, port: int, *, open_browser: bool) -> list[str]:
    """Return the command that starts the server; the token is not part of it."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [
        sys.executable,
        "-c",
        LAUNCH,
        f"--ServerApp.ip={HOST}",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={folder}",
        f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK}",
        f"--ServerApp.open_browser={open_browser}",
        "--ServerApp.answer_yes=True",  # the first Ctrl-C ends it, without a question
        # The usual user of a container is root. Jupyter refuses that, for fear of visitors.
        *(["--ServerApp.allow_root=True"] if is_root else []),
        # Pinned versions and a class without network: no questions about news and updates.
        f"--LabApp.app_settings_dir={JUPYTERLAB}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        EXTENSION,
    ]


def run(args: argparse.Namespace) -> int:
    """Bring the copies and start the server in place of this process.

    It returns only where that is impossible, and after ``--reset`` and ``--check``.
    """
    folder = choose_folder(args.folder)
    try:
        if args.reset:
            print(reset_copy(folder, args.reset))
            return 0
        if args.check:
            from dlkit.cli.lab_check import check_notebooks

            return check_notebooks()
    except (OSError, ValueError) as error:
        print(f"dlkit lab: {error}", file=sys.stderr)
        return 1
    if importlib.util.find_spec("jupyterlab") is None:
        print("dlkit lab: JupyterLab is missing. Install it: make env", file=sys.stderr)
        return 1
    try:
        port = choose_port(args.port)
        report = bring_copies(folder)
    except OSError as error:
        print(f"dlkit lab: {error}", file=sys.stderr)
        return 1
    token = os.environ.get("JUPYTER_TOKEN") or secrets.token_hex(24)
    environment = {
        **os.environ,
        "JUPYTER_TOKEN": token,
        # The kernel named python3 is this environment's, not one that lies in the home folder.
        "JUPYTER_PREFER_ENV_PATH": "1",
    }
    command = server_command(folder, port, open_browser=not args.no_browser)
    print(
        f"Your notebooks are in {folder}. {report}\n"
        f"JupyterLab starts at\n\n"
        f"    http://{HOST}:{port}/lab/tree/{FIRST_NOTEBOOK}?token={quote(token)}\n\n"
        f"Open this address if no browser opens. Ctrl-C ends it.\n",
        flush=True,
    )
    if os.name != "nt":  # on Windows, exec would give the prompt back while the server still runs
        os.execve(command[0], command, environment)
    return subprocess.call(command, env=environment)
