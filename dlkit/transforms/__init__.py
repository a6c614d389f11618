"""What goes around transforms; the transforms themselves are those of torchvision.transforms.v2.

Read in this order:

    batches     a transform on a whole batch at once, as a dataset
    seeds       random numbers that depend on seed, epoch and index alone
    seeded      augmentation that is the same for any number of workers, and after a resume
    statistics  mean and standard deviation of each channel, in one pass
    cost        what each transform of a pipeline costs
    show        a grid of what a transform does (`dlkit.plots.augmentation` draws it)
"""

from dlkit.transforms.batches import BatchTransformDataset
from dlkit.transforms.cost import TransformCost, measure_costs
from dlkit.transforms.seeded import SeededTransform, set_epoch
from dlkit.transforms.seeds import sample_seeds, sample_uniforms
from dlkit.transforms.show import show
from dlkit.transforms.statistics import ChannelStatistics, channel_statistics

__all__ = [
    "BatchTransformDataset",
    "ChannelStatistics",
    "SeededTransform",
    "TransformCost",
    "channel_statistics",
    "measure_costs",
    "sample_seeds",
    "sample_uniforms",
    "set_epoch",
    "show",
]
