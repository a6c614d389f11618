"""Hugging Face's `datasets`: Arrow files that are mapped into memory.

https://huggingface.co/docs/datasets/use_with_pytorch: the torch format, PyTorch's loader, whole
batches by a `BatchSampler` where samples are small, and `set_transform` for images.
"""

from collections.abc import Iterable
from typing import Any

import datasets
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler

from dlkit.bench.peers import NotMadeForIt
from dlkit.bench.works import RECORD, Work, to_image


def loader(work: Work) -> Iterable[Any]:
    """Return a loader of an Arrow file, which this writes first."""
    if work.name == "jpeg":
        return _images(work)
    if work.name == "arrays":
        raise NotMadeForIt("its documentation keeps large arrays in files of their own")
    folder = work.folder / "huggingface"
    if not folder.exists():
        _table(work).save_to_disk(str(folder))
    table = datasets.load_from_disk(str(folder)).with_format("torch")
    if work.collate is not None:
        return DataLoader(
            table, work.batch_size, shuffle=work.shuffle, num_workers=work.workers,
            collate_fn=work.collate, persistent_workers=work.workers > 0,
        )  # fmt: skip
    order = RandomSampler(table) if work.shuffle else SequentialSampler(table)
    whole = BatchSampler(order, work.batch_size, drop_last=False)
    return DataLoader(
        table, batch_size=None, sampler=whole, num_workers=work.workers,
        persistent_workers=work.workers > 0,
    )  # fmt: skip


def _table(work: Work) -> Any:
    samples = work.samples()
    if work.name == "text":
        tokens = [one.tolist() for one in samples.tokens]
        return datasets.Dataset.from_dict({"tokens": tokens, "label": list(range(len(tokens)))})
    if work.name == "items":
        images = samples.tensors[0].numpy()
        kind: Any = datasets.Array2D((28, 28), "uint8")
    else:
        images = [samples[index][0].numpy() for index in range(work.count)]
        kind = datasets.List(datasets.Value("uint8"), length=RECORD)
    features = datasets.Features({"x": kind, "label": datasets.Value("int64")})
    return datasets.Dataset.from_dict(
        {"x": list(images), "label": list(range(work.count))}, features=features
    )


def _images(work: Work) -> Iterable[Any]:
    paths = work.samples().paths
    columns = {"image": paths, "label": list(range(len(paths)))}
    table = datasets.Dataset.from_dict(columns).cast_column("image", datasets.Image())
    transform = to_image()

    def decode(rows: Any) -> Any:
        rows["image"] = [transform(image.convert("RGB")) for image in rows["image"]]
        return rows

    table.set_transform(decode)
    return DataLoader(
        table, work.batch_size, shuffle=work.shuffle, num_workers=work.workers,
        persistent_workers=work.workers > 0,
    )  # fmt: skip
