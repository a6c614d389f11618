"""A training step that only finds out whether it can be done.

keep weights, optimizer, random numbers  ->  forward, backward, step  ->  put them back
"""

import copy
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import Tensor

from dlkit.collate import default_collate
from dlkit.structure import map_structure
from dlkit.trainer.checkpoint import restore_rng, rng_state

if TYPE_CHECKING:
    from dlkit.trainer.trainer import Trainer


def trial_step(trainer: "Trainer", dataset: Any) -> Callable[[int], None]:
    """Return a training step on copies of one sample, after which the trainer is as it was.

    It takes the memory of a step of this rank alone: ranks may try different sizes, so they do not
    exchange gradients meanwhile.

    Args:
        trainer: whose model, loss, augmentation and optimizer take part.
        dataset: gives the sample, its first one, as `(inputs, targets)`.

    Returns:
        A function of the batch size, for `dlkit.batch_size.MemorySchedule`.

    Example:
        >>> import torch, dlkit
        >>> from dlkit.trainer import Trainer
        >>> trainer = Trainer(torch.nn.Linear(4, 2), device="cpu", progress=False)
        >>> step = trial_step(trainer, dlkit.TensorDataset(torch.ones(8, 4), torch.arange(8) % 2))
        >>> before = trainer.model.weight.clone()
        >>> step(1000)
        >>> torch.equal(trainer.model.weight, before)
        True
    """
    batch_of_one = default_collate([dataset[0]])

    def step(samples: int) -> None:
        keep = _Kept(trainer)
        try:
            _learn(trainer, map_structure(lambda part: _repeated(part, samples), batch_of_one))
        except Exception as error:
            traceback.clear_frames(error.__traceback__)  # whose tensors fill the memory
            raise
        finally:
            keep.put_back()

    return step


def _learn(trainer: "Trainer", batch: Any) -> None:
    compute = trainer.compute
    inputs, targets = compute.training_batch(batch)
    compute.model.train()
    compute.optimizer.zero_grad()
    loss, _ = compute.forward(inputs, targets)
    compute.backward(loss, 1.0)
    compute.update()


def _repeated(part: Any, samples: int) -> Any:
    return part.repeat_interleave(samples, 0) if isinstance(part, Tensor) else part


class _Kept:
    """What a step changes, copied into the host's memory so that the device has room for it."""

    def __init__(self, trainer: "Trainer") -> None:
        compute = trainer.compute
        self._optimizer = compute.optimizer
        parts: list[Any] = [compute.model, compute.optimizer, compute.scaler]
        self._parts = [part for part in parts if part is not None]
        self._states = [map_structure(_copied, part.state_dict()) for part in self._parts]
        self._rng = rng_state()

    def put_back(self) -> None:
        """Let go of the gradients, and load what was kept."""
        self._optimizer.zero_grad()
        for part, state in zip(self._parts, self._states, strict=True):
            part.load_state_dict(state)
        restore_rng(self._rng)


def _copied(part: Any) -> Any:
    return part.detach().cpu().clone() if isinstance(part, Tensor) else copy.copy(part)
