"""Pictures that compare ways of training: over distance, over labels, over targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

from dlkit.plots.style import INK, MUTED, PALETTE, Picture, new_figure, tidy

MARKERS = "os^"
STYLES = ("-", "--", ":")


def memory_over_distance(
    distances: Sequence[int],
    accuracy: Mapping[str, Sequence[float]],
    gradients: Mapping[str, Sequence[float]],
) -> Picture:
    """Draw how far nets remember a bit, and how far their gradients reach.

    Args:
        distances: In steps.
        accuracy: Of each net at each distance.
        gradients: Of each net the gradient's norm by the input at every step, the first first,
            relative to the last.

    Returns:
        Two panels; the caption has the accuracies at the longest distance.

    >>> memory_over_distance([5, 40], {"plain": [1.0, 0.5]}, {"plain": [1e-9, 1.0]}).caption
    'share of bits remembered over 40 steps: plain 50%'
    """
    ends = ", ".join(f"{name} {values[-1]:.0%}" for name, values in accuracy.items())
    caption = f"share of bits remembered over {distances[-1]} steps: {ends}"
    figure = new_figure(10.0, 3.4, caption=caption)
    remembered, reach = figure.subplots(1, 2)
    tidy(remembered, title="Remembered after training", xlabel="distance in steps", grid="y")
    for place, (name, values) in enumerate(accuracy.items()):
        remembered.plot(
            distances, values, color=PALETTE[place], marker=MARKERS[place % 3],
            linestyle=STYLES[place % 3], linewidth=2, label=name,
        )  # fmt: skip
    remembered.axhline(0.5, color=MUTED, linewidth=1)
    remembered.annotate(
        "guessing", (distances[0], 0.5), xytext=(0, -11), textcoords="offset points", fontsize=9,
        color=MUTED,
    )  # fmt: skip
    remembered.set(ylim=(0.4, 1.03), xticks=list(distances))
    remembered.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    tidy(reach, title="Gradient by the input, before training", xlabel="steps back", grid="y")
    for place, (name, values) in enumerate(gradients.items()):
        back = range(len(values) - 1, -1, -1)
        style = STYLES[place % 3]
        reach.plot(back, values, color=PALETTE[place], linestyle=style, linewidth=2, label=name)
    reach.set_yscale("log")
    reach.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower left")
    reach.set_ylabel("norm, relative to the last step's", fontsize=10, color=INK)
    return figure


def few_labels(labels: Sequence[int], accuracy: Mapping[str, Sequence[Sequence[float]]]) -> Picture:
    """Draw accuracy over the number of labels: a line through the means, a dot for every seed.

    Args:
        labels: Labelled images a class.
        accuracy: Of each way, for each number of labels, one value for each seed.

    Returns:
        The picture; its caption has the means at the fewest labels and at the most.

    >>> few_labels([1, 10], {"scratch": [[0.4, 0.6], [0.9, 0.9]]}).caption
    'mean share right with 1 and 10 labels a class: scratch 50% and 90%'
    """
    means = {name: [float(np.mean(run)) for run in runs] for name, runs in accuracy.items()}
    ends = ", ".join(f"{name} {m[0]:.0%} and {m[-1]:.0%}" for name, m in means.items())
    caption = f"mean share right with {labels[0]} and {labels[-1]} labels a class: {ends}"
    figure = new_figure(6.6, 3.6, caption=caption)
    axes = tidy(
        figure.add_subplot(),
        title="Digits 5 to 9, anywhere, from few labels",
        xlabel="labelled images a class",
        ylabel="share right",
        grid="y",
    )
    for place, (name, runs) in enumerate(accuracy.items()):
        # Beside each other, so that no way's dots hide another's.
        at = [count * 1.06 ** (place - 1) for count in labels]
        colour, marker = PALETTE[place], MARKERS[place % 3]
        for x, run in zip(at, runs, strict=True):
            axes.scatter([x] * len(run), run, s=16, color=colour, marker=marker, alpha=0.55)
        axes.plot(
            at, means[name], color=colour, linestyle=STYLES[place % 3], linewidth=2, label=name,
            marker=marker, markersize=4,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(list(labels), [str(count) for count in labels])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.legend(frameon=False, fontsize=9, labelcolor=INK, loc="lower right")
    return figure


def soft_and_hard(
    image: ArrayLike,
    label: int,
    probabilities: tuple[Sequence[float], Sequence[float]],
    temperature: float,
    accuracy: Mapping[str, Sequence[float]],
    unseen: Mapping[str, Sequence[float]],
) -> Picture:
    """Draw one soft target, and what students learned from labels and from soft targets.

    Args:
        image: ``[height, width]``.
        label: What it shows.
        probabilities: The teacher's, as they are and at the temperature.
        temperature: Of the second.
        accuracy: Of both kinds of students, one value for each seed.
        unseen: The share of a class that both kinds name without having seen it.

    Returns:
        Four panels; the caption has the means.

    >>> soft_and_hard([[0, 1]], 1, ([0.1, 0.9], [0.3, 0.7]), 4.0,
    ...               {"labels": [0.8]}, {"labels": [0.0]}).caption
    'mean share right: labels 80%; of a class never seen: labels 0%'
    """
    few, never = (
        ", ".join(f"{name} {np.mean(runs):.0%}" for name, runs in found.items())
        for found in (accuracy, unseen)
    )
    caption = f"mean share right: {few}; of a class never seen: {never}"
    figure = new_figure(11.5, 3.3, caption=caption)
    digit, target, students, missing = figure.subplots(1, 4, width_ratios=(0.7, 1.6, 1.0, 1.0))
    tidy(digit, title=f"a {label}").imshow(np.asarray(image), cmap="gray_r")
    digit.set(xticks=[], yticks=[])
    digit.spines[:].set_visible(False)
    tidy(target, title="what the teacher says", xlabel="class", ylabel="probability", grid="y")
    classes = np.arange(len(probabilities[0]))
    names = ("as it is", f"at temperature {temperature:g}")
    for place, (name, values) in enumerate(zip(names, probabilities, strict=True)):
        at = classes + 0.4 * (place - 0.5)
        target.bar(at, values, width=0.4, color=PALETTE[place], label=name)
    target.set_xticks(classes)
    target.legend(frameon=False, fontsize=9, labelcolor=INK)
    _by_seed(tidy(students, title="few images", ylabel="share right", grid="y"), accuracy)
    _by_seed(tidy(missing, title="a class never seen", grid="y"), unseen)
    missing.set_ylim(bottom=-0.03)
    return figure


def _by_seed(axes: Axes, found: Mapping[str, Sequence[float]]) -> None:
    """A line for each seed from one kind of target to the other, and the means thick."""
    places = range(len(found))
    for values in zip(*found.values(), strict=True):
        axes.plot(places, values, color=MUTED, linewidth=0.8, marker="o", markersize=3)
    means = [float(np.mean(values)) for values in found.values()]
    axes.plot(places, means, color=PALETTE[0], linewidth=2.5, marker="s", markersize=5)
    for place, mean in zip(places, means, strict=True):
        axes.annotate(
            f"{mean:.0%}", (place, mean), xytext=(0, 8), textcoords="offset points", ha="center",
            fontsize=9, color=INK,
        )  # fmt: skip
    axes.set_xticks(list(places), list(found))
    axes.set_xlim(-0.35, len(found) - 0.65)
    axes.margins(y=0.15)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
