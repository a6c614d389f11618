"""Models: a small convolutional network, input normalisation as a layer, and shapes per layer.

    images [N, C, H, W] -> Normalize -> conv 3x3 (32) -> pool -> conv 3x3 (64) -> pool
                        -> flatten -> linear 128 -> linear classes -> logits [N, classes]

Normalisation is a layer because then it cannot be forgotten: its mean and standard deviation are
saved, loaded and moved to the device together with the weights that were trained with them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Subtract a mean per channel and divide by a standard deviation per channel.

    Args:
        mean: One value per channel, in the units of the images (0 to 1, or 0 to 255 for uint8).
        std: One value per channel, all above zero.

    Raises:
        ValueError: If the two differ in length, are empty, or a standard deviation is not above 0.

    Example:
        >>> layer = Normalize(mean=[0.5], std=[0.25])
        >>> layer(torch.ones(2, 1, 4, 4)).unique()
        tensor([2.])
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not len(mean):
            raise ValueError(
                "mean and std need one value per channel each, "
                f"got {len(mean)} and {len(std)} values"
            )
        if not all(value > 0 for value in std):
            raise ValueError(
                f"std must be above 0 in every channel, got {list(std)}: "
                "a channel that is constant over the data carries nothing and cannot be scaled"
            )
        self.register_buffer("mean", torch.tensor(list(mean), dtype=torch.float32))
        self.register_buffer("std", torch.tensor(list(std), dtype=torch.float32))

    @classmethod
    def from_images(cls, images: Tensor) -> "Normalize":
        """Compute mean and standard deviation per channel from training images.

        Args:
            images: `[N, C, H, W]`, floating or uint8. Pass the training set only: statistics of
                the test set would leak it into the model.

        Returns:
            The layer that gives these very images mean 0 and standard deviation 1 per channel.

        Raises:
            ValueError: If `images` is not `[N, C, H, W]`, is empty, or has a constant channel.

        Example:
            >>> images = torch.rand(100, 3, 8, 8)
            >>> scaled = Normalize.from_images(images)(images)
            >>> bool(scaled.mean().abs() < 1e-4), bool((scaled.std() - 1).abs() < 1e-2)
            (True, True)
        """
        if images.ndim != 4 or not images.numel():
            raise ValueError(f"images must be a full [N, C, H, W], got shape {list(images.shape)}")
        total = torch.zeros(images.shape[1], dtype=torch.float64)
        square = torch.zeros_like(total)
        varies = torch.zeros_like(total, dtype=torch.bool)
        # In chunks: a float64 copy of the whole training set would take eight times its memory.
        for start in range(0, len(images), 1024):
            chunk = images[start : start + 1024]
            varies |= (chunk != images[:1, :, :1, :1]).any(dim=(0, 2, 3)).cpu()
            values = chunk.double()
            total += values.sum(dim=(0, 2, 3)).cpu()
            square += values.square().sum(dim=(0, 2, 3)).cpu()
        count = images.numel() // images.shape[1]
        mean = total / count
        std = (square / count - mean.square()).clamp_min(0).sqrt()
        std[~varies] = 0  # where rounding has left a little of it
        return cls(mean.tolist(), std.tolist())

    def forward(self, images: Tensor) -> Tensor:
        """Return the normalised images as floats, in the shape they came in."""
        channels = len(self.mean)
        if images.ndim != 4 or images.shape[1] != channels:
            raise ValueError(
                f"Normalize was built for images [N, {channels}, H, W], got {list(images.shape)}"
            )
        return (images - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)

    def extra_repr(self) -> str:
        """Show the statistics where `print(model)` shows the layer."""
        mean, std = self.mean.tolist(), self.std.tolist()
        return f"mean={[round(m, 4) for m in mean]}, std={[round(s, 4) for s in std]}"


class SimpleCNN(nn.Module):
    """Classify images with two 3x3 convolutions, each pooled, and two linear layers.

    The first linear layer's size follows from `input_shape`, so the same class serves 28x28 digits
    and 224x224 photographs.

    Args:
        num_classes: How many logits a sample gets.
        input_shape: `(channels, height, width)` of one image; height and width at least 4, because
            each of the two pooling layers halves them.
        dropout: Share of the 128 hidden units silenced in training, 0 for none.

    Raises:
        TypeError: If a size is not an integer.
        ValueError: If a size is out of range.

    Example:
        >>> SimpleCNN(num_classes=10, input_shape=(3, 32, 32))(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int = 10,
        input_shape: Sequence[int] = (1, 28, 28),
        *,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = _checked_sizes(num_classes, input_shape)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout!r}")
        self.num_classes = num_classes
        self.input_shape = (channels, height, width)
        self.features = nn.Sequential(
            nn.Conv2d(channels, 32, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, kernel_size=3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * (height // 4) * (width // 4), 128),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(128, num_classes),
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return logits `[N, num_classes]` for images `[N, C, H, W]` of the model's input shape."""
        if images.ndim != 4 or tuple(images.shape[1:]) != self.input_shape:
            channels, height, width = self.input_shape
            raise ValueError(
                f"SimpleCNN was built for images [N, {channels}, {height}, {width}], "
                f"got {list(images.shape)}: "
                "build it with input_shape=(channels, height, width) of your images"
            )
        if not images.is_floating_point():
            raise TypeError(
                f"SimpleCNN needs floating point images, got {images.dtype}: divide by 255, or put "
                "Normalize.from_images(train_images) in front of it"
            )
        logits: Tensor = self.classifier(self.features(images))
        return logits


def _checked_sizes(num_classes: Any, input_shape: Any) -> tuple[int, int, int]:
    sizes = tuple(input_shape)
    for name, size in [("num_classes", num_classes), *(("input_shape", s) for s in sizes)]:
        if isinstance(size, bool) or not isinstance(size, int):
            raise TypeError(f"{name} must hold integers, got {size!r} ({type(size).__name__})")
    if num_classes < 1:
        raise ValueError(f"num_classes must be at least 1, got {num_classes}")
    if len(sizes) != 3 or sizes[0] < 1:
        raise ValueError(f"input_shape must be (channels, height, width), got {sizes}")
    if min(sizes[1:]) < 4:
        raise ValueError(
            f"input_shape {sizes} is too small: two pooling layers halve height and width twice, "
            "so both must be at least 4"
        )
    return sizes[0], sizes[1], sizes[2]


@dataclass(frozen=True)
class LayerShape:
    """What one layer makes of a batch of one: its name, kind, output shape and parameter count."""

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int


def layer_shapes(model: nn.Module, input_shape: Sequence[int]) -> list[LayerShape]:
    """Send one blank image through a model and note what each layer without sub-layers puts out.

    Args:
        model: Any module that takes one tensor.
        input_shape: Shape of one sample, without the batch dimension.

    Returns:
        One row per layer in the order of the forward pass; the batch dimension is left out.

    Example:
        >>> [row.output_shape for row in layer_shapes(SimpleCNN(), (1, 28, 28))][:3]
        [(32, 28, 28), (32, 28, 28), (32, 14, 14)]
    """
    rows: list[LayerShape] = []

    def note(name: str, layer: nn.Module) -> Any:
        def hook(_layer: nn.Module, _inputs: Any, output: Any) -> None:
            shape = tuple(output.shape[1:]) if isinstance(output, Tensor) else ()
            count = sum(p.numel() for p in layer.parameters())
            rows.append(LayerShape(name, type(layer).__name__, shape, count))

        return layer.register_forward_hook(hook)

    leaves = [(name, layer) for name, layer in model.named_modules() if not [*layer.children()]]
    handles = [note(name, layer) for name, layer in leaves]
    # Each layer keeps its own mode: a frozen BatchNorm inside a training model must stay frozen.
    modes = {layer: layer.training for layer in model.modules()}
    parameter = next(model.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    try:
        model.eval()  # BatchNorm refuses, and would learn from, a batch of one blank image
        with torch.no_grad():
            model(torch.zeros(1, *input_shape, device=device))
    finally:
        for layer, training in modes.items():
            layer.training = training
        for handle in handles:
            handle.remove()
    return rows


def format_layer_shapes(rows: Sequence[LayerShape]) -> str:
    """Return layer shapes as an aligned text table that ends with the number of parameters.

    Args:
        rows: What `layer_shapes` returned.

    Example:
        >>> print(format_layer_shapes(layer_shapes(nn.Linear(4, 2), (4,))))
        layer  kind    output  parameters
               Linear       2          10
        total                          10
    """
    shapes = [" x ".join(map(str, row.output_shape)) for row in rows]
    name = max([5, *(len(row.name) for row in rows)])
    kind = max([4, *(len(row.kind) for row in rows)])
    shape = max([6, *map(len, shapes)])
    lines = [f"{'layer':<{name}}  {'kind':<{kind}}  {'output':>{shape}}  parameters"]
    lines += [
        f"{row.name:<{name}}  {row.kind:<{kind}}  {text:>{shape}}  {row.parameters:>10,}"
        for row, text in zip(rows, shapes, strict=True)
    ]
    total = sum(row.parameters for row in rows)
    lines.append(f"{'total':<{name}}  {'':<{kind}}  {'':>{shape}}  {total:>10,}")
    return "\n".join(lines)
