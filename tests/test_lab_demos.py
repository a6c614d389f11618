"""The eight demonstrations: the effect is in their numbers, and a seed gives the same ones."""

import dataclasses
import inspect

import numpy as np
import pytest
import torch
from torch import Tensor

from dlkit.lab import demos
from dlkit.lab.cards import Quiz, load
from dlkit.lab.cards.widget import CardsWidget
from dlkit.lab.demos import distillation, recurrence, reinforcement
from dlkit.plots.style import png

QUESTIONS = {
    "what-deep-learning-is": "separate_spirals",
    "convolution": "shift_digits",
    "back-propagation": "gradients_by_hand",
    "recurrent-networks": "remember_a_bit",
    "gan": "forge_points",
    "reinforcement-learning": "walk_the_cliff",
    "transfer-learning": "reuse_features",
    "distillation": "teach_a_student",
}


@pytest.fixture(scope="module")
def seen():
    """Runs each demonstration once, when a test first asks for it."""
    results = {}

    def run(name):
        if name not in results:
            results[name] = demos.demo(name)()
        return results[name]

    return run


def mean(values):
    return sum(values) / len(values)


# ---- every one ----------------------------------------------------------------------------------


def test_each_general_question_has_a_demonstration_of_its_own():
    assert {card.name: card.demo for card in load().values() if card.demo} == QUESTIONS
    assert set(QUESTIONS.values()) == set(demos.DEMOS)


@pytest.mark.parametrize("name", demos.DEMOS)
def test_it_names_its_source_and_shows_its_numbers_in_words_and_as_a_picture(name, seen):
    assert "Source: " in inspect.getdoc(demos.demo(name))
    result = seen(name)
    picture = result.picture()
    assert any(character.isdigit() for character in result.summary)
    assert any(character.isdigit() for character in picture.caption)
    assert repr(result) == result.summary
    assert len(png(picture)) > 10_000


@pytest.mark.parametrize("name", ["separate_spirals", "gradients_by_hand", "walk_the_cliff"])
def test_a_seed_gives_the_same_numbers_and_leaves_the_callers_generator_alone(name, seen):
    first = seen(name)
    torch.manual_seed(5)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    again = demos.demo(name)()
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    for field in dataclasses.fields(first):
        assert same(getattr(first, field.name), getattr(again, field.name)), field.name
    assert not same(first.__dict__, demos.demo(name)(seed=1).__dict__)


def same(a, b):
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return torch.equal(a, b) if isinstance(a, Tensor) else a == b


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match=r"name must be one of separate_spirals, .*'nothing'"):
        demos.demo("nothing")
    with pytest.raises(ValueError, match="card 'drop-last' has no demonstration"):
        load()["drop-last"].demonstrate()


def test_the_widget_shows_the_demonstration_of_a_card_after_its_answer():
    card = load()["reinforcement-learning"]
    widget = CardsWidget(Quiz([card, load()["drop-last"]]))
    widget.prediction.value = card.output
    widget.submit.click()
    assert widget.show_demo in widget.children[3].children
    widget.show_demo.click()
    assert card.demonstrate().summary in widget.printed.value
    assert 'src="data:image/png' in widget.printed.value
    widget.next.click()
    widget.choices.index = 0
    widget.submit.click()
    assert widget.show_demo not in widget.children[3].children


# ---- the effects --------------------------------------------------------------------------------


def test_a_net_separates_what_no_line_does_and_depth_alone_does_not(seen):
    spirals = seen("separate_spirals")
    assert spirals.accuracy["deep"] > 0.95
    assert spirals.accuracy["linear"] < 0.75
    assert spirals.accuracy["deep, no nonlinearity"] < 0.75
    a, b, c = spirals.line
    by_the_line = a * spirals.hidden[:, 0] + b * spirals.hidden[:, 1] + c > 0
    right = (by_the_line == spirals.labels.bool()).double().mean().item()
    assert right == spirals.accuracy["deep"], "the line drawn is not the one that decides"


def test_a_convolutional_net_knows_shifted_digits_better_with_fewer_parameters(seen):
    shifted = seen("shift_digits")
    convolutional, dense = shifted.accuracy["convolutional"], shifted.accuracy["dense"]
    assert convolutional[0] > 0.9
    assert dense[0] > 0.9
    assert convolutional[-1] > dense[-1] + 0.3
    assert shifted.parameters["convolutional"] < shifted.parameters["dense"] / 3
    assert shifted.equivariance_error < 1e-5
    kernels = shifted.filters[:, None]
    answered = torch.nn.functional.conv2d(shifted.image[None, None], kernels, padding=2)[0]
    # The maps are these filters' answers, up to one bias each, where they are not cut off at 0.
    gaps = [(m - a)[m > 0] for m, a in zip(shifted.maps, answered, strict=True) if (m > 0).any()]
    assert max((gap - gap[0]).abs().max().item() for gap in gaps) < 1e-5


def test_gradients_by_hand_are_those_of_autograd_and_of_differences(seen):
    flow = seen("gradients_by_hand")
    assert flow.autograd_error < 1e-12
    assert 0 < flow.difference_error < 1e-8
    assert flow.forward_passes == 2 * 13
    assert flow.norms[0.5][0] < 1e-3
    assert flow.norms[3.0][0] > 10


def test_a_plain_net_forgets_a_bit_that_an_open_gate_keeps(seen):
    bits = seen("remember_a_bit")
    plain, opened = bits.accuracy["plain"], bits.accuracy["LSTM, gate open"]
    assert plain[0] > 0.95
    assert plain[-1] < 0.65
    assert opened[-1] > 0.95
    assert bits.gradients["plain"][0] < 1e-6 < bits.gradients["LSTM, gate open"][0]


def test_what_follows_the_bit_says_nothing_about_it():
    sequences, wanted = recurrence.bits(50, 3)
    assert sequences.shape == (50, 4, 1)
    assert torch.equal(sequences[:, 0, 0], 2 * wanted - 1)
    assert not sequences[:, 1:].any()


def test_a_generator_finds_the_heaps_without_seeing_them(seen):
    start, _, end = seen("forge_points").snapshots
    assert start.near < 0.2
    assert end.near > 0.6
    assert end.heaps >= 4
    assert 0.3 < end.verdicts[0] < 0.7


def test_q_learning_walks_the_shortest_way_and_values_it_exactly(seen):
    walked = seen("walk_the_cliff")
    assert walked.reaches_goal
    assert len(walked.path) - 1 == 13
    assert not any(reinforcement.is_cliff(field) for field in walked.path)
    assert walked.error < 1e-6
    assert mean(walked.returns[-50:]) > mean(walked.returns[:50])
    exact = reinforcement.exact_values()
    for field in exact:
        if not reinforcement.is_cliff(field) and field[0] < 3:
            steps_to_goal = abs(field[0] - 3) + abs(field[1] - 11)
            assert exact[field] == -steps_to_goal


def test_too_few_episodes_do_not_reach_the_goal_and_it_says_so():
    early = reinforcement.walk_the_cliff(episodes=2)
    assert not early.reaches_goal
    assert "does not reach the goal" in early.summary


def test_old_features_beat_random_ones_and_training_from_scratch(seen):
    reused = seen("reuse_features")
    assert reused.old_accuracy > 0.8
    for labels in reused.labels:
        old, scratch, chance = (reused.mean(way, labels) for way in reused.accuracy)
        assert old > scratch
        assert old > chance


def test_a_student_learns_a_class_it_never_saw_from_a_teachers_doubts(seen):
    distilled = seen("teach_a_student")
    assert distilled.teacher_accuracy > 0.95
    assert max(distilled.unseen["labels"]) == 0
    assert mean(distilled.unseen["teacher"]) > 0.4
    pairs = zip(distilled.accuracy["teacher"], distilled.accuracy["labels"], strict=True)
    assert sum(teacher > labels for teacher, labels in pairs) >= 2
    for probabilities in distilled.probabilities:
        assert sum(probabilities) == pytest.approx(1)
    assert np.argmax(distilled.probabilities[0]) == distilled.example_label


def test_the_gradient_of_the_distillation_loss_keeps_its_size_whatever_the_temperature(monkeypatch):
    norms = []
    for temperature in (4.0, 40.0, 400.0):
        monkeypatch.setattr(distillation, "TEMPERATURE", temperature)
        logits = torch.zeros(1, 3).double().requires_grad_()
        distillation.distillation_loss(logits, torch.tensor([[2.0, 0.0, -2.0]]).double()).backward()
        norms.append(logits.grad.norm().item())
    assert max(norms) < 1.1 * min(norms)
