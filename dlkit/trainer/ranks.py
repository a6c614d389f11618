"""What a trainer does differently on several ranks; in one process none of it happens.

    each step     how many samples has everybody? --> weight of the loss --> DDP averages gradients
    each epoch    sums and metrics of all ranks   --> one row of the history, the same everywhere
    checkpoint    sums of all, generators of each --> rank 0 writes; any number of ranks goes on

All ranks take the same steps in the same order, also one that has no batch left: see
`dlkit.ddp.uneven`.
"""

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils import data as torch_data

from dlkit import ddp
from dlkit.ddp.exchange import ExchangeNotes
from dlkit.ddp.uneven import Lockstep
from dlkit.trace.spans import clock
from dlkit.trainer.checkpoint import restore_rng, rng_state
from dlkit.trainer.metrics import EpochTotals

_UNSHARDED = (torch_data.SequentialSampler, torch_data.RandomSampler)


class Ranks:
    """This process's place in a training run, and what it exchanges with the other ranks.

    Args:
        model: on its device. With a process group, gradients of what `training_model` computes are
            averaged over the ranks; all ranks start with the weights of rank 0.
    """

    def __init__(self, model: nn.Module) -> None:
        self.place = ddp.current()
        self.training_model = model
        self._lockstep = Lockstep()
        if self.place.is_distributed and any(p.requires_grad for p in model.parameters()):
            on_gpu = self.place.device.type == "cuda"
            self.training_model = DistributedDataParallel(
                model, device_ids=[self.place.device] if on_gpu else None
            )
        self._notes = ExchangeNotes()

    @property
    def several(self) -> bool:
        """Whether there is anybody to exchange anything with."""
        return self.place.is_distributed

    # ---- each step ------------------------------------------------------------------------------

    def begin_pass(self, loader: Any) -> None:
        """Note what is exchanged from now on in the loader's trace, if it keeps one."""
        if self.several:
            self._notes.begin(getattr(loader, "trace", None), self.training_model)

    def agree(self, batches: list[Any], *, interrupted: bool) -> bool:
        """Say whether any rank has a batch for the next step; all ranks are told the same."""
        if not self.several:
            return bool(batches)
        start = clock()
        everybody = self._lockstep.agree_on(batches, interrupted=interrupted)
        self._notes.agreed(start)
        return everybody > 0

    def weight(self, samples: int, of_step: int) -> float:
        """Return the factor for the mean loss over a batch in a step.

        Args:
            samples: of the batch.
            of_step: samples of all batches that this rank has in the step.
        """
        if not self.several:
            return samples / of_step
        return self._lockstep.weight(samples)

    def all_samples(self, samples: int) -> int:
        """Return the samples of all ranks in this step."""
        return self._lockstep.everybody if self.several else samples

    @property
    def interrupted(self) -> bool:
        """Whether a rank has been interrupted before this step; the same on all ranks."""
        return self._lockstep.interrupted

    def stand_in(self) -> Any:
        """Return a batch of one sample, for a rank that has none left."""
        return self._lockstep.stand_in()

    def collecting(self, *, last: bool) -> Any:
        """Return a context: gradients stay here until the last batch of a step."""
        if last or not isinstance(self.training_model, DistributedDataParallel):
            return nullcontext()
        return self.training_model.no_sync()

    # ---- each epoch -----------------------------------------------------------------------------

    def sum_up(self, totals: EpochTotals) -> EpochTotals:
        """Return the sums over all ranks; times are those of the rank that waited longest."""
        if not self.several:
            return totals
        everybody: list[EpochTotals] = ddp.gather(totals)
        slowest = max(everybody, key=lambda one: one.wait_seconds)
        return EpochTotals(
            steps=totals.steps,
            samples=sum(one.samples for one in everybody),
            loss_sum=sum(one.loss_sum for one in everybody),
            wait_seconds=slowest.wait_seconds,
            work_seconds=slowest.work_seconds,
            batch_size=max(one.batch_size for one in everybody),
            lr=everybody[0].lr,
        )

    def agree_on_stop(self, reason: str | None) -> str | None:
        """Return why to end training, if any rank wants to."""
        reasons = ddp.gather(reason) if self.several else [reason]
        return next((r for r in reasons if r is not None), None)

    # ---- checkpoints ----------------------------------------------------------------------------

    def generators(self, own: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the random states of all ranks, in order of rank."""
        return ddp.gather(own) if self.several else [own]

    def share_of(self, totals: EpochTotals) -> EpochTotals:
        """Return a rank's part of the sums of a checkpoint: rank 0 takes up all of them."""
        if self.place.is_first:
            return totals
        return EpochTotals(**{**totals.state_dict(), "samples": 0, "loss_sum": 0.0})  # type: ignore[arg-type]

    def own_generator(self, states: list[dict[str, Any]], step: int) -> dict[str, Any]:
        """Return the random state to go on from; a rank that was not there gets one of its own."""
        rank = self.place.rank
        return states[rank] if rank < len(states) else fresh_generator(step, rank)

    # ---- the data -------------------------------------------------------------------------------

    def check_training(self, loader: Any) -> None:
        """Refuse data that is not dealt out among the ranks, or is not the same on all of them.

        Raises:
            ValueError: if every rank would train on all samples.
            MismatchedDataError: if the ranks have different datasets.
        """
        if self.place.world_size > 1 and _deals_nothing(loader):
            raise ValueError(
                f"train_loader gives all samples to each of {self.place.world_size} ranks: make it "
                "with sampler=dlkit.samplers.DistributedSampler(dataset)"
            )
        self._check_same(loader, "the dataset of train_loader")

    def check_evaluation(self, loader: Any) -> None:
        """Check data to evaluate on; warn if samples would count twice."""
        sampler = _dealer(loader)
        repeated = 0 if sampler is None else _repeated(sampler)
        if self.several and repeated:
            warnings.warn(
                f"{repeated} samples are evaluated twice, so that all ranks have as many; with "
                "dlkit.samplers.DistributedSampler(..., shuffle=False, pad=False) each comes once",
                stacklevel=4,
            )
        self._check_same(loader, "the dataset that is evaluated")

    def _check_same(self, loader: Any, name: str) -> None:
        dataset = getattr(loader, "dataset", None)
        if self.place.world_size > 1 and dataset is not None:
            ddp.check_same_data(dataset, name)

    def in_order(self, outputs: Tensor, indices: list[Any], loader: Any) -> Tensor:
        """Bring the outputs of all ranks into the order of the dataset.

        Args:
            outputs: `[N of this rank, ...]`.
            indices: the dataset index of each.
            loader: that they come from; one that deals nothing has all of them on each rank.

        Raises:
            ValueError: if the loader does not tell its indices.
        """
        if not self.several or _dealer(loader) is None:
            return outputs
        if len(indices) != len(outputs):
            raise ValueError(
                f"{type(loader).__name__} does not tell the indices of its samples, so the outputs "
                "of the ranks cannot be put in order: use dlkit.DataLoader"
            )
        rows = torch.cat(ddp.gather_uneven(outputs))
        places = torch.cat(ddp.gather_uneven(torch.tensor(indices, dtype=torch.int64))).numpy()
        _, first = np.unique(places, return_index=True)  # one of a sample that was repeated
        return rows[torch.from_numpy(first)]


def fresh_generator(step: int, rank: int) -> dict[str, Any]:
    """Return a random state for a rank that had none, and leave the generators as they are."""
    before = rng_state()
    try:
        seed = ddp.seed_of_rank(step, rank)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002  # datasets draw from the global one
        torch.manual_seed(seed)
        return rng_state()
    finally:
        restore_rng(before)


@contextmanager
def layers_as_in_evaluation(model: nn.Module) -> Iterator[None]:
    """Let batch statistics and dropout rest; each layer gets its own mode back."""
    modes = [(layer, layer.training) for layer in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for layer, training in modes:
            layer.training = training


def _samplers(loader: Any) -> list[Any]:
    batches = getattr(loader, "batch_sampler", None)
    found = [getattr(loader, "sampler", None), batches, getattr(batches, "sampler", None)]
    return [sampler for sampler in found if sampler is not None]


def _dealer(loader: Any) -> Any:
    """The sampler that deals samples to ranks, if a loader has one."""
    return next((s for s in _samplers(loader) if getattr(s, "num_replicas", 1) > 1), None)


def _deals_nothing(loader: Any) -> bool:
    dataset = getattr(loader, "dataset", None)
    if dataset is None or isinstance(dataset, torch_data.IterableDataset):
        return False  # somebody's own loader, or a stream, may share the data in its own way
    return _dealer(loader) is None and any(isinstance(s, _UNSHARDED) for s in _samplers(loader))


def _repeated(sampler: Any) -> int:
    dataset = getattr(sampler, "dataset", None)
    if dataset is None or not hasattr(sampler, "total_size") or not getattr(sampler, "pad", True):
        return 0
    return max(0, int(sampler.total_size) - len(dataset))
