"""Augmentation of a whole batch at once: small random shifts, turns and scales.

torchvision's transforms, given a batch, turn every image of it by the same angle. Here each image
gets an angle, a scale and a shift of its own, and one `grid_sample` moves all of them together,
on whatever device they are.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


class RandomAffine:
    """Turn, scale and shift each image of a batch by amounts of its own, drawn evenly.

    The random numbers come from torch's global generator of the CPU, whatever device the images
    are on, so a seed gives the same pictures everywhere.

    Args:
        degrees: Largest turn to either side.
        translate: Largest shift to either side, as a share of width and height.
        scale: Largest growth or shrinkage, as a share: 0.1 for 0.9 to 1.1 times.

    Raises:
        ValueError: If an amount is out of range.

    Example:
        >>> images = torch.rand(8, 1, 28, 28)
        >>> RandomAffine()(images).shape
        torch.Size([8, 1, 28, 28])
        >>> still = RandomAffine(degrees=0, translate=0, scale=0)
        >>> torch.allclose(still(images), images, atol=1e-5)
        True
    """

    def __init__(
        self, *, degrees: float = 10.0, translate: float = 0.08, scale: float = 0.1
    ) -> None:
        if not 0 <= degrees <= 180:
            raise ValueError(f"degrees must be from 0 to 180, got {degrees!r}")
        for name, value in (("translate", translate), ("scale", scale)):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be a share from 0 to below 1, got {value!r}")
        self.degrees = degrees
        self.translate = translate
        self.scale = scale

    def __call__(self, images: Tensor) -> Tensor:
        """Return the batch `[N, C, H, W]` with every image moved; uint8 stays uint8.

        Raises:
            ValueError: If `images` is not `[N, C, H, W]`.
        """
        if images.ndim != 4:
            raise ValueError(f"images must be [N, C, H, W], got shape {list(images.shape)}")
        angle, scale, shift = self.draw(len(images))
        return affine(images, angle, scale, shift)

    def draw(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Draw angles `[N]` in degrees, scales `[N]`, and shifts `[N, 2]` as shares of the size."""
        even = 2 * torch.rand(count, 4) - 1
        return even[:, 0] * self.degrees, 1 + even[:, 1] * self.scale, even[:, 2:] * self.translate

    def __repr__(self) -> str:
        return (
            f"RandomAffine(degrees={self.degrees}, translate={self.translate}, scale={self.scale})"
        )


def affine(images: Tensor, angle: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Turn, scale and shift each image by amounts of its own; what comes from outside is 0.

    Args:
        images: `[N, C, H, W]`.
        angle: `[N]`, degrees, positive is clockwise as in torchvision.
        scale: `[N]`, above 1 enlarges.
        shift: `[N, 2]`, to the right and down, as shares of width and height.

    Returns:
        Images of the same shape and type, sampled bilinearly.

    Example:
        >>> image = torch.eye(4).reshape(1, 1, 4, 4)
        >>> zero, one = torch.zeros(1), torch.ones(1)
        >>> affine(image, zero, one, torch.tensor([[0.25, 0.0]]))[0, 0].round().int()
        tensor([[0, 1, 0, 0],
                [0, 0, 1, 0],
                [0, 0, 0, 1],
                [0, 0, 0, 0]], dtype=torch.int32)
    """
    height, width = images.shape[2:]
    radians = angle * (math.pi / 180)
    cos, sin = torch.cos(radians) / scale, torch.sin(radians) / scale
    # grid_sample asks where each output pixel comes from, so this is the inverse of the movement,
    # in coordinates from -1 to 1 in which a square pixel of a wide image is not square.
    right, down = 2 * shift[:, 0], 2 * shift[:, 1]
    aspect = height / width
    rows: list[Any] = [
        torch.stack([cos, sin * aspect, -cos * right - sin * aspect * down], dim=1),
        torch.stack([-sin / aspect, cos, sin / aspect * right - cos * down], dim=1),
    ]
    theta = torch.stack(rows, dim=1).to(images.device)
    values = images if images.is_floating_point() else images.float()
    grid = F.affine_grid(theta, list(images.shape), align_corners=False).to(values.dtype)
    moved = F.grid_sample(values, grid, align_corners=False)
    return moved if images.is_floating_point() else moved.round().to(images.dtype)
