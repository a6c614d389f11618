"""The order of indices: which samples come, in which order, and which of them make a batch.

A sampler yields indices, a batch sampler yields lists of them:

    RandomSampler(range(10))          7 1 4 | 0 9 2 | 5 3 8 | 6
    BatchSampler(..., batch_size=3)  [7, 1, 4] [0, 9, 2] [5, 3, 8] [6]

Each class that PyTorch has too draws the same order from the same random numbers. Two things are
added. An order is drawn as NumPy arrays and cut with slices (`arrays`), so that a loader never
touches single integers. And an order can be saved in its middle and continued (`state_dict`,
`load_state_dict`): the state is the random number generator's at the start of the epoch and the
number of items taken, never the permutation itself.

Read `base`, `orders`, `batches`, `grouped`, then `buffer` for streams and `foreign` for other
people's. How an order is dealt to the ranks of a distributed run: `shares`, `elastic`,
`distributed`, `sharded`, `nodes`, `readers`; `plan` shows the result, and `epochs` is how a loader
numbers its passes.
"""

from dlkit.samplers.base import Sampler
from dlkit.samplers.batches import BatchSampler
from dlkit.samplers.buffer import ShuffleBuffer
from dlkit.samplers.distributed import DistributedSampler
from dlkit.samplers.elastic import RepeatedOrderWarning
from dlkit.samplers.foreign import resumable
from dlkit.samplers.grouped import LengthBucketSampler, StratifiedBatchSampler
from dlkit.samplers.nodes import NodeDistributedSampler
from dlkit.samplers.orders import (
    BlockShuffleSampler,
    InfiniteSampler,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)
from dlkit.samplers.plan import ShardPlan, plan_of, shard_plan
from dlkit.samplers.readers import Reader, ShardedIterable, this_reader
from dlkit.samplers.resizable import ResizableBatchSampler
from dlkit.samplers.sharded import ShardedBatchSampler, ShardedSampler

__all__ = [
    "BatchSampler",
    "BlockShuffleSampler",
    "DistributedSampler",
    "InfiniteSampler",
    "LengthBucketSampler",
    "NodeDistributedSampler",
    "RandomSampler",
    "Reader",
    "RepeatedOrderWarning",
    "ResizableBatchSampler",
    "Sampler",
    "SequentialSampler",
    "ShardPlan",
    "ShardedBatchSampler",
    "ShardedIterable",
    "ShardedSampler",
    "ShuffleBuffer",
    "StratifiedBatchSampler",
    "SubsetRandomSampler",
    "WeightedRandomSampler",
    "plan_of",
    "resumable",
    "shard_plan",
    "this_reader",
]
