"""The embedded digits: the same pictures in the same split, on every machine, for ever."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("sklearn", reason="digits() reads scikit-learn's copy")

from dlkit.datasets.digits import digits, enlarge, held_out


def sha256(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()[:16]


@pytest.fixture(scope="module")
def source():
    from sklearn.datasets import load_digits

    return load_digits()


@pytest.mark.parametrize(
    ("train", "size", "pixels", "labels"),
    [
        (True, 1442, "45105f23e6d3bd0e", "a2e9b5aad7728894"),
        (False, 355, "cbdbdf7c9b2bfc40", "ae868ceb6e5b065c"),
    ],
)
def test_pictures_labels_and_split_never_change(train, size, pixels, labels):
    dataset = digits(train, dtype=torch.uint8)
    assert len(dataset) == size
    assert sha256(dataset.tensors[0]) == pixels
    assert sha256(dataset.tensors[1].to(torch.uint8)) == labels


def test_shapes_types_and_ranges_are_those_of_mnist():
    images, labels = digits(train=False).tensors
    assert images.shape == (355, 1, 28, 28)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (0, 1)
    assert labels.dtype == torch.int64
    assert set(labels.tolist()) == set(range(10))


def test_float_and_uint8_are_the_same_pictures():
    floats, _ = digits(train=False, dtype=torch.float32).tensors
    bytes_, _ = digits(train=False, dtype=torch.uint8).tensors
    assert torch.equal(floats, bytes_.to(torch.float32) / 255)


def test_no_picture_is_in_both_splits_and_none_is_lost(source):
    pictures = {
        train: {image.numpy().tobytes() for image in digits(train, dtype=torch.uint8).tensors[0]}
        for train in (True, False)
    }
    assert not pictures[True] & pictures[False]
    assert len(pictures[True] | pictures[False]) == len(source.target)


def test_both_splits_keep_the_class_shares_to_within_half_a_percent(source):
    whole = np.bincount(source.target) / len(source.target)
    for train in (True, False):
        labels = digits(train).tensors[1].numpy()
        assert np.abs(np.bincount(labels) / len(labels) - whole).max() < 0.005


def test_each_picture_keeps_its_own_label(source):
    expected = {
        image.tobytes(): label
        for image, label in zip(enlarge(source.images.astype(int)), source.target, strict=True)
    }
    for train in (True, False):
        for image, label in zip(*digits(train, dtype=torch.uint8).tensors, strict=True):
            assert expected[image.numpy().tobytes()] == label


def test_enlarging_is_torchs_bilinear_interpolation_rounded_to_whole_pixels(source):
    small = torch.from_numpy(source.images).unsqueeze(1)
    oracle = F.interpolate(small, size=(24, 24), mode="bilinear", align_corners=False) * (255 / 16)
    ours = torch.from_numpy(enlarge(source.images.astype(np.int64)))
    inner = ours[:, 2:-2, 2:-2].to(torch.float64)
    assert (inner - oracle[:, 0]).abs().max() <= 0.5 + 1e-9
    assert ours.sum() == inner.sum(), "the margin must be black"


def test_held_out_is_every_fifth_of_each_class():
    targets = np.array([3] * 11 + [8] * 4 + [3])
    assert np.flatnonzero(held_out(targets)).tolist() == [4, 9]


def test_every_call_gives_memory_of_its_own():
    digits(train=False).tensors[0].zero_()
    assert digits(train=False).tensors[0].max() == 1


def test_a_linear_model_learns_them():
    def centred(train):
        images, labels = digits(train).tensors
        return images.flatten(1) - 0.5, labels

    (x, y), (x_test, y_test) = centred(True), centred(False)
    weights = torch.linalg.lstsq(
        x.T @ x + 10 * torch.eye(x.shape[1]), x.T @ F.one_hot(y).float()
    ).solution
    accuracy = ((x_test @ weights).argmax(1) == y_test).float().mean()
    assert accuracy > 0.9


@pytest.mark.parametrize("dtype", [torch.float64, torch.int64, "float32", None])
def test_another_dtype_is_refused_by_name(dtype):
    with pytest.raises(TypeError, match=r"dtype must be torch\.float32 .* or torch\.uint8"):
        digits(dtype=dtype)


@pytest.mark.parametrize("train", ["test", 0, None])
def test_a_split_that_is_not_a_bool_is_refused_by_name(train):
    with pytest.raises(TypeError, match=r"train must be True .* or False"):
        digits(train)


def test_without_scikit_learn_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ModuleNotFoundError, match="pip install scikit-learn"):
        digits()


def test_a_scikit_learn_that_keeps_them_elsewhere_is_asked_for_them(monkeypatch):
    images, labels = digits().tensors
    monkeypatch.setattr(sys.modules[digits.__module__], "FILE", ("datasets", "no such file"))
    asked = digits().tensors
    assert torch.equal(asked[0], images)
    assert torch.equal(asked[1], labels)


def test_scikit_learn_is_not_imported_for_them():
    code = "import sys, dlkit.datasets; dlkit.datasets.digits(); print('sklearn' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip() == "False"
