"""A mock interview is fair to the clock, remembers the past, and loses nothing."""

import dataclasses
import html
import json
import os
import subprocess
import sys
import threading

import ipywidgets
import pytest

from dlkit.lab.cards import load
from dlkit.lab.exercises import Counterexample, Progress, Raises, Verdict, find, names
from dlkit.lab.exercises.outcome import Outcome
from dlkit.lab.interview import Interview, Question, draw, history, subjects, weakness
from dlkit.lab.interview import record as records
from dlkit.lab.interview.follow_ups import about_code
from dlkit.lab.interview.questions import KINDS, pool
from dlkit.lab.interview.record import folder_of, read, texts
from dlkit.lab.interview.report import to_html, to_markdown, to_page, to_revise
from dlkit.lab.interview.widget import MockInterview

CARDS = load()


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def progress(tmp_path):
    return Progress(tmp_path)


def question(kind, name):
    return next(q for q in pool() if (q.kind, q.name) == (kind, name))


def begin(progress, clock, *wanted, minutes=20):
    """An interview that asks the questions named, in that order."""
    interview = Interview(minutes, level=3, progress=progress, clock=clock, seed=0)
    first, *others = [question(*place) for place in wanted]
    interview.record.current = records.Answer(first)
    interview.record.queue = others
    return interview


def good(asked):
    """A right answer to any question, as arguments of ``answer``."""
    if asked.kind == "follow-up":
        return "because", "good"
    if asked.kind != "card":
        return (find(asked.name).solution,)
    card = CARDS[asked.name]
    if card.form == "recall":
        return "in my words", "easy"
    return (card.right if card.form == "choice" else card.output,)


# ---- which questions ----------------------------------------------------------------------------


def test_every_card_hunt_and_exercise_belongs_to_one_subject():
    found = {(q.kind, q.name) for q in pool()}
    assert {name for kind, name in found if kind == "card"} == set(CARDS)
    assert {name for kind, name in found if kind == "bug-hunt"} == set(names("hunts"))
    assert {name for kind, name in found if kind == "coding"} == set(names())
    assert {q.subject for q in pool()} == set(subjects())


@pytest.mark.parametrize("minutes", [20, 45, 60])
@pytest.mark.parametrize("level", [1, 2, 3])
def test_the_questions_fill_the_time_with_every_kind_and_a_card_first(minutes, level):
    drawn = draw(minutes, level, seed=minutes)
    planned = sum(q.minutes for q in drawn)
    assert minutes * 0.9 - 1 <= planned <= minutes * 0.9
    assert drawn[0].kind == "card"
    assert {q.kind for q in drawn} == set(KINDS)
    assert max(q.level for q in drawn) <= level
    assert len({(q.kind, q.name) for q in drawn}) == len(drawn)


def test_the_level_asked_for_comes_more_often_than_easier_ones():
    drawn = [q for seed in range(60) for q in draw(45, 2, seed=seed) if q.kind == "coding"]
    assert [q.level for q in drawn].count(2) > [q.level for q in drawn].count(1)


def test_only_the_subjects_chosen_are_asked():
    drawn = draw(45, 3, ["workers", "streaming"], seed=3)
    assert {q.subject for q in drawn} == {"workers", "streaming"}


def test_the_same_seed_draws_the_same_and_another_seed_does_not():
    assert draw(45, 2, seed=5) == draw(45, 2, seed=5)
    assert draw(45, 2, seed=5) != draw(45, 2, seed=6)


def test_a_subject_that_went_wrong_comes_more_often_than_one_that_went_right(progress):
    for asked in pool():
        if asked.kind == "card" and asked.subject in ("workers", "shuffling"):
            # The questions themselves are put aside below: it is the subject that counts.
            rating = "again" if asked.subject == "workers" else "easy"
            progress.record(asked.name, "answered", "card", rating)
    weak = weakness(progress)
    assert weak["workers"] > 0.9 > 0.5 == weak["storage"] > weak["shuffling"]
    cards = [(q.kind, q.name) for q in pool() if q.kind == "card"]
    drawn = [
        q.subject for seed in range(60) for q in draw(20, 3, None, progress, seed, without=cards)
    ]
    size = {s: sum(q.subject == s and q.kind != "card" for q in pool()) for s in weak}
    often = {s: drawn.count(s) / size[s] for s in ("workers", "shuffling")}
    assert often["workers"] > 2 * often["shuffling"]


def test_a_question_failed_last_time_comes_more_often_than_one_solved(progress):
    chosen = names("shuffling")
    for place, name in enumerate(chosen):
        progress.record(name, "failed")
        if place % 2:
            progress.record(name, "solved")
    drawn = [
        q.name for seed in range(80) for q in draw(20, 3, ["shuffling"], progress, seed)
        if q.kind == "coding"
    ]  # fmt: skip
    failed, solved = ([drawn.count(n) for n in chosen[start::2]] for start in (0, 1))
    assert sum(failed) > 2 * sum(solved)


# ---- the clock ----------------------------------------------------------------------------------


def test_the_clock_runs_stands_in_a_pause_and_ends_the_interview(progress, clock):
    interview = Interview(20, progress=progress, clock=clock)
    clock.now += 600
    assert interview.remaining == 600
    interview.pause()
    clock.now += 5000
    assert interview.remaining == 600
    with pytest.raises(ValueError, match=r"paused: resume\(\)"):
        interview.skip()
    interview.resume()
    clock.now += 599
    assert interview.tick() == 1
    assert interview.state == "running"
    clock.now += 1
    assert interview.tick() == 0
    assert interview.state == "finished"
    assert interview.record.elapsed == 1200
    assert len(history(progress)) == 1


def test_an_answer_after_the_end_does_not_count(progress, clock):
    interview = begin(progress, clock, ("card", "drop-last"))
    interview.draft("half an answ")
    clock.now += 1201
    feedback = interview.answer(CARDS["drop-last"].right)
    assert feedback.right is None
    assert "does not count" in feedback.message
    (answer,) = interview.record.answers
    assert (answer.right, answer.given) == (False, "half an answ")
    with pytest.raises(ValueError, match="the interview is over"):
        interview.answer(0)


def test_the_time_of_a_question_leaves_pauses_out(progress, clock):
    interview = begin(progress, clock, ("card", "drop-last"), ("card", "stages"))
    clock.now += 30
    interview.pause()
    clock.now += 300
    interview.resume()
    clock.now += 12
    interview.answer(CARDS["drop-last"].right)
    clock.now += 7
    interview.answer("in words", "good")
    assert [answer.seconds for answer in interview.record.answers] == [42, 7]


def test_whoever_is_quick_is_asked_more_until_the_time_is_up(progress, clock):
    interview = Interview(20, 1, ["batching"], progress=progress, clock=clock, seed=0)
    planned = len(interview.record.queue) + 1
    while interview.state == "running":
        interview.skip()
    asked = [(a.question.kind, a.question.name) for a in interview.record.answers]
    assert len(asked) > planned
    assert len(set(asked)) == len(asked)


# ---- answers ------------------------------------------------------------------------------------


def test_code_is_run_timed_and_may_be_tried_again(progress, clock):
    interview = begin(progress, clock, ("coding", "count_batches"), ("card", "drop-last"))
    stub = interview.answer(find("count_batches").stub)
    assert "nothing is written yet" in stub.message
    wrong = interview.answer(
        "def count_batches(n, batch_size, drop_last):\n    return n // batch_size\n"
    )
    assert (wrong.right, wrong.moved_on) == (False, False)
    assert "expected" in wrong.message
    assert "likely" not in wrong.message
    right = interview.answer(find("count_batches").solution)
    assert (right.right, right.moved_on) == (True, True)
    (answer,) = interview.record.answers
    assert (answer.right, answer.attempts) == (True, 2)
    events = [e.event for e in progress.events() if e.name == "count_batches"]
    assert events == ["failed", "solved"]


def test_the_time_that_code_takes_is_measured_by_the_clock(progress, clock, monkeypatch):
    interview = begin(progress, clock, ("coding", "count_batches"), ("card", "drop-last"))
    from dlkit.lab.interview import judging

    check = judging.Task.check

    def slow(task, answer):
        clock.now += 2.5
        return check(task, answer)

    monkeypatch.setattr(judging.Task, "check", slow)
    interview.answer(find("count_batches").reference)
    (answer,) = interview.record.answers
    assert answer.run_seconds == answer.seconds == 2.5
    assert answer.given.startswith("def count_batches")


@pytest.mark.parametrize("code", ["def count_batches(:\n", "", "import os\nos._exit(1)\n"])
def test_code_that_is_no_answer_ends_in_a_verdict_and_not_the_interview(progress, clock, code):
    interview = begin(progress, clock, ("coding", "count_batches"), ("card", "drop-last"))
    feedback = interview.answer(code)
    assert feedback.right is False
    assert interview.record.current.broken
    assert interview.skip().moved_on


def test_what_is_no_answer_is_refused_with_what_is_accepted(progress, clock):
    interview = begin(
        progress, clock, ("card", "drop-last"), ("card", "stages"), ("coding", "count_batches")
    )
    with pytest.raises(ValueError, match="answer must be from 0 to 3"):
        interview.answer(9)
    interview.answer(0)
    interview.record.queue = [question("card", "stages"), question("coding", "count_batches")]
    interview.skip()
    with pytest.raises(ValueError, match="rating must be one of again, hard, good, easy"):
        interview.answer("words", "splendid")
    interview.answer("words", "good")
    with pytest.raises(TypeError, match="given must be code as text or a function"):
        interview.answer(3)
    assert interview.question.name == "count_batches"


def test_a_bug_hunt_is_diagnosed_and_then_repaired(progress, clock):
    interview = begin(progress, clock, ("bug-hunt", "fixed_rank"), ("card", "drop-last"))
    shown = repr(interview.show())
    symptoms = find("fixed_rank").texts().symptoms
    assert all(symptom.text in shown for symptom in symptoms)
    right = next(n for n, symptom in enumerate(symptoms) if symptom.right)
    assert not interview.answer(right).moved_on
    with pytest.raises(ValueError, match="symptom must be from 1 to"):
        interview.answer(len(symptoms))
    assert interview.answer(find("fixed_rank").solution).right
    assert interview.record.answers[0].diagnosis == symptoms[right].text
    events = [(e.event, e.detail) for e in progress.events() if e.kind == "bug-hunt"]
    assert events == [("answered", "1"), ("solved", "")]


def test_a_question_shows_no_answer():
    for asked in pool():
        if asked.kind == "card" and CARDS[asked.name].form == "recall":
            shown = records_text(asked)
            assert CARDS[asked.name].short not in shown
    assert find("count_batches").solution not in records_text(question("coding", "count_batches"))


def records_text(asked):
    from dlkit.lab.interview.report import text_of

    return text_of(asked)


# ---- follow-ups ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["index_batches", "fisher_yates", "padded_shard", "reservoir"])
def test_each_known_mistake_leads_to_a_question_on_the_property_that_it_breaks(
    name, progress, clock
):
    exercise = find(name)
    asked = set()
    for wrong in exercise.mistakes:
        interview = begin(progress, clock, ("coding", name), ("card", "drop-last"))
        assert interview.answer(wrong).right is False
        broken = interview.record.current.broken
        interview.skip()
        follow_up = interview.question
        assert (follow_up.kind, follow_up.name) == ("follow-up", name)
        if broken in exercise.texts().properties:
            assert exercise.texts().properties[broken] in follow_up.text
        assert follow_up.expected in exercise.texts().mistakes.values()
        asked.add(follow_up.text)
        assert interview.answer("line 3", "hard").moved_on
        assert interview.question.name == "drop-last"
    assert len(asked) > 1


@pytest.mark.parametrize(
    ("outcome", "broken", "key"),
    [
        *[
            (Outcome(kind, value=None, text="KeyError: 1"), kind, kind)
            for kind in ("raised", "timeout", "stuck", "memory", "mutated", "iterator", "exit")
        ],
        (Outcome("died"), "died", "died"),
        (Outcome("unpicklable"), "unpicklable", "unpicklable"),
        (Outcome("value", value=-1), "value", "value"),
        (Outcome("raised", value=("KeyError",), text="KeyError: 1"), "value", "raised"),
    ],
)
def test_each_way_to_fail_leads_to_a_question_of_its_own(outcome, broken, key):
    wrong = Counterexample(0, (3, 2, False), ("n", "batch_size", "drop_last"), 2, outcome)
    verdict = Verdict("count_batches", False, "", wrong, broken)
    asked, expected = about_code(find("count_batches"), verdict)
    fixed = texts()["follow_up"][key].format(name="count_batches", input="|", got="|", broken="|")
    assert all(part in asked for part in fixed.split("|"))
    assert expected == texts()["follow_up"]["general"]
    for shown in ("n=3, batch_size=2, drop_last=False",):
        assert (shown in asked) == ("{input}" in texts()["follow_up"][key])


def test_what_should_have_been_refused_leads_to_the_question_why():
    wrong = Counterexample(0, (3,), ("n",), Raises(ValueError), Outcome("value", value=1))
    asked, _ = about_code(find("count_batches"), Verdict("x", False, "", wrong, "value"))
    assert "accepted n=3, which it should have refused" in asked


def test_code_that_passes_at_once_has_no_follow_up_and_a_late_success_has(progress, clock):
    interview = begin(progress, clock, ("coding", "count_batches"), ("card", "drop-last"))
    interview.answer(find("count_batches").solution)
    assert interview.question.kind == "card"
    interview = begin(progress, clock, ("coding", "count_batches"), ("card", "drop-last"))
    interview.answer(find("count_batches").mistakes[0])
    interview.answer(find("count_batches").solution)
    assert interview.question.kind == "follow-up"


def test_a_wrong_card_is_followed_by_the_nearest_one_of_its_subject(progress, clock):
    interview = begin(progress, clock, ("card", "drop-last"), ("card", "stages"))
    card = CARDS["drop-last"]
    interview.answer((card.right + 1) % len(card.choices))
    follow_up = interview.question
    assert follow_up.kind == "card"
    assert follow_up.subject == "batching"
    assert follow_up.name not in ("drop-last", "stages")


# ---- nothing is lost ----------------------------------------------------------------------------


def test_after_a_restart_everything_is_as_it_was_and_the_clock_stands(progress, clock):
    interview = begin(progress, clock, ("card", "drop-last"), ("coding", "count_batches"))
    clock.now += 20
    interview.answer(CARDS["drop-last"].right)
    interview.answer(find("count_batches").mistakes[0])
    interview.draft("def count_batches(n, b, d):  # begun")
    clock.now += 100
    interview.tick()
    restarted = Interview.open(progress=Progress(progress.path.parent), clock=Clock())
    assert restarted.state == "paused"
    before, after = (
        {**dataclasses.asdict(i.record), "state": "", "pauses": 0, "elapsed": 0}
        for i in (interview, restarted)
    )
    assert json.loads(json.dumps(before)) == json.loads(json.dumps(after))
    assert restarted.remaining == 1200 - 120
    restarted.resume()
    assert restarted.answer(find("count_batches").solution).right
    assert restarted.question.kind == "follow-up"


KILLED = """
import os, sys
from dlkit.lab.exercises import Progress
from dlkit.lab.interview import Interview
interview = Interview(20, level=1, progress=Progress(sys.argv[1]), clock=lambda: 0.0, seed=4)
for _ in range(3):
    interview.skip()
interview.draft("half a sentence")
print(interview.record.name, interview.question.name, flush=True)
os.kill(os.getpid(), 9)
"""


def test_a_killed_kernel_loses_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == -9, done.stderr
    name, asked = done.stdout.split()
    opened = Interview.open(progress=Progress(tmp_path))
    assert (opened.record.name, opened.question.name) == (name, asked)
    assert len(opened.record.answers) == 3
    assert opened.record.draft == "half a sentence"
    assert sorted(p.name for p in folder_of(opened.progress).iterdir()) == [f"{name}.json"]


def test_every_event_is_one_write_of_the_whole_state(progress, clock, monkeypatch):
    interview = begin(progress, clock, ("card", "drop-last"), ("card", "stages"))
    path = folder_of(progress) / f"{interview.record.name}.json"
    interview.tick()
    for act in (
        lambda: interview.draft("x"),
        interview.pause,
        interview.resume,
        lambda: interview.answer(0),
        interview.skip,
        interview.finish,
    ):
        version = read(path).version
        act()
        assert read(path).version == version + 1
        assert read(path).state == interview.state


def test_a_full_disk_keeps_the_last_state_and_the_interview_can_be_stored_again(
    progress, clock, monkeypatch
):
    interview = Interview(20, progress=progress, clock=clock)
    path = folder_of(progress) / f"{interview.record.name}.json"
    whole = path.read_bytes()

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            interview.draft("words")
    assert path.read_bytes() == whole
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    interview.tick()
    assert read(path).draft == "words"


def test_two_kernels_do_not_overwrite_each_other(progress, clock):
    first = Interview(20, progress=progress, clock=clock)
    second = Interview.open(progress=progress, clock=clock)
    second.resume()
    with pytest.raises(RuntimeError, match="went on in another kernel"):
        first.draft("mine")
    second.draft("theirs")
    assert Interview.open(progress=progress).record.draft == "theirs"


def test_a_file_that_cannot_be_read_stops_nobody_and_is_named(progress, clock):
    interview = Interview(20, progress=progress, clock=clock)
    broken = folder_of(progress) / "99990101-000000-0-aaaaaa.json"
    broken.write_text('{"name": 3')
    assert Interview.open(progress=progress).record.name == interview.record.name
    with pytest.raises(ValueError, match=r"99990101.* holds no interview"):
        Interview.open(broken.stem, progress=progress)
    with pytest.raises(ValueError, match=r"name must be that of an interview, but got '\.\./x'"):
        Interview.open("../x", progress=progress)


def test_nothing_unfinished_is_said_so_and_deleting_progress_deletes_interviews(progress, clock):
    with pytest.raises(ValueError, match="no interview that was not finished"):
        Interview.open(progress=progress)
    Interview(20, progress=progress, clock=clock).finish()
    with pytest.raises(ValueError, match="no interview that was not finished"):
        Interview.open(progress=progress)
    progress.delete()
    assert history(progress) == []
    assert list(folder_of(progress).iterdir()) == []


def test_ticks_from_another_thread_never_tear_an_answer(progress, clock):
    interview = begin(progress, clock, ("coding", "count_batches"), ("card", "drop-last"))
    started, stop = threading.Event(), threading.Event()

    def ticking():
        while not stop.is_set():
            interview.tick()
            started.set()

    thread = threading.Thread(target=ticking)
    thread.start()
    try:
        assert started.wait(60)
        for _ in range(2):
            interview.answer(find("count_batches").mistakes[0])
        interview.answer(find("count_batches").solution)
    finally:
        stop.set()
        thread.join()
    assert interview.record.answers[0].attempts == 3
    assert read(folder_of(progress) / f"{interview.record.name}.json") == interview.record


# ---- arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"minutes": 30}, ValueError, r"minutes must be one of \(20, 45, 60\), but got 30"),
        ({"level": 0}, ValueError, r"level must be one of \(1, 2, 3\), but got 0"),
        ({"about": ["cooking"]}, ValueError, r"about must be among .*, but got \['cooking'\]"),
        ({"about": "workers"}, TypeError, "about must be a list of subjects, but got 'workers'"),
    ],
)
def test_wrong_settings_are_refused(arguments, error, match, progress):
    with pytest.raises(error, match=match):
        Interview(progress=progress, **arguments)
    assert progress.events() == []


# ---- the report ---------------------------------------------------------------------------------


@pytest.fixture
def played(progress, clock):
    """An interview played to its end: a right card, a wrong one, code, and a follow-up."""
    interview = begin(
        progress, clock, ("card", "drop-last"), ("card", "stages"), ("coding", "count_batches")
    )
    clock.now += 30
    interview.answer(CARDS["drop-last"].right)
    clock.now += 95
    interview.answer("<script>alert(1)</script> | ```` & more", "again")
    if interview.question.kind == "card":
        interview.skip()
    interview.answer(
        "def count_batches(n, batch_size, drop_last):\n    return n // batch_size  # <b>\n"
    )
    interview.skip()
    interview.answer("floor instead of ceil", "good")
    interview.pause()
    interview.finish()
    return interview


def test_the_report_has_answers_times_and_what_to_revise(played):
    text = to_markdown(played.record)
    assert "20 minutes, level 3, on all subjects. 2:05 used, with one pause." in text
    assert "1:35 of 2:00 planned" in text
    assert "return n // batch_size  # <b>" in text
    assert "floor instead of ceil" in text
    assert "runs of the code: 1, in 0.0 s" in text
    revise = to_revise(played.record)
    assert 'exercise("count_batches")' in revise["batching"]
    assert all(f"`{', '.join(items)}`" in text for items in revise.values())
    assert 'Deck().card("drop-last")' not in text


def test_html_escapes_what_a_learner_wrote_and_markdown_fences_it(played):
    page = to_page(played.record)
    assert "<script" not in page
    assert html.escape("<script>alert(1)</script> | ```` & more") in page
    text = to_markdown(played.record)
    assert "`````text\n<script>alert(1)</script> | ```` & more\n`````" in text
    from html.parser import HTMLParser

    class Balanced(HTMLParser):
        def __init__(self):
            super().__init__()
            self.stack = []

        def handle_starttag(self, tag, attributes):
            if tag != "meta":
                self.stack.append(tag)

        def handle_endtag(self, tag):
            assert self.stack.pop() == tag

    parser = Balanced()
    parser.feed(to_html(played.record))
    assert parser.stack == []


def test_the_report_is_saved_in_both_forms_and_shown_as_html(played, tmp_path):
    markdown, page = played.save_report(tmp_path / "out")
    assert markdown.read_text() == repr(played.report())
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert played.report()._repr_html_() in page.read_text()
    assert played.save_report()[0].parent == folder_of(played.progress)


def test_history_keeps_each_interview_that_was_finished(played, clock):
    Interview(45, level=1, progress=played.progress, clock=clock).finish()
    first, second = history(played.progress)
    assert (first.minutes, first.level) == (20, 3)
    assert first.asked == len(played.record.answers)
    assert first.right == sum(answer.right for answer in played.record.answers)
    assert set(first.revise) == set(to_revise(played.record))
    assert (second.minutes, second.right) == (45, 0)
    assert Interview.open(first.name, progress=played.progress).record == played.record


def test_an_interview_without_an_answer_has_a_report_too(progress, clock):
    interview = Interview(20, progress=progress, clock=clock)
    assert "Nothing was answered." in to_markdown(interview.record)
    assert "No answer was given." in repr(interview.finish())


def test_the_whole_of_an_interview_can_be_played_with_right_answers(progress, clock):
    interview = Interview(20, level=2, about=["batching", "workers"], progress=progress,
                          clock=clock, seed=2)  # fmt: skip
    while interview.state == "running":
        asked = interview.question
        clock.now += 60 * asked.minutes
        interview.answer(*good(asked))
    assert interview.record.elapsed <= 1200
    assert {a.question.kind for a in interview.record.answers} >= {"card", "coding"}
    assert all(answer.right for answer in interview.record.answers[:-1])
    (past,) = history(progress)
    assert past.right >= past.asked - 1 >= 4


def test_a_question_is_plain_data():
    for asked in pool():
        assert Question(**json.loads(json.dumps(dataclasses.asdict(asked)))) == asked


# ---- the widget ---------------------------------------------------------------------------------


@pytest.fixture
def widget(progress, clock):
    found = MockInterview(progress, clock, ticking=False, seed=0)
    yield found
    found.close()


def put(widget, progress, clock, *wanted):
    """Let a widget ask the questions named."""
    widget._begin(begin(progress, clock, *wanted))


def buttons(widget):
    """The labels of all buttons that are shown, in the order of the tab key."""
    found, waiting = [], list(widget.children)
    while waiting:
        child = waiting.pop(0)
        waiting[:0] = getattr(child, "children", ())
        if isinstance(child, ipywidgets.Button):
            found.append(child.description)
    return found


def test_the_widget_begins_with_the_settings_and_shows_a_clock(widget, clock):
    assert buttons(widget) == ["Begin"]
    widget.minutes.value, widget.level.value, widget.about.value = 45, 1, ("workers",)
    widget.buttons["start"].click()
    record = widget.interview.record
    assert (record.minutes, record.level, record.subjects) == (45, 1, ["workers"])
    clock.now += 61
    widget.tick()
    assert "43:59 left" in widget.clock_text.value
    assert "running; question 1, card, workers, level 1; 43:59 left" in widget.text.value
    assert "running; question 1" in repr(widget)


def test_the_widget_takes_every_kind_of_answer(widget, progress, clock):
    wanted = [
        ("card", "drop-last"),
        ("card", "number-of-batches"),
        ("card", "stages"),
        ("bug-hunt", "fixed_rank"),
        ("coding", "count_batches"),
    ]
    put(widget, progress, clock, *wanted)
    widget.buttons["answer"].click()
    assert "Choose an answer first" in widget.feedback.value
    widget.choices.index = CARDS["drop-last"].right
    widget.buttons["answer"].click()
    assert "Right." in widget.feedback.value
    widget.words.value = CARDS["number-of-batches"].output
    widget.buttons["answer"].click()
    assert "Right." in widget.feedback.value
    widget.words.value = "sample, fetch, <b>collate</b>"
    assert widget.interview.record.draft == widget.words.value
    assert CARDS["stages"].short not in widget.question.value + widget.feedback.value
    widget.buttons["reveal"].click()
    assert CARDS["stages"].short in widget.feedback.value
    assert buttons(widget)[:4] == list(widget.ratings)
    widget.ratings["good"].click()
    widget.choices.index = 0
    widget.buttons["answer"].click()
    assert widget.interview.record.current.diagnosis
    widget.code.value = find("fixed_rank").solution
    widget.buttons["run"].click()
    assert widget.code.value.strip() == find("count_batches").stub.strip()
    widget.code.value = "def count_batches(n, batch_size, drop_last):\n    return n // batch_size\n"
    widget.buttons["run"].click()
    assert "not yet" in widget.feedback.value
    assert "n // batch_size" in widget.code.value
    widget.buttons["skip"].click()
    assert widget.interview.question.kind == "follow-up"
    assert "Show the answer" in buttons(widget)
    widget.buttons["finish"].click()
    assert [a.right for a in widget.interview.record.answers] == [True] * 4 + [False] * 2
    assert "&lt;b&gt;collate&lt;/b&gt;" in widget.question.value
    assert "<b>collate" not in widget.question.value
    assert buttons(widget) == []


def test_the_widget_pauses_hides_the_question_and_goes_on(widget, progress, clock):
    put(widget, progress, clock, ("coding", "count_batches"), ("card", "drop-last"))
    widget.code.value = "# begun"
    widget.buttons["pause"].click()
    clock.now += 999
    widget.tick()
    assert "20:00 left" in widget.clock_text.value
    assert widget.code not in widget.children
    assert buttons(widget) == ["Go on", "End the interview"]
    widget.buttons["pause"].click()
    assert widget.code in widget.children
    assert widget.code.value == "# begun"


def test_the_widget_shows_the_report_when_the_time_is_up(widget, progress, clock):
    put(widget, progress, clock, ("card", "stages"), ("card", "drop-last"))
    widget.words.value = "half"
    clock.now += 1201
    widget.tick()
    assert "Time is up" in widget.feedback.value
    assert "To revise" in widget.question.value
    assert (folder_of(progress) / f"{widget.interview.record.name}.html").exists()


def test_a_new_widget_goes_on_where_the_last_kernel_stopped(widget, progress, clock):
    put(widget, progress, clock, ("coding", "count_batches"), ("card", "drop-last"))
    widget.code.value = "def count_batches(n, b, d):  # begun"
    clock.now += 60
    widget.tick()
    other = MockInterview(Progress(progress.path.parent), Clock(), ticking=False)
    assert buttons(other) == ["Begin", "Go on with the last one"]
    other.buttons["go_on"].click()
    assert other.code.value == "def count_batches(n, b, d):  # begun"
    assert "19:00 left" in other.clock_text.value


def test_a_function_from_a_cell_is_an_answer_too(widget, progress, clock):
    with pytest.raises(ValueError, match="no interview has begun"):
        widget.answer(0)
    put(widget, progress, clock, ("coding", "count_batches"), ("card", "drop-last"))
    widget.answer(find("count_batches").reference)
    assert "every case passes" in widget.feedback.value


def test_the_thread_of_the_clock_shows_the_time_and_ends_with_the_widget(
    progress, clock, monkeypatch
):
    from dlkit.lab.interview import widget as module

    monkeypatch.setattr(module, "TICK_SECONDS", 0.01)
    before = set(threading.enumerate())
    widget = MockInterview(progress, clock, seed=0)
    shown = threading.Event()
    widget.clock_text.observe(lambda change: "19:50" in change["new"] and shown.set(), "value")
    widget.buttons["start"].click()
    clock.now += 10
    assert shown.wait(60)
    (thread,) = set(threading.enumerate()) - before
    widget.close()
    thread.join(60)
    assert not thread.is_alive()
