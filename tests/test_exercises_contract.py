"""Every exercise keeps its promises: what is right passes, what is wrong is told why."""

import pytest

from dlkit.lab.exercises import find, names
from dlkit.lab.exercises.contract import mistake_name
from dlkit.lab.exercises.grading import grade, known_outcomes
from dlkit.lab.exercises.runner import run


def unsolved(exercise):
    namespace = {}
    exec(compile(exercise.stub, f"<stub of {exercise.name}>", "exec"), namespace)
    stub = namespace[exercise.reference.__name__]
    stub.__module__ = "__main__"  # goes by value, as from a notebook
    return stub


@pytest.mark.parametrize("name", names())
def test_right_answers_pass_and_every_wrong_one_is_told_its_own_mistake(name):
    exercise = find(name)
    texts = exercise.texts()
    right = [exercise.reference, *exercise.alternatives]
    outcomes = run(exercise, [*right, unsolved(exercise)], range(len(exercise.all_cases)))
    verdicts = [grade(exercise, dict(enumerate(seen))) for seen in outcomes]
    for answer, verdict in zip(right, verdicts, strict=False):
        assert verdict.passed, f"{answer.__name__}: {verdict.message}"
    for answer, (_, seen) in zip(exercise.mistakes, known_outcomes(name), strict=True):
        verdict = grade(exercise, dict(enumerate(seen)))
        assert not verdict.passed, answer.__name__
        assert verdict.mistake == mistake_name(answer), verdict.message
        assert texts.mistakes[mistake_name(answer)] in " ".join(verdict.message.split())
    assert verdicts[-1].untouched
    assert "nothing is written yet" in verdicts[-1].message


@pytest.mark.parametrize("name", names())
def test_an_exercise_has_all_its_texts_and_none_for_what_is_not_there(name):
    exercise = find(name)
    texts = exercise.texts()
    assert exercise.name == name
    assert exercise.reference.__name__.lower() == name.replace(
        "_" * isinstance(exercise.reference, type), ""
    )
    assert exercise.level in (1, 2, 3)
    assert len(exercise.alternatives) >= 2
    assert len(exercise.mistakes) >= 4
    assert texts.mistakes.keys() == {mistake_name(mistake) for mistake in exercise.mistakes}
    assert texts.properties.keys() - {"value"} == exercise.properties.keys()
    assert len(texts.hints) == 3
    assert all([texts.title, texts.statement, *texts.hints, *texts.mistakes.values()])
    assert len(set(texts.mistakes.values())) == len(texts.mistakes)
    assert exercise.oracle is not None or exercise.properties
    assert exercise.picture in ("", "strip", "target")
