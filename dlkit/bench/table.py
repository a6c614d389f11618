"""What came out of a comparison: for a terminal, as JSON, as a picture."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlkit.bench.contest import Result
from dlkit.bench.peers import PEERS
from dlkit.cores import allowed_cores

if TYPE_CHECKING:
    from rich.table import Table

    from dlkit.plots.style import Picture

# What a package is called where it is installed from, if not as it is imported.
_DISTRIBUTIONS = {"streaming": "mosaicml-streaming"}


def machine() -> dict[str, Any]:
    """Return what the figures depend on: system, processor, cores, load, versions."""
    load = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": allowed_cores(),
        "load_before": load,
        "python": sys.version.split()[0],
        "packages": _versions(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    for line in info.read_text().splitlines() if info.exists() else ():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _versions() -> dict[str, str]:
    found = {}
    for package in dict.fromkeys(peer.package.split(".")[0] for peer in PEERS.values()):
        try:
            name = _DISTRIBUTIONS.get(package, package)
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def table(summary: str, results: Sequence[Result]) -> Table:
    """Return the results of one kind of work as a table for a terminal.

    Args:
        summary: what was loaded.
        results: one of each loader; the first is what the others are compared with. Those that
            have no figures are named below.
    """
    from rich.table import Table

    left_out = [f"{one.loader}: {one.why_not}" for one in results if one.why_not]
    made = Table(
        title=f"{results[0].work}: {summary}",
        title_justify="left",
        caption="; ".join(left_out),
        caption_justify="left",
    )
    made.add_column("loader", no_wrap=True)
    for heading in ("samples/s", "ratio", "from..to", "CPU ms", "MB", "first s"):
        made.add_column(heading, justify="right", no_wrap=True)
    for one in results:
        if not one.why_not:
            made.add_row(
                one.loader,
                f"{one.rate:,.0f}",
                f"{one.ratio:.2f}" if one.ratio else "",
                f"{one.lowest:.2f}..{one.highest:.2f}" if one.ratio else "",
                _short(1_000 * one.cpu),
                f"{one.memory / 1e6:,.0f}",
                f"{one.first_batch:.2f}",
            )
    return made


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def write_json(path: Path, about: dict[str, Any], results: Sequence[Result]) -> None:
    """Write the machine and all results, each turn included."""
    rows = []
    for result in results:
        row = asdict(result)
        if result.turns:
            row |= {"samples_per_second": result.rate, "cpu_seconds_per_1000": result.cpu}
        rows.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": about, "results": rows}, indent=2) + "\n")


def plot(results: Sequence[Result]) -> Picture:
    """Draw the ratios to the first loader: a panel for each work, its spread as a thin line.

    Raises:
        ValueError: if no loader was compared with another, so that there is nothing to draw.
    """
    from dlkit.plots.style import INK, MUTED, PALETTE, new_figure, tidy

    works = list(dict.fromkeys(result.work for result in results if result.ratio))
    if not works:
        raise ValueError("results must hold at least one ratio to be drawn, but no loader has one")
    groups = [
        [result for result in results if result.work == work and result.ratio] for work in works
    ]
    rows = max(map(len, groups))
    figure = new_figure(
        2.9 * len(works) + 1.4,
        0.32 * rows + 1.1,
        caption="Samples per second of each loader, as a ratio to the first one's, by work",
    )
    for place, (work, group) in enumerate(zip(works, groups, strict=True), 1):
        axes = tidy(figure.add_subplot(1, len(works), place))
        group = sorted(group, key=lambda result: result.ratio)
        for height, result in enumerate(group):
            colour = PALETTE[0] if result.loader.startswith("dlkit") else MUTED
            axes.barh(height, result.ratio, color=colour, height=0.62)
            axes.plot([result.lowest, result.highest], [height] * 2, color=INK, linewidth=1)
            axes.annotate(
                f"{result.ratio:.2g}",
                (max(result.ratio, result.highest), height),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
            )
        axes.axvline(1.0, color=INK, linewidth=0.8, linestyle=":")
        axes.set_yticks(range(len(group)), [result.loader for result in group], fontsize=8)
        axes.set_xlim(0, 1.2 * max(result.highest for result in group))
        axes.set_title(work)
        axes.set_xlabel(f"ratio to {results[0].loader}")
    return figure
