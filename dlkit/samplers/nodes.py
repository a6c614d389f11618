"""Sharding for data that lies on the disks of the nodes: a rank reads what its own node has.

    samples on node 0   0 1 2 3 4       dealt to ranks 0 and 1
    samples on node 1   5 6 7 8 9       dealt to ranks 2 and 3

So nothing is sent between nodes, at the price that `NodeDistributedSampler` names.
"""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from dlkit.checks import check_bool
from dlkit.samplers.base import IndexArray
from dlkit.samplers.distributed import random_order
from dlkit.samplers.elastic import ElasticIndices, Pass, Ranks
from dlkit.samplers.shares import check_ranks, check_sharding


class NodeDistributedSampler(ElasticIndices):
    """A rank's share of the samples that its node holds, in a new order each epoch.

    Nothing is sent between nodes. The price: samples meet only others of their node in a batch of
    one rank, and nodes that hold less than others, for each of their ranks, repeat more of it
    (`pad`), make the others leave out more (`drop_last`), or end earlier (`pad=False`).

    Args:
        node_of_sample: the node that holds each sample, as integers.
        num_replicas: the number of ranks; by default that of the process group.
        rank: which of them this is; by default that of this process.
        node_of_rank: the node of each rank. By default as torchrun numbers ranks: the first
            `LOCAL_WORLD_SIZE` are on the node with the lowest number, and so on.
        shuffle: whether each epoch has a random order, drawn from `seed + epoch`.
        seed: the same on all ranks.
        drop_last: whether all ranks get as many as the one that would get the fewest.
        pad: whether all ranks get as many as the one that would get the most.

    Raises:
        ValueError: if a node has samples and no rank, or a rank and no sample, or an argument is
            none of the accepted.

    Example:
        >>> node_of_sample = [0, 0, 0, 0, 1, 1]
        >>> ranks = [NodeDistributedSampler(node_of_sample, 3, rank, node_of_rank=[0, 0, 1],
        ...     shuffle=False) for rank in range(3)]
        >>> [list(rank) for rank in ranks]
        [[0, 2], [1, 3], [4, 5]]
    """

    def __init__(
        self,
        node_of_sample: Sequence[int] | torch.Tensor,
        num_replicas: int | None = None,
        rank: int | None = None,
        *,
        node_of_rank: Sequence[int] | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        pad: bool = True,
    ) -> None:
        check_bool("shuffle", shuffle)
        check_sharding(seed, drop_last, pad)
        self.num_replicas, self.rank = check_ranks(num_replicas, rank)
        self.node_of_sample = _nodes("node_of_sample", node_of_sample)
        self.nodes, self._sizes = np.unique(self.node_of_sample, return_counts=True)
        self.node_of_rank = self._nodes_of_ranks(node_of_rank)
        for name in np.union1d(self.nodes, self.node_of_rank).tolist():
            samples = int((self.node_of_sample == name).sum())
            ranks = int((self.node_of_rank == name).sum())
            if not samples or not ranks:
                raise ValueError(
                    f"node {name} has {samples} samples in node_of_sample and {ranks} ranks in "
                    "node_of_rank, but every node needs at least one of both"
                )
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.pad = pad

    def _nodes_of_ranks(self, given: Sequence[int] | None) -> IndexArray:
        if given is None:
            local = int(os.environ.get("LOCAL_WORLD_SIZE", 0))
            if local <= 0 or local * len(self.nodes) != self.num_replicas:
                raise ValueError(
                    f"node_of_rank must be given, since LOCAL_WORLD_SIZE={local} times "
                    f"{len(self.nodes)} nodes is not num_replicas={self.num_replicas}"
                )
            return np.repeat(self.nodes, local)
        nodes = _nodes("node_of_rank", given)
        if len(nodes) != self.num_replicas:
            raise ValueError(
                f"node_of_rank must have one entry for each of {self.num_replicas} ranks, but got "
                f"{len(nodes)}"
            )
        return nodes

    @property
    def repeats(self) -> bool:
        """Whether epochs ought to differ: they are shuffled."""
        return self.shuffle

    def _ranks(self) -> Ranks:
        return [int((self.node_of_rank == node).sum()) for node in self.nodes]

    def _gone(self, running: Pass) -> list[int]:
        """How many samples of each node are gone."""
        gone = np.zeros(len(self.nodes), dtype=np.int64)
        for ranks, turns in running.legs:
            gone = np.minimum(gone + np.asarray(ranks) * turns, self._sizes)
        return [int(count) for count in gone]

    def _count(self, gone: list[int], first: int, node: int) -> int:
        """How many samples the rank with place `first` on a node gets."""
        left = self._sizes - gone
        ranks = np.asarray(self._ranks())
        if self.drop_last:
            return int((left // ranks).min())
        if self.pad:
            return int((-(-left // ranks)).max())
        return max(0, int(-(-(left[node] - first) // ranks[node])))

    def _share(self, running: Pass) -> Iterator[IndexArray]:
        gone = self._gone(running)
        first, node = self._place()
        own = np.flatnonzero(self.node_of_sample == self.nodes[node])
        if self.shuffle:
            own = own[random_order(len(own), self.seed + running.epoch)]
        turns = np.arange(self._count(gone, first, node))
        yield own[(gone[node] + first + turns * np.asarray(self._ranks())[node]) % len(own)]

    def _place(self) -> tuple[int, int]:
        """Which of the ranks of its node this is, and which of the nodes that is."""
        name = self.node_of_rank[self.rank]
        first = int((self.node_of_rank[: self.rank] == name).sum())
        return first, int(np.searchsorted(self.nodes, name))

    def __len__(self) -> int:
        return self._count([0] * len(self.nodes), *self._place())

    def _identity(self) -> dict[str, Any]:
        return {
            "sampler": "NodeDistributedSampler",
            "length": len(self.node_of_sample),
            "nodes": dict(zip(self.nodes.tolist(), self._sizes.tolist(), strict=True)),
            "shuffle": self.shuffle,
            "seed": self.seed if self.shuffle else None,
        }


def _nodes(name: str, value: Any) -> IndexArray:
    nodes = np.asarray(value)
    if nodes.ndim != 1 or not len(nodes) or nodes.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be a flat list of integers with at least one in it, but got shape "
            f"{list(nodes.shape)} of {nodes.dtype}"
        )
    return nodes
