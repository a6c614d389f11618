"""Parsons problems: the order in the file works, the distractor and a wrong order do not."""

import pytest

from dlkit.lab.exercises import Progress
from dlkit.lab.exercises.parsons import ParsonsProblem, check, find, names


def test_there_are_at_least_eight():
    assert len(names()) >= 8


@pytest.mark.parametrize("name", names())
def test_the_order_in_the_file_is_right_and_others_are_told_why_not(name):
    problem = find(name)
    lines = list(problem.lines)
    assert check(problem, lines).passed, check(problem, lines).message
    with_distractor = check(problem, [*lines, problem.distractor])
    assert not with_distractor.passed
    assert problem.reason in with_distractor.message
    assert with_distractor.line == len(lines)
    assert "still missing" in check(problem, lines[:-1]).message
    turned = check(problem, lines[::-1])
    assert not turned.passed
    assert turned.line == 0


@pytest.mark.parametrize("name", names())
def test_the_distractor_in_place_of_a_line_really_breaks_the_program(name):
    problem = find(name)
    assert problem.distractor not in problem.lines
    assert len(set(problem.lines)) == len(problem.lines)
    assert sorted(problem.shuffled) == sorted([*problem.lines, problem.distractor])
    assert problem.shuffled[: len(problem.lines)] != list(problem.lines)


def test_another_order_that_works_is_right_too():
    problem = find("training_step")
    head, train, forward, zero_grad, *rest = problem.lines
    assert check(problem, [head, zero_grad, train, forward, *rest]).passed


def test_a_line_of_another_problem_is_an_error():
    with pytest.raises(ValueError, match="lines must be lines of lru_put, but got 'x'"):
        check(find("lru_put"), ["x"])
    with pytest.raises(ValueError, match=r"name must be one of .*, but got 'nothing'"):
        find("nothing")


def test_the_widget_is_solved_with_its_buttons_and_remembers_it(tmp_path):
    widget = ParsonsProblem("accumulate_gradients", Progress(tmp_path))
    for line in widget.problem.lines:
        for _ in range(len(widget.left)):  # "next" goes through all of them, from any of them
            if widget.left[widget.lines.index] != line:
                widget.buttons["next"].click()
        widget.buttons["add"].click()
    for count in (0, 1):
        widget.buttons["pick"].click()
        assert widget.program.index == count, "after the last one comes the first"
    widget.program.index = len(widget.chosen) - 1
    widget.buttons["up"].click()
    assert widget.chosen[-2] == widget.problem.lines[-1]
    widget.buttons["down"].click()
    widget.buttons["remove"].click()
    assert len(widget.chosen) == len(widget.problem.lines) - 1
    widget.lines.index = widget.left.index(widget.problem.lines[-1])
    widget.buttons["add"].click()
    widget.buttons["check"].click()
    assert widget.arrangement.passed
    assert "Accumulate gradients: right." in widget.text.value
    assert Progress(tmp_path).solved("parsons") == {"accumulate_gradients"}
    assert repr(widget) == "<ParsonsProblem: accumulate_gradients, 6 of 6 lines chosen>"
