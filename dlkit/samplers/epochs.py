"""The number of each epoch, given by the loader: `set_epoch` that nobody can forget.

A shuffled order that is dealt to ranks cannot depend on random numbers that a rank happens to have
drawn, so it depends on the number of the epoch. Who forgets to set it trains on the same order in
every epoch, and the last samples of it may never be seen. A loader knows when an epoch begins.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.utils import data as torch_data

from dlkit.samplers.elastic import ElasticOrder, RepeatedOrderWarning, warn_of_repeat

if TYPE_CHECKING:
    from dlkit.loader import DataLoader


@dataclass(frozen=True, slots=True)
class _Begun:
    """The newest pass: its epoch, and how often somebody had set the sampler's epoch by then."""

    epoch: int
    calls: int


class EpochCounter:
    """Numbers the passes of one loader whose order depends on an epoch; others it leaves alone.

    The rule: a pass has the epoch after the last pass's, unless somebody has set one in between,
    also through another loader over the same sampler.
    """

    def __init__(self) -> None:
        self._begun: _Begun | None = None
        self._told = False

    def begin(self, loader: "DataLoader[Any]", resume: dict[str, Any] | None) -> None:
        """Set the epoch of the pass that begins now; one that is continued keeps its own."""
        sampler = with_epoch(loader)
        if sampler is None:
            return
        if resume is not None and resume["epoch"] is not None and resume.get("sampler_epoch"):
            self._continue(sampler, resume["sampler_epoch"]["epoch"])
        elif self._begun is not None and self._begun.epoch == sampler.epoch:
            self._move_on(sampler, self._begun)
        self._begun = _Begun(sampler.epoch, _calls(sampler))

    def _move_on(self, sampler: Any, begun: _Begun) -> None:
        ours = isinstance(sampler, ElasticOrder)
        if ours and sampler.epoch_calls > begun.calls:  # the same epoch again, on purpose or not
            if sampler.repeats and not self._told:
                self._told = True
                warn_of_repeat(sampler, sampler.epoch, stacklevel=4)
            return
        _set(sampler, sampler.epoch + 1)
        if not ours and sampler.shuffle and not self._told:
            self._told = True
            warnings.warn(
                f"set_epoch was not called since the last pass, so the order of epoch "
                f"{begun.epoch} would repeat; the loader has set epoch {sampler.epoch} instead and "
                "goes on like that. dlkit.samplers.DistributedSampler leaves this to the loader "
                "without a warning",
                RepeatedOrderWarning,
                stacklevel=4,
            )

    def _continue(self, sampler: Any, epoch: int) -> None:
        if sampler.epoch != epoch:
            warnings.warn(
                f"set_epoch({sampler.epoch}) was called after a state in the middle of epoch "
                f"{epoch} was loaded; the pass that continues it is of epoch {epoch}",
                stacklevel=4,
            )
            _set(sampler, epoch)

    def state_dict(self, loader: "DataLoader[Any]") -> dict[str, Any] | None:
        """Return the epoch of the newest pass, and the sampler's, if the order depends on one."""
        sampler = with_epoch(loader)
        if sampler is None:
            return None
        return {"epoch": self._begun.epoch if self._begun else None, "next": sampler.epoch}

    def load_state_dict(self, loader: "DataLoader[Any]", state: Mapping[str, Any]) -> None:
        """Set the epoch of a pass that will be continued, or the one after a pass that ended."""
        sampler, epochs = with_epoch(loader), state.get("sampler_epoch")
        if sampler is None or epochs is None:
            return
        # Where a pass is under way, the next epoch may have been set already; that is done again.
        _set(sampler, epochs["next"] if state["epoch"] is None else epochs["epoch"])
        begun = epochs["epoch"]
        self._begun = None if begun is None else _Begun(begun, _calls(sampler))


def with_epoch(loader: "DataLoader[Any]") -> Any:
    """Return the sampler of a loader whose order depends on the epoch; None if there is none."""
    inner = getattr(loader.batch_sampler, "sampler", None)
    for sampler in (loader.batch_sampler, inner, loader.sampler):
        if isinstance(sampler, ElasticOrder | torch_data.DistributedSampler):
            return sampler
    return None


def _calls(sampler: Any) -> int:
    return sampler.epoch_calls if isinstance(sampler, ElasticOrder) else 0


def _set(sampler: Any, epoch: int) -> None:
    if isinstance(sampler, ElasticOrder):
        sampler.epoch = epoch  # not a call of somebody's
    else:
        sampler.set_epoch(epoch)
