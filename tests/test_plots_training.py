"""What the pictures of training show, read back from the figures."""

import math

import numpy as np
import pytest
import torch

from dlkit.plots.classification import confusion_matrix, image_grid, mistakes_grid
from dlkit.plots.style import png
from dlkit.plots.training import learning_curves
from dlkit.trainer import History
from dlkit.trainer.results import Mistake, confusion_counts, most_confused, worst_mistakes


def rows(epochs: int) -> History:
    return History(
        {
            "epoch": epoch,
            "train_loss": 2 / epoch,
            "val_loss": 2 / epoch + 0.01 * epoch,
            "train_accuracy": 1 - 0.5 / epoch,
            "val_accuracy": 1 - 0.6 / epoch,
        }
        for epoch in range(1, epochs + 1)
    )


@pytest.mark.parametrize("epochs", [1, 2, 7, 100])
def test_curves_show_every_epoch_of_training_and_validation(epochs):
    history = rows(epochs)
    losses, errors = learning_curves(history).axes
    for axes, kind in ((losses, "loss"), (errors, "accuracy")):
        for line, part in zip(axes.lines, ("train", "val"), strict=False):
            values = np.array(history.column(f"{part}_{kind}"))
            assert line.get_xdata().tolist() == history.column("epoch")
            assert line.get_ydata() == pytest.approx(values if kind == "loss" else 1 - values)
            low, high = axes.get_ylim()
            assert low <= min(line.get_ydata()) <= max(line.get_ydata()) <= high
        left, right = axes.get_xlim()
        assert 0.5 <= left < 1
        assert right > epochs


@pytest.mark.parametrize("epochs", [1, 5, 30, 100])
def test_ticks_are_whole_epochs_and_labels_do_not_lie_about_their_place(epochs):
    for axes in learning_curves(rows(epochs)).axes:
        assert all(float(tick).is_integer() for tick in axes.get_xticks())
        for tick in axes.get_yticks():
            text = axes.yaxis.get_major_formatter()(tick)
            share = float(text.rstrip("%")) / (100 if text.endswith("%") else 1)
            assert share == pytest.approx(tick, rel=1e-2)


def test_the_legend_names_what_was_held_out():
    legend = learning_curves(rows(3), held_out="test").axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()][:2] == ["training", "test"]


def test_the_best_validation_epoch_is_marked_with_its_number():
    losses = learning_curves(rows(30)).axes[0]
    mark = losses.lines[2]
    # 2/e + e/100 is least at e = sqrt(200), of the whole epochs at 14.
    assert mark.get_xdata()[0] == 14
    assert mark.get_label() == "best: 0.2829, epoch 14"


def test_an_accuracy_of_one_is_shown_on_the_logarithmic_scale():
    history = [
        {"epoch": e, "train_loss": 1 / e, "train_accuracy": a}
        for e, a in enumerate([0.2, 0.9, 0.99, 1.0], start=1)
    ]
    errors = learning_curves(history).axes[1]
    assert errors.lines[0].get_ydata()[-1] == 0
    assert errors.get_ylim()[0] <= 0
    assert 0.0 in errors.get_yticks()


def test_without_accuracy_there_is_one_panel_and_without_validation_one_line():
    figure = learning_curves([{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.4}])
    (axes,) = figure.axes
    assert len(axes.lines) == 1
    assert figure.caption == "after epoch 2: train loss 0.4000"


def test_an_epoch_without_validation_leaves_a_gap():
    history = rows(3)
    del history.rows[1]["val_loss"]
    values = learning_curves(history).axes[0].lines[1].get_ydata()
    assert [math.isnan(value) for value in values] == [False, True, False]


def test_curves_of_nothing_are_refused():
    with pytest.raises(ValueError, match="at least one epoch"):
        learning_curves(History())


def test_confusion_counts_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    torch.manual_seed(0)
    logits, labels = torch.randn(500, 6), torch.randint(6, (500,))
    expected = metrics.confusion_matrix(labels, logits.argmax(1), labels=range(6))
    assert np.array_equal(confusion_counts(logits, labels), expected)


def test_confusion_counts_keep_classes_that_never_occur():
    counts = confusion_counts(torch.eye(4)[:2], torch.tensor([0, 1]))
    assert counts.shape == (4, 4)
    assert counts.sum() == 2


def test_worst_mistakes_are_wrong_and_ordered_by_certainty():
    torch.manual_seed(0)
    logits, labels = torch.randn(200, 5) * 3, torch.randint(5, (200,))
    found = worst_mistakes(logits, labels, limit=1000)
    certainty, predicted = logits.double().softmax(1).max(1)
    wrong = {i for i in range(200) if predicted[i] != labels[i]}
    assert {m.index for m in found} == wrong
    assert [m.probability for m in found] == sorted((m.probability for m in found), reverse=True)
    for mistake in found:
        assert mistake.label == labels[mistake.index] != mistake.predicted
        assert mistake.predicted == predicted[mistake.index]
        assert mistake.probability == pytest.approx(float(certainty[mistake.index]))
    assert worst_mistakes(logits, labels, limit=3) == found[:3]


@pytest.mark.parametrize("function", [confusion_counts, worst_mistakes])
@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (torch.zeros(3, 2), torch.zeros(4), "same samples"),
        (torch.zeros(3), torch.zeros(3), "same samples"),
        (torch.zeros(2, 2), torch.tensor([0, 2]), "from 0 to 1, got 0 to 2"),
        (torch.zeros(2, 2), torch.tensor([-1, 0]), "got -1 to 0"),
    ],
)
def test_results_of_what_does_not_belong_together_are_refused(function, logits, labels, words):
    with pytest.raises(ValueError, match=words):
        function(logits, labels)


def test_most_confused_names_the_pair():
    counts = torch.tensor([[5, 1, 0], [0, 9, 0], [3, 0, 4]])
    assert most_confused(counts, ["cat", "dog", "owl"]) == "owl taken for cat: 3 times"
    assert most_confused(torch.eye(3)) == "no class taken for another"


def test_every_count_is_written_in_its_cell():
    counts = np.array([[12, 0, 3], [1, 40, 0], [0, 2, 7]])
    axes = confusion_matrix(counts, ["a", "b", "c"]).axes[0]
    written = {
        (round(t.get_position()[1]), round(t.get_position()[0])): t.get_text()
        for t in axes.texts[:9]
    }
    assert written == {place: str(count) for place, count in np.ndenumerate(counts)}
    assert [t.get_text() for t in axes.texts[9:12]] == ["80.0%", "97.6%", "77.8%"]
    assert axes.yaxis_inverted()  # class 0 on top, as tables are read
    assert axes.get_ylabel() == "true class"
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]


def test_right_and_wrong_have_different_colours_and_zero_is_white():
    axes = confusion_matrix([[5, 1], [0, 4]]).axes[0]
    colours = [patch.get_facecolor()[:3] for patch in axes.patches]
    right, wrong, zero, _ = colours
    assert right[2] > right[0]  # blue
    assert wrong[0] > wrong[2]  # red
    assert zero == (1.0, 1.0, 1.0)


def test_the_most_common_error_is_the_darkest_however_rare_errors_are():
    counts = np.array([[9990, 8, 2], [0, 9999, 1], [0, 0, 10000]])
    patches = confusion_matrix(counts).axes[0].patches
    redness = {counts.flat[i]: 1 - patches[i].get_facecolor()[2] for i in (1, 2, 5)}
    assert redness[8] > redness[2] > redness[1] > 0.1


def test_a_class_without_samples_does_not_divide_by_zero():
    figure = confusion_matrix([[2, 0], [0, 0]])
    assert "none" in [text.get_text() for text in figure.axes[0].texts]
    assert figure.caption == "2 of 2 right (100.00%)"
    assert confusion_matrix([[0]]).caption == "0 of 0 right"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(([[1, 2]],), r"\(1, 2\)"), (([[1]], ["a", "b"]), "1 classes, got 2"), (([],), r"\(0,\)")],
)
def test_confusion_matrix_names_what_is_wrong(arguments, words):
    with pytest.raises(ValueError, match=words):
        confusion_matrix(*arguments)


@pytest.mark.parametrize("shape", [(7, 8, 8), (7, 1, 8, 8), (7, 3, 8, 8)])
def test_images_are_drawn_in_order_under_their_titles(shape):
    images = np.random.default_rng(0).random(shape)
    figure = image_grid(images, [f"image {i}" for i in range(7)], columns=4)
    drawn = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title() for axes in drawn] == [f"image {i}" for i in range(7)]
    for axes, image in zip(drawn, images, strict=True):
        array = np.asarray(axes.images[0].get_array())
        if shape[1:2] == (3,):
            low, high = image.min(), image.max()
            expected = (image.transpose(1, 2, 0) - low) / (high - low)
        else:
            expected = image.reshape(8, 8)
        assert np.allclose(array, expected)


def test_image_grid_names_what_is_wrong():
    with pytest.raises(ValueError, match="got 2 for 3 images"):
        image_grid(np.zeros((3, 8, 8)), ["a", "b"])
    with pytest.raises(ValueError, match=r"\(3, 2, 8, 8\)"):
        image_grid(np.zeros((3, 2, 8, 8)), ["a", "b", "c"])
    with pytest.raises(ValueError, match="got 0 for 0"):
        image_grid(np.zeros((0, 8, 8)), [])


def test_mistakes_are_drawn_with_truth_prediction_and_certainty():
    images = np.arange(4 * 64).reshape(4, 1, 8, 8)
    mistakes = [Mistake(3, 4, 9, 0.996), Mistake(1, 0, 6, 0.51)]
    figure = mistakes_grid(images, mistakes, [f"n{i}" for i in range(10)])
    first, second = figure.axes[:2]
    assert first.get_title() == "#3: n4\ntaken for n9\n>99% sure"
    assert second.get_title() == "#1: n0\ntaken for n6\n51% sure"
    assert np.array_equal(first.images[0].get_array(), images[3, 0])


def test_no_mistakes_are_said_so():
    figure = mistakes_grid(np.zeros((4, 1, 8, 8)), [])
    assert figure.caption == "no mistakes"
    assert [text.get_text() for text in figure.axes[0].texts] == ["no mistakes"]


def test_all_pictures_become_png():
    pictures = [learning_curves(rows(9)), confusion_matrix([[3, 1], [1, 2]])]
    pictures.append(mistakes_grid(np.eye(8)[None], [Mistake(0, 1, 2, 0.7)]))
    assert all(png(p).startswith(b"\x89PNG") and len(png(p)) > 4000 for p in pictures)
