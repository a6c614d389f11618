import pytest
import torch
from torch import nn

from dlkit.models import Normalize, SimpleCNN, format_layer_shapes, layer_shapes


def by_hand(channels: int, height: int, width: int, classes: int) -> nn.Module:
    """The same network written out with every size as a number somebody worked out."""
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (height // 2 // 2) * (width // 2 // 2), 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


@pytest.mark.parametrize(
    ("shape", "classes"), [((1, 28, 28), 10), ((3, 32, 20), 7), ((2, 5, 7), 3), ((1, 4, 4), 1)]
)
def test_simple_cnn_computes_what_the_layers_written_by_hand_compute(shape, classes):
    model, oracle = SimpleCNN(classes, shape).eval(), by_hand(*shape, classes)
    for own, other in zip(model.parameters(), oracle.parameters(), strict=True):
        assert own.shape == other.shape
        other.data.copy_(own.data)
    images = torch.rand(3, *shape)
    assert torch.equal(model(images), oracle(images))


def test_simple_cnn_for_28x28_digits_has_421642_parameters():
    # (1*9+1)*32 + (32*9+1)*64 + (64*7*7+1)*128 + (128+1)*10, worked out on paper
    assert sum(p.numel() for p in SimpleCNN().parameters()) == 421_642


def test_every_parameter_of_simple_cnn_gets_a_gradient():
    torch.manual_seed(0)
    model = SimpleCNN(5, (2, 8, 8))
    model(torch.rand(4, 2, 8, 8)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    model = SimpleCNN(dropout=0.5)
    images = torch.rand(4, 1, 28, 28)
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"input_shape": (1, 3, 28)}, ValueError, "too small.*at least 4"),
        ({"input_shape": (28, 28)}, ValueError, r"\(channels, height, width\)"),
        ({"input_shape": (0, 28, 28)}, ValueError, r"\(channels, height, width\)"),
        ({"input_shape": (1, 28.0, 28)}, TypeError, "input_shape.*28.0"),
        ({"num_classes": 0}, ValueError, "num_classes.*0"),
        ({"num_classes": True}, TypeError, "num_classes.*True"),
        ({"dropout": 1.0}, ValueError, "dropout.*1.0"),
    ],
)
def test_simple_cnn_names_the_wrong_argument(arguments, error, words):
    with pytest.raises(error, match=words):
        SimpleCNN(**arguments)


@pytest.mark.parametrize("shape", [(2, 3, 28, 28), (2, 1, 32, 32), (1, 28, 28), (2, 784)])
def test_simple_cnn_names_both_shapes_when_images_do_not_fit(shape):
    with pytest.raises(ValueError, match=r"\[N, 1, 28, 28\].*" + str(shape[-1])):
        SimpleCNN()(torch.rand(shape))


def test_simple_cnn_says_how_to_feed_it_uint8_images():
    with pytest.raises(TypeError, match=r"torch.uint8.*Normalize"):
        SimpleCNN()(torch.zeros(1, 1, 28, 28, dtype=torch.uint8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8])
def test_normalize_gives_its_own_images_mean_0_and_std_1_in_every_channel(dtype):
    torch.manual_seed(0)
    # More than one of the chunks in which the statistics are summed, the last one not full.
    images = torch.rand(1500, 3, 6, 5) * torch.tensor([1.0, 50.0, 200.0]).view(3, 1, 1)
    images = images.to(dtype) if dtype is torch.uint8 else images
    images[0] += 1  # no channel is constant, whatever was rounded away
    scaled = Normalize.from_images(images)(images)
    assert scaled.dtype is torch.float32
    assert torch.allclose(scaled.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(scaled.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4)


def test_normalize_statistics_are_those_of_torch():
    torch.manual_seed(0)
    images = torch.rand(2000, 2, 4, 4)
    layer = Normalize.from_images(images)
    assert torch.allclose(layer.mean, images.double().mean((0, 2, 3)).float())
    assert torch.allclose(layer.std, images.double().std((0, 2, 3), correction=0).float())


def test_normalize_finds_a_constant_channel_whatever_rounding_makes_of_it():
    torch.manual_seed(0)
    for value in torch.rand(50).tolist():
        images = torch.rand(1267, 2, 3, 1)
        images[:, 1] = value
        with pytest.raises(ValueError, match="constant"):
            Normalize.from_images(images)


def test_normalize_travels_with_the_weights():
    state = nn.Sequential(Normalize([0.1], [0.3]), SimpleCNN()).state_dict()
    other = nn.Sequential(Normalize([0.0], [1.0]), SimpleCNN())
    other.load_state_dict(state)
    assert float(other[0].mean) == pytest.approx(0.1)
    assert float(other[0].std) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Normalize([0.1], [0.0]), "std must be above 0"),
        (lambda: Normalize([0.1, 0.2], [1.0]), "got 2 and 1"),
        (lambda: Normalize([], []), "got 0 and 0"),
        (lambda: Normalize.from_images(torch.zeros(4, 1, 2, 2)), "constant"),
        (lambda: Normalize.from_images(torch.zeros(0, 1, 2, 2)), r"\[0, 1, 2, 2\]"),
        (lambda: Normalize.from_images(torch.zeros(4, 28, 28)), r"\[4, 28, 28\]"),
        (lambda: Normalize([0.1], [1.0])(torch.rand(2, 3, 4, 4)), r"\[2, 3, 4, 4\]"),
    ],
)
def test_normalize_names_what_is_wrong(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_layer_shapes_follow_the_forward_pass_and_count_every_parameter():
    model = SimpleCNN(10, (1, 28, 28))
    rows = layer_shapes(model, (1, 28, 28))
    assert [
        (row.kind, row.output_shape) for row in rows if row.parameters or "Pool" in row.kind
    ] == [
        ("Conv2d", (32, 28, 28)),
        ("MaxPool2d", (32, 14, 14)),
        ("Conv2d", (64, 14, 14)),
        ("MaxPool2d", (64, 7, 7)),
        ("Linear", (128,)),
        ("Linear", (10,)),
    ]
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in model.parameters())


def test_layer_shapes_leave_the_model_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout())
    model.train()
    model[1].eval()  # a frozen layer inside a model that trains
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layer_shapes(model, (1, 8, 8))
    assert [layer.training for layer in model.modules()] == [True, True, False, True]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(layer._forward_hooks for layer in model.modules())


def test_layer_table_ends_with_the_total():
    table = format_layer_shapes(layer_shapes(SimpleCNN(), (1, 28, 28)))
    assert table.splitlines()[-1].split() == ["total", "421,642"]
    assert "64 x 7 x 7" in table
