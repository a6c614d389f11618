"""torchdata's nodes.

https://docs.pytorch.org/data/0.11/migrate_to_nodes_from_utils.html: batches of indices from a
sampler, mapped by threads that fetch and collate a whole batch, and a prefetcher.
"""

from collections.abc import Iterable
from typing import Any

from torch.utils.data import RandomSampler, SequentialSampler, default_collate
from torchdata import nodes

from dlkit.bench.works import Work


def loader(work: Work) -> Iterable[Any]:
    """Return a loader of nodes, on threads where there may be workers."""
    dataset = work.samples()
    collate = work.collate or default_collate
    sampler = RandomSampler(dataset) if work.shuffle else SequentialSampler(dataset)

    def fetch(indices: list[int]) -> Any:
        return collate([dataset[index] for index in indices])

    node = nodes.Batcher(nodes.SamplerWrapper(sampler), work.batch_size, drop_last=False)
    if work.workers:
        node = nodes.ParallelMapper(node, fetch, num_workers=work.workers, method="thread")
        node = nodes.Prefetcher(node, prefetch_factor=2 * work.workers)
    else:
        node = nodes.Mapper(node, fetch)
    made: Iterable[Any] = nodes.Loader(node)
    return made
