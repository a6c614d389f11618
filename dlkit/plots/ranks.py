"""Pictures of ranks: what each does when, and how many of them pay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.patches import Patch

from dlkit.plots.style import INK, MUTED, STAGE_COLOURS, Picture, colour, new_figure, tidy

Span = tuple[str, float, float]
_SHADES = {
    "compute": STAGE_COLOURS["compute"],
    "wait": STAGE_COLOURS["wait"],
    "exchange": STAGE_COLOURS["transfer"],
}


def rank_timeline(spans: Sequence[Sequence[Span]]) -> Picture:
    """Draw a row for each rank, with what it did on a common time axis.

    Args:
        spans: for each rank `(stage, start, end)` in seconds, on a clock that all share; stages
            are "compute", "wait" and "exchange".

    Returns:
        A figure; its caption gives the share of time that each rank waited.

    Raises:
        ValueError: if there is no span, or a stage is unknown.

    >>> spans = [[("compute", 0.0, 1.0), ("wait", 1.0, 4.0)], [("compute", 0.0, 4.0)]]
    >>> rank_timeline(spans).caption
    '2 ranks over 4000 ms; waiting: 75 % of rank 0, 0 % of rank 1'
    """
    if not spans or not any(spans):
        raise ValueError("spans must hold at least one span, got none")
    unknown = {stage for row in spans for stage, _, _ in row} - set(_SHADES)
    if unknown:
        raise ValueError(f"stages must be of {', '.join(_SHADES)}, got {sorted(unknown)}")
    start = min(span[1] for row in spans for span in row)
    end = max(span[2] for row in spans for span in row)
    shares = [sum(b - a for stage, a, b in row if stage == "wait") / (end - start) for row in spans]
    told = ", ".join(
        f"{share:.0%} of rank {n}".replace("%", " %") for n, share in enumerate(shares)
    )
    caption = f"{len(spans)} ranks over {1e3 * (end - start):.0f} ms; waiting: {told}"
    figure = new_figure(9, 1.2 + 0.45 * len(spans), caption=caption)
    axes = tidy(figure.add_subplot(), xlabel="milliseconds")
    for number, row in enumerate(spans):
        for stage, tint in _SHADES.items():
            bars = [(1e3 * (a - start), 1e3 * (b - a)) for s, a, b in row if s == stage]
            axes.broken_barh(bars, (number - 0.3, 0.6), facecolors=tint, edgecolors="white", lw=0.6)
    axes.set_ylim(len(spans) - 0.5, -0.5)
    axes.set_xlim(0, 1e3 * (end - start) * 1.01)
    axes.set_yticks(range(len(spans)), [f"rank {number}" for number in range(len(spans))])
    axes.tick_params(axis="y", length=0, labelcolor=INK)
    slow = min(range(len(spans)), key=lambda number: shares[number])
    finding = f"Everybody waits for rank {slow}" if any(shares) else "No rank waits"
    axes.set_title(finding, loc="left", fontsize=11, color=INK)
    handles = [Patch(color=tint, label=stage) for stage, tint in _SHADES.items()]
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9)
    return figure


def scaling(
    ranks: Sequence[int],
    efficiencies: Mapping[str, Sequence[float]],
    *,
    limit: float = 0.8,
    limited_by: str = "network",
) -> Picture:
    """Draw how much of each rank is left as there are more of them.

    Args:
        ranks: numbers of ranks, growing.
        efficiencies: name -> speed-up divided by ranks, for each of `ranks`.
        limit: the efficiency that is marked, and up to which ranks are counted.
        limited_by: what the curves differ in, for the title.

    Returns:
        A figure; its caption says up to how many ranks each curve stays above the limit.

    Raises:
        ValueError: if there is nothing to draw, or lengths differ.

    >>> scaling([1, 2, 4], {"slow": [1.0, 0.9, 0.5]}).caption
    'at least 80 % of each rank is used up to: 2 ranks (slow)'
    """
    if not ranks or not efficiencies or any(len(v) != len(ranks) for v in efficiencies.values()):
        raise ValueError(
            f"efficiencies must give a value for each of {len(ranks)} numbers of ranks, got "
            f"{ {name: len(values) for name, values in efficiencies.items()} }"
        )
    reach = {
        name: max((n for n, value in zip(ranks, v, strict=True) if value >= limit), default=0)
        for name, v in efficiencies.items()
    }
    told = ", ".join(f"{count} rank{'s' * (count != 1)} ({name})" for name, count in reach.items())
    caption = f"at least {limit:.0%} of each rank is used up to: {told}".replace("%", " %")
    figure = new_figure(8, 3.2, caption=caption)
    axes = tidy(figure.add_subplot(), xlabel="ranks", ylabel="efficiency (%)", grid="y")
    markers = "osD^v"
    for place, (name, values) in enumerate(efficiencies.items()):
        shown = [100 * value for value in values]
        marker = markers[place % len(markers)]
        axes.plot(ranks, shown, marker + "-", color=colour(place), ms=4.5, lw=1.8, label=name)
    axes.axhline(100 * limit, color=MUTED, linewidth=1, linestyle="--")
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(ranks), [str(n) for n in ranks])
    axes.minorticks_off()
    axes.set_ylim(0, 105)
    best = max(reach, key=lambda name: reach[name])
    axes.set_title(
        f"The {limited_by} decides how many ranks pay: {reach[best]} with {best}",
        loc="left", fontsize=11, color=INK,
    )  # fmt: skip
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure
