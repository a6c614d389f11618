"""``dlkit lab``: JupyterLab on the first notebook, for this machine's user alone.

The server listens on the loopback address and asks for a token. Jupyter has options for all of
that; what this command adds is that they hold whatever is set in the user's own Jupyter settings,
and that the address is printed and the right notebook open.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import secrets
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

FIRST_NOTEBOOK = Path("notebooks", "00_start_here.ipynb")
HOST = "127.0.0.1"
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
  dlkit lab --port 8899 --no-browser
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command's arguments to the command line."""
    parser = subparsers.add_parser(
        "lab",
        help="open JupyterLab on the first notebook",
        description="Open JupyterLab on the first notebook, reachable from this machine only.",
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


def choose_port(wanted: int | None) -> int:
    """Return the port to listen on.

    Args:
        wanted: the port that was asked for, or None to take the usual one or any free one.

    Raises:
        OSError: the port that was asked for is taken.
    """
    if wanted is not None:
        if not is_free(wanted):
            raise OSError(
                f"port {wanted} is taken by another program, perhaps an earlier JupyterLab. "
                "Name another one, or none and a free one is found."
            )
        return wanted
    if is_free(USUAL_PORT):
        return USUAL_PORT
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def find_project(start: Path | None = None) -> Path:
    """Return the folder that holds ``notebooks/``.

    Args:
        start: where to look first; the folder of this package, then the working folder, if None.

    Raises:
        FileNotFoundError: there is no such folder, as when dlkit was installed without them.
    """
    places = [start] if start else [Path(__file__).resolve().parents[2], Path.cwd()]
    for place in places:
        if (place / FIRST_NOTEBOOK).is_file():
            return place
    raise FileNotFoundError(
        f"{FIRST_NOTEBOOK} was not found in {' or '.join(map(str, places))}. "
        "The notebooks are in the project's checkout: run `dlkit lab` there."
    )


def server_command(project: Path, port: int, *, open_browser: bool) -> list[str]:
    """Return the command that starts the server; the token is not part of it."""
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0
    return [
        sys.executable,
        "-c",
        LAUNCH,
        f"--ServerApp.ip={HOST}",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={project}",
        f"--LabApp.default_url=/lab/tree/{FIRST_NOTEBOOK.as_posix()}",
        f"--ServerApp.open_browser={open_browser}",
        "--ServerApp.answer_yes=True",  # the first Ctrl-C ends it, without a question
        # The usual user of a container is root. Jupyter refuses that, for fear of visitors.
        *(["--ServerApp.allow_root=True"] if is_root else []),
        # Pinned versions and a class without network: no questions about news and updates.
        f"--LabApp.app_settings_dir={Path(__file__).parent / 'jupyterlab'}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]


def run(args: argparse.Namespace) -> int:
    """Start the server in place of this process and return only where that is impossible."""
    if importlib.util.find_spec("jupyterlab") is None:
        print("dlkit lab: JupyterLab is missing. Install it: make env", file=sys.stderr)
        return 1
    try:
        project = find_project()
        port = choose_port(args.port)
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
    command = server_command(project, port, open_browser=not args.no_browser)
    print(
        f"JupyterLab starts at\n\n"
        f"    http://{HOST}:{port}/lab/tree/{FIRST_NOTEBOOK.as_posix()}?token={token}\n\n"
        f"Open this address if no browser opens. Ctrl-C ends it.\n",
        flush=True,
    )
    if os.name != "nt":  # on Windows, exec would give the prompt back while the server still runs
        os.execve(command[0], command, environment)
    return subprocess.call(command, env=environment)
