"""The benchmark of widgets moves every control of every explorer, there and back."""

import inspect
from itertools import islice

from benchmarks import widgets
from dlkit import lab
from dlkit.lab.explorer import slider


def test_all_explorers_are_measured():
    kinds = [getattr(lab, name) for name in lab.__all__]
    explorers = {k.__name__ for k in kinds if inspect.isclass(k) and issubclass(k, lab.Explorer)}
    assert explorers - {"Explorer"} == set(widgets.EXPLORERS)


def test_a_slider_goes_up_to_its_end_and_down_again():
    control, seen = slider("size", 8, 7, 10), []
    for value in islice(widgets.walk(control), 7):
        control.value = value
        seen.append(value)
    assert seen == [9, 10, 9, 8, 7, 8, 9]


def test_each_control_has_a_row_against_the_limit():
    rows = widgets.measure("ShuffleExplorer", steps=2)
    assert [(row.workload, row.candidate) for row in rows] == [
        ("ShuffleExplorer", "buffer_size"),
        ("ShuffleExplorer", "seed"),
    ]
    assert all(0 < row.lowest <= row.ratio <= row.highest for row in rows)
    assert all(row.bar == 1.0 and row.at_most and row.unit == "ms" for row in rows)
