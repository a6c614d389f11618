"""A batch size that changes while a model is trained.

    schedules   when to change it: by epoch, when the loss stops falling, by the noise of gradients,
                or once, to what fits into memory
    noise       the gradient noise scale: how large a batch is worth its cost
    probe       the largest batch that fits into the device's memory, or the host's  (host)

`dlkit.samplers.ResizableBatchSampler` makes the batches, and `dlkit.trainer.BatchSizeScheduler`
brings both together in training.
"""

from dlkit.batch_size.noise import GradientNoiseScale
from dlkit.batch_size.probe import largest_batch_size
from dlkit.batch_size.schedules import (
    BatchSizeSchedule,
    EpochSchedule,
    MemorySchedule,
    NoiseScaleSchedule,
    PlateauSchedule,
)

__all__ = [
    "BatchSizeSchedule",
    "EpochSchedule",
    "GradientNoiseScale",
    "MemorySchedule",
    "NoiseScaleSchedule",
    "PlateauSchedule",
    "largest_batch_size",
]
