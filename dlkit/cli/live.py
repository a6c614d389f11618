"""``dlkit live digits`` and ``dlkit live driving``: two live systems, watched in a terminal.

The numbers come from ``dlkit.live`` and the pipeline's own statistics; here they are put in rows.
In a terminal they stay in place; into a file or a pipe they go line by line.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from dlkit.cli.train import above_zero, positive

if TYPE_CHECKING:
    from argparse import ArgumentParser, _SubParsersAction

    from rich.table import Table

EXAMPLES = """\
examples:
  dlkit live digits
  dlkit live digits --rate 1000 --objective 0.03 --seconds 20
  dlkit live digits --ramp
  dlkit live digits --fixed 64
  dlkit live driving --tolerance 0.03
  dlkit live driving --planning 0.05 --policy block
"""
POLICIES = ("block", "drop_oldest", "drop_newest", "sample")
EVERY = 0.5  # seconds between two readings
Rows = Mapping[str, str]


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command's arguments to the command line."""
    parser = subparsers.add_parser(
        "live",
        help="watch a live system in the terminal",
        description="Recognise digits as they come, or follow the sensors of a car; Ctrl-C ends.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("system", choices=("digits", "driving"), help="which one")
    parser.add_argument("--seconds", type=above_zero, default=16.0, help="how long (default: 16)")
    parser.add_argument("--policy", choices=POLICIES, default="drop_oldest",
                        help="what goes where there is no room (default: drop_oldest)")  # fmt: skip
    digits = parser.add_argument_group("digits")
    digits.add_argument("--rate", type=above_zero, default=200.0, help="frames/s (default: 200)")
    digits.add_argument("--objective", type=above_zero, default=0.05,
                        help="seconds that 99 %% of answers may take (default: 0.05)")  # fmt: skip
    digits.add_argument("--fixed", type=positive, metavar="N", help="batches of N instead")
    digits.add_argument("--ramp", action="store_true", help="double the rate every 5 seconds")
    driving = parser.add_argument_group("driving")
    driving.add_argument("--tolerance", type=above_zero, default=0.06,
                         help="seconds between sensors (default: 0.06)")  # fmt: skip
    driving.add_argument("--planning", type=above_zero, default=0.01,
                         help="seconds for each sample (default: 0.01)")  # fmt: skip
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run a system, show it, and return the exit status."""
    rows = digits_rows if args.system == "digits" else driving_rows
    try:
        _show(rows(args))
    except (ValueError, OSError, ModuleNotFoundError) as error:
        print(f"dlkit live: {error}", file=sys.stderr)
        return 1
    return 0


def _show(readings: Iterator[Rows]) -> None:
    """Show one reading after the other, in place if this is a terminal."""
    if not sys.stdout.isatty():
        for rows in readings:
            print("; ".join(f"{name} {value}" for name, value in rows.items()), flush=True)
        return
    from rich.live import Live

    with Live(refresh_per_second=4) as live:
        for rows in readings:
            live.update(_table(rows))


def _table(rows: Rows) -> Table:
    from rich.table import Table

    table = Table(show_header=False, box=None)
    table.add_column(style="dim")
    table.add_column()
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def digits_rows(args: argparse.Namespace) -> Iterator[Rows]:
    """Yield readings of the live digits."""
    from dlkit.live.digits import LiveDigits

    print("training the model on 1,442 digits ...", file=sys.stderr)
    system = LiveDigits(
        rate=args.rate,
        objective=None if args.fixed else args.objective,
        max_batch=args.fixed or 64,
        max_delay=10.0 if args.fixed else None,
        policy=args.policy,
    )
    with system:
        start = time.monotonic()
        while (elapsed := time.monotonic() - start) < args.seconds and not system.wait(EVERY):
            if args.ramp:
                system.rate = args.rate * 2 ** int(elapsed / 5)
            moment = system.read()
            stats = moment.stats
            yield {
                "second": f"{moment.seconds:.1f}",
                "frames/s, set": f"{moment.rate:,.0f}",
                "answers/s": f"{stats.leaving:,.0f}",
                "batch": f"{moment.batch:.1f} (planned up to {stats.size})",
                "waiting": f"{stats.waiting + stats.ready}",
                "p50 p95 p99, ms": _latencies(stats.p50, stats.p95, stats.p99),
                "dropped": f"{stats.counts.lost}",
                "right": f"{100 * moment.accuracy:.0f} %",
                "memory, MB": "?"
                if stats.memory.host is None
                else f"{stats.memory.host / 1e6:.0f}",
            }


def driving_rows(args: argparse.Namespace) -> Iterator[Rows]:
    """Yield readings of the drive, played back in real time through real threads."""
    from dlkit.live import LiveDriving, record
    from dlkit.live.road import DANGER, LONGEST, RATES

    drive = record(min(args.seconds, LONGEST))
    with LiveDriving(drive, args.tolerance, args.planning, args.policy) as system:
        while not system.wait(EVERY):
            moment = system.read()
            stats, aligned = moment.stats, system.sensors.counts()
            yield {
                "road second": f"{moment.seconds:.1f}",
                "samples/s": f"{stats.leaving:.0f}",
                "gap, m": f"{moment.gap:.1f}",
                "seconds to collision": f"{moment.collision:.1f}"
                + (" BRAKE" if moment.collision < DANGER else ""),
                "behind the road, ms": f"{moment.behind * 1e3:.0f}",
                "alarms": f"{moment.alarms}",
                "waiting": f"{stats.waiting}",
                "p50 p95 p99, ms": _latencies(stats.p50, stats.p95, stats.p99),
                "dropped by the queue": f"{stats.counts.lost}",
                "not aligned": ", ".join(f"{name} {aligned[name].lost}" for name in RATES),
            }


def _latencies(*seconds: float) -> str:
    return " ".join(f"{value * 1e3:.1f}" for value in seconds)
