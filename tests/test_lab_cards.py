"""Cards: what they claim is run, and when they come again follows from the answers."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from dlkit.lab.cards import Deck, Quiz, load
from dlkit.lab.cards.card import FORMS
from dlkit.lab.cards.deck import RATINGS
from dlkit.lab.cards.widget import CardsWidget
from dlkit.lab.exercises.progress import Progress

CARDS = load()
RUN_ALL = """
import json, sys, traceback
from dlkit.lab.cards import load
results = {}
for card in load().values():
    if card.code:
        try:
            results[card.name] = card.run()
        except Exception:
            results[card.name] = traceback.format_exc()
json.dump(results, sys.stdout)
"""


@pytest.fixture(scope="session")
def printed():
    """What the code of each card prints; all of it runs in one other process."""
    done = subprocess.run([sys.executable, "-c", RUN_ALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.fixture
def deck(tmp_path):
    return Deck(Progress(tmp_path))


def later(hours):
    return datetime.now(UTC) + timedelta(hours=hours)


# ---- what stands on them ------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, card in CARDS.items() if card.code])
def test_the_code_of_a_card_prints_what_the_card_says(name, printed):
    card = CARDS[name]
    lines = [" ".join(line.split()) for line in printed[name].strip().splitlines()]
    assert lines == [" ".join(line.split()) for line in card.output.strip().splitlines()]
    if card.form == "predict":
        assert card.is_right(printed[name])
        assert not card.is_right(printed[name] + "1")


def test_there_are_enough_of_them_in_every_form_topic_and_level():
    assert len(CARDS) >= 120
    assert {card.form for card in CARDS.values()} == set(FORMS)
    assert {card.level for card in CARDS.values()} == {1, 2, 3}
    assert len({card.topic for card in CARDS.values()}) >= 15
    assert sum(bool(card.code) for card in CARDS.values()) > len(CARDS) / 2


@pytest.mark.parametrize(
    ("name", "claim"),
    [
        ("shuffle-mixes-batches", "Yes, batches stay the same"),
        ("loader-on-the-gpu", "On the GPU, since the model is there"),
        ("more-workers-faster", "Never"),
        ("smaller-batches-train-faster", "It is right: an epoch takes less time"),
        ("distributed-never-repeats", "Each sample once"),
        ("num-workers-one", "Yes, both use one process"),
    ],
)
def test_the_common_wrong_answers_are_choices_and_an_experiment_refutes_them(name, claim):
    card = CARDS[name]
    (choice,) = [choice for choice in card.choices if choice.text.startswith(claim)]
    assert not choice.right
    assert choice.because
    assert card.code


@pytest.mark.parametrize("name", [name for name, card in CARDS.items() if card.form == "choice"])
def test_a_choice_card_accepts_the_right_answer_alone_and_explains_each(name):
    card = CARDS[name]
    accepted = [place for place in range(len(card.choices)) if card.is_right(place)]
    assert accepted == [card.right]
    assert all(choice.because.strip() for choice in card.choices)
    assert len({choice.text for choice in card.choices}) == len(card.choices)


def test_the_place_of_a_choice_does_not_give_it_away():
    places = [card.right for card in CARDS.values() if card.form == "choice"]
    assert all(0 < places.count(place) < len(places) / 2 for place in range(3))


@pytest.mark.parametrize("answer", [-1, 4, "0", None, 1.0])
def test_an_answer_that_is_no_choice_is_refused(answer):
    with pytest.raises(ValueError, match="answer must be from 0 to 3"):
        CARDS["drop-last"].is_right(answer)


def test_a_card_to_recall_is_judged_by_the_learner():
    with pytest.raises(ValueError, match="rate your answer yourself"):
        CARDS["stages"].is_right("anything")


def test_what_a_card_shows_holds_no_answer_and_escapes_html():
    card = CARDS["number-of-batches"]
    assert "range(64)" in repr(card)
    assert card.output not in repr(card)
    assert "<script>" not in CARDS["map-or-iterable"]._repr_html_()


# ---- when they come again -----------------------------------------------------------------------


def test_new_cards_come_easier_ones_first_and_no_more_than_asked_for(deck):
    due = deck.due(new=5)
    assert len(due) == 5
    assert {card.level for card in due} == {1}
    assert deck.due(new=5, seed=1) != due
    assert deck.due(new=0) == []


def test_a_wrong_answer_comes_again_sooner_than_a_right_one(deck):
    deck.review("drop-last", "again")
    deck.review("stages", "easy")
    standings = deck.standings()
    assert standings["drop-last"].due < standings["stages"].due
    assert [card.name for card in deck.due(later(1), new=0)] == ["drop-last"]
    weak, strong = (deck.standings(later(24 * 365))[n].recall for n in ("drop-last", "stages"))
    assert 0 < weak < strong < 1


def test_each_right_answer_makes_the_pause_longer(tmp_path, monkeypatch):
    progress, now, pauses = Progress(tmp_path), datetime(2030, 1, 1, tzinfo=UTC), []
    deck = Deck(progress)
    monkeypatch.setattr("dlkit.lab.exercises.progress.time.time", lambda: now.timestamp())
    for _ in range(5):
        deck.review("drop-last", "good")
        due = deck.standings(now)["drop-last"].due
        pauses.append(due - now)
        now = due
    assert pauses == sorted(pauses)
    assert pauses[-1] > timedelta(days=5)
    assert deck.standings(now)["drop-last"].answered == 5


def test_what_was_answered_is_kept_for_the_next_kernel(tmp_path):
    Deck(Progress(tmp_path)).review("drop-last", "good")
    assert Deck(Progress(tmp_path)).standings()["drop-last"].answered == 1


def test_mastery_grows_with_right_answers(deck):
    assert set(deck.mastery().values()) == {0.0}
    for card in Deck(deck.progress, topics=["uses"]).cards:
        deck.review(card, "easy")
    assert deck.mastery()["uses"] > 0.9
    assert deck.mastery()["ddp"] == 0.0


def test_unknown_names_are_refused_with_what_there_is(deck):
    with pytest.raises(ValueError, match="there is no card 'nonsense'"):
        deck.review("nonsense", "good")
    with pytest.raises(ValueError, match="rating must be one of again, hard, good, easy"):
        deck.review("drop-last", "fine")
    with pytest.raises(ValueError, match=r"topics must be among arrays, .*'cooking'"):
        Deck(deck.progress, topics=["cooking"])


# ---- quizzes ------------------------------------------------------------------------------------


def answer_for(card, right):
    if card.form == "choice":
        return card.right if right else (card.right + 1) % len(card.choices)
    if card.form == "predict":
        return card.output if right else "nothing"
    return "good" if right else "again"


def test_pre_test_and_post_test_ask_the_same_twelve_in_another_order(deck):
    before, after = Quiz.test("pre-test", deck), Quiz.test("post-test", deck)
    names = [[card.name for card in quiz.cards] for quiz in (before, after)]
    assert len(names[0]) == 12
    assert names[0] != names[1]
    assert sorted(names[0]) == sorted(names[1])
    with pytest.raises(ValueError, match="name must be one of pre-test, post-test"):
        Quiz.test("test")


def test_a_quiz_counts_records_and_says_what_to_revise(deck):
    quiz = Quiz.test("pre-test", deck)
    for place in range(12):
        assert quiz.answer(answer_for(quiz.card, right=place % 3 > 0)) == (place % 3 > 0)
    assert quiz.done
    assert quiz.score == "8 of 12"
    wrong = {CARDS[name].topic for name, right in quiz.results if not right}
    assert set(quiz.revise()) == wrong
    (finished,) = [event for event in deck.progress.events() if event.kind == "test"]
    assert (finished.name, finished.detail) == ("pre-test", "8 of 12")
    assert len(deck.standings()) == 12
    with pytest.raises(ValueError, match="all cards of this quiz were answered"):
        quiz.answer(0)


def test_a_self_rating_must_be_one(deck):
    quiz = Quiz([CARDS["stages"]], deck)
    with pytest.raises(ValueError, match="answer must be one of again"):
        quiz.answer("splendid")
    assert not quiz.results
    assert not quiz.answer(RATINGS[0])


# ---- the widget ---------------------------------------------------------------------------------


def test_the_widget_asks_explains_runs_the_code_and_ends_with_the_score(deck):
    quiz = Quiz([CARDS[name] for name in ("drop-last", "number-of-batches", "stages")], deck)
    widget = CardsWidget(quiz)
    widget.submit.click()
    assert "Choose an answer first" in widget.feedback.value
    wrong = answer_for(CARDS["drop-last"], right=False)
    widget.choices.index = wrong
    widget.submit.click()
    assert repr(widget) == "<CardsWidget: wrong; card 1 of 3, drop-last>"
    assert CARDS["drop-last"].choices[wrong].because.split()[0] in widget.feedback.value
    widget.run_code.click()
    assert "3 batches, then 2" in widget.printed.value
    widget.next.click()
    assert widget.prediction in widget.children
    widget.prediction.value = " 1  2 0 "
    widget.submit.click()
    assert widget.state == "right"
    widget.next.click()
    assert CARDS["stages"].short not in widget.question.value + widget.feedback.value
    widget.reveal.click()
    assert CARDS["stages"].short in widget.feedback.value
    widget.ratings[2].click()
    widget.next.click()
    assert widget.state == "done"
    assert "2 of 3" in widget.question.value
    assert "batching" in widget.question.value
    assert len(deck.standings()) == 3
