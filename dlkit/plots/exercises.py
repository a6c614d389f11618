"""Pictures of a counterexample: what was expected above, or beside, what came out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from dlkit.plots.style import ALERT, FAINT, INK, Picture, colour, new_figure, readable_on, tidy

MOST_BATCHES = 12
MOST_INDICES = 40


def index_strips(expected: Any, got: Any) -> Picture:
    """Draw batches of indices as two strips, one square for each index, coloured by batch.

    Args:
        expected: A list of lists of indices.
        got: The same from an answer; anything else is drawn as nothing.

    Returns:
        The picture; a square that differs from the expected one at its place has a thick edge,
        one that is missing a broken one.

    >>> index_strips([[0, 1]], [[0, 1], [2]]).caption
    'expected 1 batch with 2 indices; yours 2 batches with 3 indices'
    """
    rows = {"expected": _batches(expected), "yours": _batches(got)}
    words = [
        f"{name} {_count(len(batches), 'batch', 'batches')} with "
        f"{_count(sum(map(len, batches)), 'index', 'indices')}"
        for name, batches in rows.items()
    ]
    right = _squares(rows["expected"])
    longest = max([len(_squares(batches)) for batches in rows.values()] + [1])
    figure = new_figure(min(11.0, 2.6 + 0.36 * longest), 1.7, caption="; ".join(words))
    mine = _squares(rows["yours"])
    place = next((n for n in range(longest) if right[n : n + 1] != mine[n : n + 1]), None)
    finding = "the same" if place is None else f"first difference at place {place}"
    axes = tidy(figure.add_subplot(), title=finding)
    for missing in range(len(mine), len(right)):
        axes.add_patch(
            Rectangle((missing, 0), 0.9, 0.85, fill=False, edgecolor=ALERT, linestyle="--")
        )
    for line, batches in enumerate(rows.values()):
        for place, square in enumerate(_squares(batches)):
            wrong = line == 1 and (place >= len(right) or right[place] != square)
            _square(axes, place, 1 - line, *square, wrong=wrong)
    axes.set(xlim=(-0.2, longest), ylim=(-0.1, 2.0), xticks=[], yticks=[1.45, 0.45])
    axes.set_yticklabels(list(rows), fontsize=10, color=INK)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    return figure


def target_and_yours(expected: Any, got: Any) -> Picture:
    """Draw two arrays beside each other in one colour scale, and their difference.

    Args:
        expected: Numbers, or arrays of up to any number of dimensions.
        got: The same from an answer.

    Returns:
        The picture; a result of another shape is drawn without a difference.

    >>> target_and_yours([1.0, 2.0], [1.0, 2.5]).caption
    'target of shape (2,), yours of shape (2,), largest difference 0.5'
    """
    panels = {"target": _array(expected), "yours": _array(got)}
    shapes = {name: "no array" if a is None else str(a.shape) for name, a in panels.items()}
    target, yours = panels["target"], panels["yours"]
    caption = f"target of shape {shapes['target']}, yours of shape {shapes['yours']}"
    difference, widest = None, 0.0
    if target is not None and yours is not None and target.shape == yours.shape and target.size:
        with np.errstate(invalid="ignore"):  # infinity less infinity
            difference = np.asarray(yours - target)
        known = np.isfinite(difference)
        widest = float(np.abs(difference[known]).max(initial=0.0))
        caption += f", largest difference {widest:.3g}"
        if not known.all():
            caption += f", and {int((~known).sum())} of {known.size} not finite"
    figure = new_figure(9.0, 2.6, caption=caption)
    finite = [a[np.isfinite(a)] for a in panels.values() if a is not None]
    scale = np.concatenate([f for f in finite if f.size] or [np.zeros(1)])
    low, high = float(scale.min()), float(scale.max())
    for number, (name, values) in enumerate(panels.items()):
        axes = figure.add_subplot(1, 3, number + 1)
        _panel(axes, values, f"{name} {shapes[name]}", "cividis", low, high)
    axes = figure.add_subplot(1, 3, 3)
    title = "yours - target" if difference is not None else "no difference: shapes differ"
    _panel(axes, difference, title, "RdBu_r", -widest or -1.0, widest or 1.0)
    return figure


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _batches(value: Any) -> list[list[Any]]:
    try:
        return [list(batch) for batch in value][:MOST_BATCHES]
    except TypeError:
        return []


def _squares(batches: list[list[Any]]) -> list[tuple[int, Any]]:
    return [(n, index) for n, batch in enumerate(batches) for index in batch][:MOST_INDICES]


def _square(axes: Axes, x: int, y: int, batch: int, index: Any, *, wrong: bool) -> None:
    fill = colour(batch)
    edge = {"edgecolor": ALERT, "linewidth": 2.5} if wrong else {"edgecolor": "white"}
    axes.add_patch(Rectangle((x, y), 0.9, 0.85, facecolor=fill, **edge))
    text = str(index)[:4]
    axes.text(
        x + 0.45, y + 0.42, text, ha="center", va="center", fontsize=9, color=readable_on(fill)
    )


def _array(value: Any) -> np.ndarray[Any, np.dtype[np.float64]] | None:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        return None


def _panel(axes: Axes, values: Any, title: str, colours: str, low: float, high: float) -> None:
    tidy(axes, title=title)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.set(xticks=[], yticks=[])
    if values is None or values.size == 0:
        axes.add_patch(Rectangle((0, 0), 1, 1, facecolor=FAINT))
        return
    flat = values.reshape(-1, values.shape[-1]) if values.ndim else values.reshape(1, 1)
    axes.imshow(flat, cmap=colours, vmin=low, vmax=high if high > low else low + 1, aspect="auto")
    if flat.size <= 48:
        for (row, column), number in np.ndenumerate(flat):
            share = (number - low) / ((high - low) or 1)
            dark = share < 0.5 if colours == "cividis" else abs(share - 0.5) > 0.3
            ink = "white" if dark else INK
            axes.text(column, row, f"{number:.3g}", ha="center", va="center", fontsize=8, color=ink)


def mastery_bars(mastery: Mapping[str, tuple[int, int]]) -> Picture:
    """Draw how many exercises of each topic are solved.

    Args:
        mastery: Topic to the numbers of exercises solved and of all.

    Returns:
        The picture; its caption has the sums and the topic with most left to do.

    >>> mastery_bars({"batching": (1, 7), "workers": (0, 3)}).caption
    '1 of 10 exercises solved; most left in batching (6)'
    """
    solved, total = (sum(pair[k] for pair in mastery.values()) for k in (0, 1))
    caption = f"{solved} of {total} exercises solved"
    left = {topic: count - done for topic, (done, count) in mastery.items()}
    most = max(left, key=left.__getitem__) if left else ""
    if most and left[most]:
        caption += f"; most left in {most} ({left[most]})"
    figure = new_figure(7.0, 0.9 + 0.3 * len(mastery), caption=caption)
    axes = tidy(figure.add_subplot(), title=caption, xlabel="exercises", grid="x")
    names = list(mastery)[::-1]
    axes.barh(names, [mastery[name][1] for name in names], color=FAINT, height=0.65)
    axes.barh(names, [mastery[name][0] for name in names], color=colour(2), height=0.65)
    for place, name in enumerate(names):
        done, count = mastery[name]
        axes.text(count + 0.1, place, f"{done} of {count}", va="center", fontsize=9, color=INK)
    axes.set_xlim(0, max([count for _, count in mastery.values()] + [1]) * 1.12)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure
