"""Pictures of a loader's insides: results that arrive in one order and are delivered in another.

Several workers finish when they finish; a training loop wants batch 0, 1, 2, .... Between them
stands a reorder buffer that holds a batch back until all batches before it have been delivered.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from dlkit.plots.style import FAINT, INK, MUTED, Picture, colour, new_figure, tidy

ROW, COLUMN = 0.34, 0.78  # inches for a batch and for an arrival


def deliveries(arrivals: Sequence[int]) -> list[int]:
    """Return for each batch at which arrival it can be delivered, the first arrival being 1.

    A batch is delivered when it and all batches before it are there: at the running maximum of
    their places among the arrivals.

    Args:
        arrivals: The numbers 0..n - 1 of the batches, in the order in which they arrived.

    Returns:
        ``n`` places in 1..n, never decreasing.

    Raises:
        ValueError: If ``arrivals`` is not an order of 0..n - 1.

    >>> deliveries([1, 2, 0])
    [3, 3, 3]
    """
    if sorted(arrivals) != list(range(len(arrivals))) or not arrivals:
        raise ValueError(f"arrivals must hold each of 0..n - 1 once, got {list(arrivals)}")
    return list(accumulate(_places(arrivals), max))


def _places(arrivals: Sequence[int]) -> list[int]:
    """For each batch its place among the arrivals, from 1."""
    places = {batch: place for place, batch in enumerate(arrivals, start=1)}
    return [places[batch] for batch in range(len(arrivals))]


def held_back(arrivals: Sequence[int]) -> list[int]:
    """Return how many batches wait in the reorder buffer after each arrival.

    Args:
        arrivals: The numbers 0..n - 1 of the batches, in the order in which they arrived.

    Returns:
        ``n`` counts; the last is 0.

    Raises:
        ValueError: If ``arrivals`` is not an order of 0..n - 1.

    >>> held_back([1, 2, 0])
    [1, 2, 0]
    """
    delivered = deliveries(arrivals)
    return [place - sum(d <= place for d in delivered) for place in range(1, len(arrivals) + 1)]


def reorder_buffer(arrivals: Sequence[int], workers: int) -> Picture:
    """Draw when each batch arrived, how long it was held back, and when it was delivered.

    A row is a batch, a column one arrival. Batch ``b`` belongs to worker ``b % workers``, which
    gives its dot the colour; the bar ends where the batch is delivered.

    Args:
        arrivals: The numbers 0..n - 1 of the batches, in the order in which they arrived.
        workers: How many workers took turns, 1 or more.

    Returns:
        A figure; its caption gives the order of arrival and the largest number held back.

    Raises:
        ValueError: If ``arrivals`` is not an order of 0..n - 1, or ``workers`` is not positive.

    >>> reorder_buffer([1, 2, 0], workers=2).caption
    '3 batches arrived from 2 workers as 1, 2, 0; most held back at once: 2'
    """
    delivered, held = deliveries(arrivals), held_back(arrivals)
    if workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers!r}")
    count = len(arrivals)
    caption = (
        f"{count} batches arrived from {workers} worker{'s' * (workers > 1)} as "
        f"{', '.join(map(str, arrivals))}; most held back at once: {max(held)}"
    )
    figure = new_figure(2.6 + COLUMN * count, 1.7 + ROW * count, caption=caption)
    axes = tidy(figure.add_subplot(), ylabel="batch")
    _draw_batches(axes, _places(arrivals), delivered, workers)
    axes.set_xticks(range(1, count + 1))
    axes.set_yticks(range(count))
    axes.set_xlim(0.5, count + 0.5)
    axes.set_ylim(count - 0.5, -0.5)
    axes.set_xlabel("results that have arrived", color=INK)
    above = axes.secondary_xaxis("top")
    above.set_xticks(range(1, count + 1), [str(waiting) for waiting in held])
    above.tick_params(length=0, labelsize=9, colors=MUTED)
    above.spines["top"].set_visible(False)
    above.set_xlabel("batches held back then", fontsize=10, color=INK)
    handles = [_dot(colour(worker), f"arrives from worker {worker}") for worker in range(workers)]
    handles.append(Line2D([], [], color=FAINT, linewidth=8, label="is held back"))
    handles.append(
        Line2D([], [], color=INK, linewidth=0.8, marker=">", markersize=7, label="is delivered")
    )
    axes.legend(
        handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, fontsize=9
    )
    return figure


def _draw_batches(axes: Axes, arrived: list[int], delivered: list[int], workers: int) -> None:
    rows = range(len(arrived))
    axes.vlines(range(1, len(arrived) + 1), -0.5, len(arrived) - 0.5, color=FAINT, linewidth=0.6)
    axes.hlines(rows, arrived, delivered, color=FAINT, linewidth=11, zorder=2)
    beside = [place + 0.16 for place in delivered]  # a dot and an arrow may share an arrival
    axes.plot(beside, rows, color=INK, linewidth=0.8, marker=">", markersize=7, zorder=4)
    axes.scatter(
        arrived, rows, s=80, color=[colour(row % workers) for row in rows], zorder=4, linewidths=0
    )


def _dot(shade: str, label: str) -> Line2D:
    return Line2D([], [], color=shade, marker="o", linestyle="", markersize=8, label=label)
