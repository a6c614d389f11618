"""A transform on a whole batch: one call where a dataset of samples makes as many as it has.

    indices --one gather--> images [n, C, H, W] --one call--> images [n, C, H, W]

Right for what treats every image alike: converting, normalising, resizing, cropping the centre.
torchvision's random transforms, given a batch, do the same to every image of it; for those, see
`seeded`, or `dlkit.trainer.augment` for a batch on the device.
"""

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.utils import data as torch_data

from dlkit.checks import check_sized
from dlkit.collate import default_collate
from dlkit.datasets.base import ArrayIndexed, Columns, Indices, read_samples


class BatchTransformDataset(ArrayIndexed, torch_data.Dataset[Any]):
    """A dataset whose inputs pass through a transform batch by batch.

    Args:
        dataset: map-style; its samples are tuples of tensors and numbers, the input in front.
        transform: from `[n, ...]` inputs to `[n, ...]` outputs, row by row.

    Raises:
        TypeError: if the transform cannot be called, or the dataset has no length.

    Example:
        >>> import torch
        >>> from dlkit.datasets import TensorDataset
        >>> pairs = TensorDataset(torch.arange(4.0), torch.arange(4))
        >>> halves = BatchTransformDataset(pairs, lambda batch: batch / 2)
        >>> halves[3], halves.__getitems__([0, 3]).columns
        ((tensor(1.5000), tensor(3)), (tensor([0.0000, 1.5000]), tensor([0, 3])))
    """

    def __init__(self, dataset: Any, transform: Callable[[Tensor], Tensor]) -> None:
        if not callable(transform):
            raise TypeError(f"transform must be callable, but got {transform!r}")
        check_sized("dataset", dataset)
        self.dataset = dataset
        self.transform = transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Indices) -> Sequence[Any]:
        if not len(indices):
            return []
        batch = default_collate(read_samples(self.dataset, indices))
        if not isinstance(batch, list) or not all(isinstance(part, Tensor) for part in batch):
            raise TypeError(
                "BatchTransformDataset needs samples that are tuples of tensors and numbers, but "
                f"their batch is a {type(batch).__name__}; TransformDataset takes any sample"
            )
        changed = self.transform(batch[0])
        if not isinstance(changed, Tensor) or len(changed) != len(batch[0]):
            shown = list(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
            raise ValueError(
                f"transform must return one row for each of the {len(batch[0])} inputs, but it "
                f"returned {shown}"
            )
        return Columns(changed, *batch[1:])
