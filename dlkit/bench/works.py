"""The work: what is read, in which order, and what a batch of it is.

    items    small images that lie in memory, shuffled, loaded where the training loop runs
    jpeg     JPEG files that are decoded and scaled, shuffled
    arrays   large arrays that cost nothing but the bytes they move, shuffled
    text     sequences of tokens that are padded, shuffled
    file     small records of one large file, in order

The datasets are written as users of PyTorch write them, one sample at a time. A sample's label is
its own number, by which `check` sees that a pass had every sample once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils import data as torch_data

SIDE = 224  # pixels of a decoded image
RECORD = 4096  # bytes of a record of the large file


@dataclass(frozen=True)
class Work:
    """One kind of work.

    Attributes:
        name: a key of `WORKS`.
        summary: what is loaded, for a reader.
        folder: where its files lie; a peer may keep its own there.
        count: samples of a pass.
        batch_size: samples of a batch.
        workers: processes or threads that a loader may use; 0 if it loads where it is asked.
        shuffle: whether each pass has a new order.
        write: writes the files that `dataset` reads into a folder.
        dataset: returns the samples as a map-style dataset.
        collate: makes a batch of samples; None where that is the loader's own affair.
    """

    name: str
    summary: str
    folder: Path
    count: int
    batch_size: int
    workers: int
    shuffle: bool
    write: Callable[[Path, int], None]
    dataset: Callable[[Path], torch_data.Dataset[Any]]
    collate: Callable[[list[Any]], Any] | None = None

    def prepare(self) -> None:
        """Write the files, where they are not there yet."""
        done = self.folder / "written"
        if not done.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.write(self.folder, self.count)
            done.touch()

    def samples(self) -> Any:
        """Return the dataset."""
        return self.dataset(self.folder)

    @property
    def batches(self) -> int:
        """Batches of a pass."""
        return -(-self.count // self.batch_size)


def check(work: Work, batches: Iterable[Any]) -> None:
    """Go over a pass and see that it had every sample once.

    Raises:
        ValueError: if it had not.

    Example:
        >>> work = make_work("items", Path(), quick=True)
        >>> check(work, [(None, torch.arange(work.count))])
        >>> check(work, [(None, torch.zeros(work.count))])
        Traceback (most recent call last):
        ...
        ValueError: a pass had 1 of 2048 samples
    """
    labels = [
        torch.as_tensor(batch["label"] if isinstance(batch, dict) else batch[1]).flatten()
        for batch in batches
    ]
    seen = torch.cat(labels).long().bincount(minlength=work.count)
    if len(seen) != work.count or not bool((seen == 1).all()):
        raise ValueError(f"a pass had {int((seen > 0).sum())} of {work.count} samples")


# ---- items --------------------------------------------------------------------------------------


def _write_items(folder: Path, count: int) -> None:
    random = np.random.default_rng(0)
    np.save(folder / "images.npy", random.integers(0, 256, (count, 28, 28), np.uint8))


def items(folder: Path) -> torch_data.TensorDataset:
    """Return images of 28x28 uint8 and their labels, in memory."""
    images = torch.from_numpy(np.load(folder / "images.npy"))
    return torch_data.TensorDataset(images, torch.arange(len(images)))


# ---- jpeg ---------------------------------------------------------------------------------------


def _write_jpegs(folder: Path, count: int) -> None:
    """Write images of 256x256 that compress like photographs: noise on several scales."""
    from PIL import Image

    random = np.random.default_rng(0)
    for number in range(count):
        picture = np.full((256, 256, 3), 128.0, dtype=np.float32)
        for cells, strength in ((4, 60), (16, 30), (64, 15), (256, 4)):
            noise = random.normal(0, strength, (cells, cells, 3)) + 128
            scale = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
            picture += np.asarray(scale.resize((256, 256), Image.Resampling.BICUBIC)) - 128.0
        image = Image.fromarray(picture.clip(0, 255).astype(np.uint8))
        image.save(folder / f"{number:05}.jpg", quality=90)


class JpegFiles(torch_data.Dataset[tuple[Tensor, int]]):
    """JPEG files as float32 tensors of 3x224x224, decoded by Pillow, scaled by torchvision."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(str(path) for path in folder.glob("*.jpg"))
        self.transform = to_image()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        from PIL import Image

        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), index


def to_image() -> Callable[[Any], Tensor]:
    """Return what makes a tensor of a Pillow image."""
    from torchvision import transforms

    image: Callable[[Any], Tensor] = transforms.Compose(
        [transforms.Resize((SIDE, SIDE)), transforms.ToTensor()]
    )
    return image


# ---- arrays -------------------------------------------------------------------------------------


def _write_arrays(folder: Path, count: int) -> None:
    shape = (count, 3, SIDE, SIDE)
    rows = np.lib.format.open_memmap(folder / "rows.npy", mode="w+", dtype=np.float32, shape=shape)
    for number in range(count):
        rows[number] = number
    rows.flush()


class Arrays(torch_data.Dataset[tuple[Tensor, int]]):
    """Rows of float32 3x224x224 of a file that is mapped into memory, where it is used first."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "rows.npy"
        self.length = len(np.load(self.path, mmap_mode="r"))
        self.rows: Any = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.rows is None:
            self.rows = np.load(self.path, mmap_mode="r")
        return torch.from_numpy(np.array(self.rows[index])), index


# ---- text ---------------------------------------------------------------------------------------


def _write_texts(folder: Path, count: int) -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(16, 513, count)
    np.save(folder / "lengths.npy", lengths)
    np.save(folder / "tokens.npy", random.integers(0, 30_000, int(lengths.sum())))


class Texts(torch_data.Dataset[dict[str, Any]]):
    """Dictionaries of 16 to 512 token numbers and a label."""

    def __init__(self, folder: Path) -> None:
        tokens = torch.from_numpy(np.load(folder / "tokens.npy"))
        self.tokens = list(torch.split(tokens, np.load(folder / "lengths.npy").tolist()))

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"tokens": self.tokens[index], "label": index}


def pad(samples: list[dict[str, Any]]) -> dict[str, Tensor]:
    """Pad token sequences with zeros to the longest of the batch."""
    tokens = [sample["tokens"] for sample in samples]
    return {
        "tokens": pad_sequence(tokens, batch_first=True),
        "lengths": torch.tensor([len(one) for one in tokens]),
        "label": torch.tensor([sample["label"] for sample in samples]),
    }


# ---- file ---------------------------------------------------------------------------------------


def _write_file(folder: Path, count: int) -> None:
    random = np.random.default_rng(0)
    with (folder / "records.bin").open("wb") as file:
        for start in range(0, count, 1_000):
            size = min(1_000, count - start) * RECORD
            file.write(random.integers(0, 256, size, np.uint8).tobytes())


class Records(torch_data.Dataset[tuple[Tensor, int]]):
    """Records of 4,096 bytes of one file that is mapped into memory, where it is used first."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "records.bin"
        self.length = self.path.stat().st_size // RECORD
        self.rows: Any = None

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if self.rows is None:
            self.rows = np.memmap(self.path, np.uint8, "r", shape=(self.length, RECORD))
        return torch.from_numpy(np.array(self.rows[index])), index


# ---- all ----------------------------------------------------------------------------------------

# name: what it is, samples of a pass, of a quick one, batch size, workers, shuffled, files, dataset
_TABLE: dict[str, tuple[str, int, int, int, int, bool, Any, Any, Any]] = {
    "items": ("uint8 images of 28x28 in memory, shuffled", 60_000, 2_048, 64, 0, True,
              _write_items, items, None),
    "jpeg": ("JPEG files of 256x256, decoded and scaled to 224x224, shuffled", 1_500, 128, 32, 2,
             True, _write_jpegs, JpegFiles, None),
    "arrays": ("float32 arrays of 3x224x224 from a mapped file, shuffled", 1_024, 128, 32, 2, True,
               _write_arrays, Arrays, None),
    "text": ("16 to 512 token numbers, padded, shuffled", 20_000, 1_024, 64, 2, True,
             _write_texts, Texts, pad),
    "file": ("records of 4,096 bytes of one file, in order", 50_000, 2_048, 256, 2, False,
             _write_file, Records, None),
}  # fmt: skip
WORKS = {name: row[0] for name, row in _TABLE.items()}


def make_work(name: str, folder: Path, quick: bool = False) -> Work:
    """Return one kind of work.

    Args:
        name: a key of `WORKS`.
        folder: where its files are or will be; `Work.prepare` writes them.
        quick: whether to take few samples, to see that all of it runs.

    Raises:
        KeyError: if there is no work of that name.

    Example:
        >>> work = make_work("text", Path("/tmp"))
        >>> work.count, work.batch_size, work.batches
        (20000, 64, 313)
    """
    summary, count, few, batch_size, workers, shuffle, write, dataset, collate = _TABLE[name]
    return Work(
        name, summary, folder / name, few if quick else count, batch_size, workers, shuffle,
        write, dataset, collate,
    )  # fmt: skip
