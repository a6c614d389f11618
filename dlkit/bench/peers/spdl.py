"""SPDL's pipeline.

https://facebookresearch.github.io/spdl/latest/getting_started/pytorch.html: a source of indices,
here of whole batches of them, which it handles sooner than single ones, and threads that make a
batch at once; images are decoded by `spdl.io`, as
https://facebookresearch.github.io/spdl/latest/generated/spdl.io.load_image_batch.html does.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from spdl.pipeline import PipelineBuilder
from torch.utils.data import BatchSampler, RandomSampler, SequentialSampler, default_collate

from dlkit.bench.works import SIDE, Work


class loader:  # noqa: N801  # made like the functions of the other peers
    """A pipeline for each pass, since a pipeline runs once."""

    def __init__(self, work: Work) -> None:
        self.work, self.dataset = work, work.samples()
        self.fetch = _fetch(work, self.dataset)

    def __iter__(self) -> Iterator[Any]:
        work = self.work
        sampler = RandomSampler if work.shuffle else SequentialSampler
        threads = max(1, work.workers)
        pipeline = (
            PipelineBuilder()
            .add_source(BatchSampler(sampler(self.dataset), work.batch_size, drop_last=False))
            .pipe(self.fetch, concurrency=threads)
            .add_sink(4)
            .build(num_threads=threads)
        )
        with pipeline.auto_stop():
            yield from pipeline


def _fetch(work: Work, dataset: Any) -> Callable[[list[int]], Any]:
    collate = work.collate or default_collate

    def rows(indices: list[int]) -> Any:
        chosen = torch.tensor(indices)
        return tuple(tensor.index_select(0, chosen) for tensor in dataset.tensors)

    def images(indices: list[int]) -> Any:
        import spdl.io

        paths = [dataset.paths[index] for index in indices]
        buffer = spdl.io.load_image_batch(paths, width=SIDE, height=SIDE, pix_fmt="rgb24")
        pixels = spdl.io.to_torch(buffer)
        return pixels.permute(0, 3, 1, 2).float().div(255), torch.tensor(indices)

    def samples(indices: list[int]) -> Any:
        return collate([dataset[index] for index in indices])

    return {"items": rows, "jpeg": images}.get(work.name, samples)
