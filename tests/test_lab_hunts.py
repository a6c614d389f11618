"""Every bug hunt keeps its promises: its code is broken as it says, and a repair is accepted."""

import pytest

from dlkit.lab.exercises import Hunt, find, hunt
from dlkit.lab.exercises.contract import HUNTS, mistake_name, names
from dlkit.lab.exercises.grading import check, grade
from dlkit.lab.exercises.progress import Progress
from dlkit.lab.exercises.runner import run

ALL = names(HUNTS)


def written(code, name):
    """Let code be written down as in a notebook's cell, and return what it defines."""
    namespace = {"__name__": "__main__"}
    exec(compile(code, f"<{name}>", "exec"), namespace)
    answer = namespace[name]
    answer.__module__ = "__main__"  # goes by value
    return answer


@pytest.fixture
def fixed_rank(tmp_path):
    return hunt("fixed_rank", progress=Progress(tmp_path))


def test_there_are_enough_hunts():
    assert len(ALL) >= 24


@pytest.mark.parametrize("name", ALL)
def test_right_repairs_pass_and_every_wrong_one_is_told_its_own_mistake(name):
    exercise = find(name)
    texts = exercise.texts()
    right = [exercise.reference, *exercise.alternatives]
    answers = [*right, *exercise.mistakes]
    outcomes = run(exercise, answers, range(len(exercise.all_cases)))
    verdicts = [grade(exercise, dict(enumerate(seen))) for seen in outcomes]
    for answer, verdict in zip(right, verdicts, strict=False):
        assert verdict.passed, f"{answer.__name__}: {verdict.message}"
    for answer, verdict in zip(exercise.mistakes, verdicts[len(right) :], strict=True):
        assert not verdict.passed, answer.__name__
        assert verdict.mistake == mistake_name(answer), verdict.message
        assert texts.mistakes[mistake_name(answer)] in " ".join(verdict.message.split())


@pytest.mark.parametrize("name", ALL)
def test_a_hunt_has_all_its_texts_and_one_symptom_is_the_right_one(name):
    exercise = find(name)
    texts = exercise.texts()
    assert exercise.broken is exercise.mistakes[0]
    assert len(exercise.alternatives) >= 2
    assert len(exercise.mistakes) >= 4
    assert texts.mistakes.keys() == {mistake_name(mistake) for mistake in exercise.mistakes}
    assert len(texts.hints) == 3
    assert len(texts.symptoms) >= 3
    assert sum(symptom.right for symptom in texts.symptoms) == 1
    assert all([texts.title, texts.statement, *texts.hints, *texts.mistakes.values()])


@pytest.mark.parametrize("name", ALL)
def test_the_code_that_is_shown_stands_alone_and_is_the_broken_one(name):
    exercise = find(name)
    answer = exercise.reference.__name__
    shown, solution = (written(code, answer) for code in (exercise.stub, exercise.solution))
    verdict = check(exercise, shown)
    assert not verdict.passed
    assert verdict.mistake == mistake_name(exercise.broken), verdict.message
    assert check(exercise, solution).passed
    assert "# type:" not in exercise.stub + exercise.solution
    assert "# noqa" not in exercise.stub + exercise.solution


def test_a_diagnosis_is_judged_and_kept(fixed_rank):
    right = 1 + [symptom.right for symptom in fixed_rank.texts.symptoms].index(True)
    assert "That is so" in repr(fixed_rank.diagnose(right))
    assert "not what it does" in repr(fixed_rank.diagnose(right % 3 + 1))
    with pytest.raises(ValueError, match="symptom must be from 1 to 3, but got 4"):
        fixed_rank.diagnose(4)
    events = [(e.kind, e.event, e.detail) for e in fixed_rank.progress.events()]
    assert events == [("bug-hunt", "answered", "1"), ("bug-hunt", "answered", "0")]


def test_a_hunt_shows_its_code_its_symptoms_and_how_it_goes_wrong(fixed_rank):
    text = repr(fixed_rank)
    assert isinstance(fixed_rank, Hunt)
    assert "rank=0" in text
    assert ": All ranks train on the same part" in text
    assert "the share of the first one" not in text
    seen = fixed_rank.see()
    assert "the share of the first one" in seen.message
    assert seen.counterexample.arguments == {"n": 1, "rank": 0, "world_size": 2} or (
        seen.counterexample.arguments["rank"] > 0
    )


def test_a_repair_is_kept_as_solved(fixed_rank):
    def repaired(n, rank, world_size):
        return [(rank + step * world_size) % n for step in range(-(-n // world_size))]

    assert fixed_rank.check(repaired).passed
    assert fixed_rank.progress.solved("bug-hunt") == {"fixed_rank"}


def test_an_unknown_hunt_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="name must be one of bce_shapes"):
        hunt("index_batches")


def test_the_place_of_a_symptom_does_not_give_it_away():
    places = [
        [symptom.right for symptom in find(name).texts().symptoms].index(True)
        for name in names("hunts")
    ]
    assert all(0 < places.count(place) < len(places) * 0.6 for place in range(3))
