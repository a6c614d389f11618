import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from dlkit.trainer.augment import RandomAffine, affine


@pytest.mark.parametrize("size", [(28, 28), (20, 33)])
@pytest.mark.parametrize(
    ("angle", "scale", "right", "down"),
    [(0, 1, 3, -2), (25, 1, 0, 0), (-40, 1.2, 0, 0), (0, 0.7, 0, 0), (15, 0.9, -4, 5)],
)
def test_affine_moves_an_image_as_torchvision_does(size, angle, scale, right, down):
    torch.manual_seed(0)
    height, width = size
    images = torch.rand(2, 3, height, width)
    amounts = (torch.tensor([float(angle)] * 2), torch.tensor([float(scale)] * 2))
    shift = torch.tensor([[right / width, down / height]] * 2)
    expected = tv.affine(
        images,
        angle=angle,
        translate=[right, down],
        scale=scale,
        shear=[0.0, 0.0],
        interpolation=InterpolationMode.BILINEAR,
    )
    assert torch.allclose(affine(images, *amounts, shift), expected, atol=2e-3)


def test_every_image_of_a_batch_moves_by_amounts_of_its_own():
    torch.manual_seed(0)
    image = torch.rand(1, 1, 28, 28)
    moved = RandomAffine()(image.expand(16, -1, -1, -1))
    assert len({tuple(picture.flatten().tolist()) for picture in moved}) == 16


def test_amounts_stay_in_their_ranges_and_use_them():
    torch.manual_seed(0)
    angle, scale, shift = RandomAffine(degrees=10, translate=0.08, scale=0.1).draw(10_000)
    for values, low, high in [(angle, -10, 10), (scale, 0.9, 1.1), (shift, -0.08, 0.08)]:
        assert low <= float(values.min()) < low + 0.02 * (high - low)
        assert high >= float(values.max()) > high - 0.02 * (high - low)


def test_the_same_seed_gives_the_same_pictures():
    images = torch.rand(4, 1, 8, 8)
    torch.manual_seed(1)
    first = RandomAffine()(images)
    torch.manual_seed(1)
    assert torch.equal(RandomAffine()(images), first)


def test_uint8_images_stay_uint8_and_close_to_the_floats():
    images = torch.randint(256, (4, 1, 12, 12), dtype=torch.uint8)
    torch.manual_seed(1)
    moved = RandomAffine()(images)
    torch.manual_seed(1)
    floats = RandomAffine()(images.float())
    assert moved.dtype is torch.uint8
    assert (moved.float() - floats).abs().max() <= 0.5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"degrees": -1}, "degrees.*-1"),
        ({"degrees": 200}, "degrees.*200"),
        ({"translate": 1.0}, "translate.*1.0"),
        ({"scale": -0.1}, "scale.*-0.1"),
    ],
)
def test_amounts_out_of_range_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        RandomAffine(**options)


def test_one_image_without_a_batch_is_refused():
    with pytest.raises(ValueError, match=r"\[N, C, H, W\], got shape \[1, 28, 28\]"):
        RandomAffine()(torch.rand(1, 28, 28))
