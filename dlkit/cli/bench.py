"""``dlkit bench``: the same work on this loader, PyTorch's and those of other projects.

Each loader that is installed does each kind of work in a process of its own, in turn with the
others; `dlkit.bench` says how.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

EXAMPLES = """\
examples:
  dlkit bench
  dlkit bench jpeg text
  dlkit bench --quick
  dlkit bench --peers grain SPDL --json figures.json --plot figures.png

columns: samples/s, median of the rounds; its ratio to PyTorch's, the median and the range over the
rounds; CPU ms of all processes for 1,000 samples; MB held after the last pass, what is shared
counted once; seconds from making the loader to its first batch

peers: pip install torchdata spdl spdl-io grain webdataset litdata mosaicml-streaming datasets
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command's arguments to the command line."""
    parser = subparsers.add_parser(
        "bench",
        help="compare this loader with PyTorch's and others on this machine",
        description="Compare this loader with PyTorch's and with others that are installed.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("works", nargs="*", metavar="WORK",
                        help="items, jpeg, arrays, text, file (default: all)")  # fmt: skip
    parser.add_argument("--peers", nargs="+", metavar="NAME",
                        help="only these beside PyTorch's and dlkit's")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5, help="turns of each loader (default: 5)")
    parser.add_argument("--quick", action="store_true",
                        help="few samples, one round: to see that all of it runs")  # fmt: skip
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a picture there (PNG)")
    parser.set_defaults(run=run, parser=parser)


def run(options: argparse.Namespace) -> int:
    """Compare, and print a table for each kind of work as soon as it is there.

    Returns:
        0, or 1 if a loader failed that is not just absent or not made for the work, or a file
        cannot be written.
    """
    from rich.console import Console

    from dlkit.bench.contest import Result, contest
    from dlkit.bench.table import machine, plot, table, write_json
    from dlkit.bench.works import WORKS, make_work

    works = options.works or list(WORKS)
    if unknown := [name for name in works if name not in WORKS]:
        options.parser.error(f"no such work: {', '.join(unknown)}; there are {', '.join(WORKS)}")
    if options.rounds < 1:
        options.parser.error("--rounds must be 1 or more")
    loaders = _loaders(options)
    console, about = Console(), machine()
    if not console.is_terminal:
        console.width = 100  # not the 80 that it takes for a file, by which columns would be cut
    console.print(", ".join(f"{key} {value}" for key, value in about.items()), highlight=False)
    results: list[Result] = []
    with TemporaryDirectory(prefix="dlkit-bench-") as folder, console.status("") as status:
        for name in works:
            work = make_work(name, Path(folder), options.quick)
            status.update(f"{name}: writing files")
            rounds = 1 if options.quick else options.rounds
            results += contest(work, loaders, rounds, progress=status.update)
            console.print(table(work.summary, results[-len(loaders) :]))
    try:
        if options.json:
            write_json(options.json, about, results)
        if options.plot:
            plot(results).savefig(options.plot)
    except (OSError, ValueError) as error:
        print(f"dlkit bench: {error}", file=sys.stderr)
        return 1
    return int(any(result.failed for result in results))


def _loaders(options: argparse.Namespace) -> list[str]:
    """The loaders that are asked for: PyTorch's first, which the others are compared with."""
    from dlkit.bench.peers import PEERS

    always = [name for name in PEERS if PEERS[name].package in ("torch", "dlkit")]
    wanted = options.peers
    if wanted is None:
        return list(PEERS)
    by_name = {name.lower(): name for name in PEERS}
    if unknown := [name for name in wanted if name.lower() not in by_name]:
        options.parser.error(f"no such loader: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    return list(dict.fromkeys([*always, *(by_name[name.lower()] for name in wanted)]))
