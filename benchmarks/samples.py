"""What the workloads read: datasets as users of PyTorch write them.

Nothing here knows a loader, so that a worker that is started anew imports torch and no more.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils import data as torch_data


class Rows(torch_data.Dataset[Tensor]):
    """Rows of one tensor that is in memory already: reading a sample costs nothing.

    Args:
        count: rows of the tensor; samples go round them.
        shape: of a row.
        length: samples of the dataset.
    """

    def __init__(self, count: int, shape: tuple[int, ...], length: int) -> None:
        self.rows: list[Tensor] = list(torch.rand(count, *shape))
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Tensor:
        return self.rows[index % len(self.rows)]


class JpegFiles(torch_data.Dataset[tuple[Tensor, int]]):
    """JPEG files, decoded by Pillow and made a tensor of 3x224x224 by torchvision.

    Args:
        folder: where `write_jpegs` wrote them.
    """

    def __init__(self, folder: str) -> None:
        from torchvision import transforms

        self.paths = sorted(str(path) for path in Path(folder).glob("*.jpg"))
        self.transform: Callable[[Any], Tensor] = transforms.Compose(
            [transforms.Resize((224, 224)), transforms.ToTensor()]
        )

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), index % 10


def write_jpegs(folder: str, count: int, side: int = 256) -> None:
    """Write JPEG files of quality 90 that compress like photographs: noise on several scales."""
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(count):
        picture = np.full((side, side, 3), 128.0, dtype=np.float32)
        for cells, strength in ((4, 60), (16, 30), (64, 15), (side, 4)):
            noise = random.normal(0, strength, (cells, cells, 3)) + 128
            scale = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
            picture += np.asarray(scale.resize((side, side), Image.Resampling.BICUBIC)) - 128.0
        image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
        image.save(Path(folder) / f"{number:05}.jpg", quality=90)


class Busy(torch_data.Dataset[int]):
    """Samples that cost a fixed amount of pure Python, which holds the interpreter's lock.

    Args:
        length: samples of the dataset.
        seconds: what a sample costs on this machine, measured once; the work is the same for all
            loaders, however busy the machine is when they do it.
    """

    def __init__(self, length: int, seconds: float) -> None:
        self.length = length
        trial = 100_000
        self.steps = round(trial * seconds / min(self._time(trial) for _ in range(5)))

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> int:
        total = index
        for step in range(self.steps):
            total ^= step
        return total

    @staticmethod
    def _time(steps: int) -> float:
        start = time.perf_counter()
        total = 0
        for step in range(steps):
            total ^= step
        return time.perf_counter() - start


class Texts(torch_data.Dataset[dict[str, Any]]):
    """Dictionaries of 16 to 512 token numbers and a label."""

    def __init__(self, length: int) -> None:
        random = np.random.default_rng(0)
        sizes = random.integers(16, 513, 1_000).tolist()
        self.tokens = [torch.from_numpy(random.integers(0, 30_000, size)) for size in sizes]
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"tokens": self.tokens[index % len(self.tokens)], "label": index % 5}


class Speech(Texts):
    """Dictionaries of 100 to 800 frames of 80 float32 each, the token numbers, and a speaker."""

    def __init__(self, length: int) -> None:
        super().__init__(length)
        sizes = np.random.default_rng(1).integers(100, 801, 100).tolist()
        self.frames = [torch.rand(size, 80) for size in sizes]

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {
            "frames": self.frames[index % len(self.frames)],
            "tokens": self.tokens[index % len(self.tokens)],
            "speaker": index % 100,
        }


def pad_by_hand(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Pad dictionaries as users of PyTorch do: what `dlkit.pad_collate` returns, by name.

    Every sequence becomes (values, mask, lengths) and every number a tensor.
    """
    batch: dict[str, Any] = {}
    for key, first in samples[0].items():
        parts = [sample[key] for sample in samples]
        if isinstance(first, Tensor):
            lengths = torch.tensor([len(part) for part in parts])
            values = pad_sequence(parts, batch_first=True)
            mask = torch.arange(values.shape[1]) < lengths[:, None]
            batch[key] = (values, mask, lengths)
        else:
            batch[key] = torch.tensor(parts)
    return batch
