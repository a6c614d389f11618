"""The loader's arguments: which values are possible, and which exclude each other.

PyTorch's rules and types of error, in words that name the argument and what was passed.
"""

import math
import multiprocessing
import numbers
import operator
from collections.abc import Iterable
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from dlkit.trace import Trace


def check_workers(
    num_workers: int, timeout: Any, prefetch_factor: int | None, persistent_workers: bool
) -> None:
    """Raise unless the arguments about workers are possible, alone and together."""
    factor = 0 if prefetch_factor is None else prefetch_factor
    for name, value in (("num_workers", num_workers), ("prefetch_factor", factor)):
        try:
            operator.index(value)
        except TypeError:
            raise TypeError(f"{name} must be an integer, but got {value!r}") from None
    if num_workers < 0:
        raise ValueError(f"num_workers must be 0 or more, but got {num_workers}")
    if not isinstance(timeout, numbers.Real):
        raise TypeError(f"timeout must be a number of seconds, but got {timeout!r}")
    if not 0 <= float(timeout) < math.inf:
        raise ValueError(
            f"timeout must be 0 or more seconds (0 waits for ever), but got {timeout!r}"
        )
    if timeout and num_workers == 0:
        raise ValueError(f"timeout needs num_workers > 0, but got timeout={timeout!r}")
    if prefetch_factor is not None and num_workers == 0:
        raise ValueError(
            f"prefetch_factor needs num_workers > 0, but got prefetch_factor={prefetch_factor!r} "
            "and num_workers=0"
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError(f"prefetch_factor must be 0 or more, but got {prefetch_factor!r}")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers=True needs num_workers > 0, but got num_workers=0")


def check_order(
    iterable: bool,
    batch_size: int | None,
    shuffle: bool | None,
    sampler: Iterable[Any] | None,
    batch_sampler: Iterable[Any] | None,
    drop_last: bool,
) -> None:
    """Raise unless the arguments about the order agree on who makes the batches."""
    if iterable:
        given = {"shuffle": shuffle or None, "sampler": sampler, "batch_sampler": batch_sampler}
        for name, value in given.items():
            if value is not None:
                raise ValueError(
                    f"an IterableDataset sets its own order, so {name} must be left out, but got "
                    f"{name}={value!r}; dlkit.samplers.ShuffleBuffer shuffles a stream"
                )
    if sampler is not None and shuffle:
        raise ValueError(
            "sampler and shuffle=True exclude each other: a sampler already sets the order "
            "(RandomSampler is what shuffle=True uses)"
        )
    if batch_sampler is not None and (
        batch_size != 1 or shuffle or sampler is not None or drop_last
    ):
        raise ValueError(
            "batch_sampler already makes the batches, so batch_size, shuffle, sampler and "
            f"drop_last must be left out, but got batch_size={batch_size!r}, shuffle={shuffle!r}, "
            f"sampler={sampler!r}, drop_last={drop_last!r}"
        )
    if batch_sampler is None and batch_size is None and drop_last:
        raise ValueError("batch_size=None makes no batches, so drop_last must be False")


def check_methods(
    num_workers: int, worker_method: str, restart_workers: int, on_error: str, error_limit: int
) -> None:
    """Raise unless the arguments that PyTorch does not have are possible."""
    if worker_method not in ("process", "thread"):
        raise ValueError(f'worker_method must be "process" or "thread", but got {worker_method!r}')
    for name, value in (("restart_workers", restart_workers), ("error_limit", error_limit)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{name} must be an integer, but got {value!r}")
        if value < 0:
            raise ValueError(f"{name} must be 0 or more, but got {value}")
    if restart_workers and (num_workers == 0 or worker_method == "thread"):
        raise ValueError(
            f"restart_workers={restart_workers} needs worker processes, but got num_workers="
            f"{num_workers} and worker_method={worker_method!r}"
        )
    if on_error not in ("raise", "skip"):
        raise ValueError(f'on_error must be "raise" or "skip", but got {on_error!r}')


def resolve_device(device: torch.device | str | int | None) -> torch.device | None:
    """Return a device for batches to be copied to, with its number where there are several."""
    if device is None:
        return None
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device must be a device such as 'cuda:0', but got {device!r}: {reason}"
        ) from None
    index: int | None = resolved.index  # None if the device was given without
    if resolved.type not in ("cpu", "meta") and index is None:
        accelerator = torch.accelerator.current_accelerator()
        if accelerator is not None and accelerator.type == resolved.type:
            return torch.device(resolved.type, torch.accelerator.current_device_index())
    return resolved


def resolve_trace(value: Any) -> "Trace | None":
    """Return the trace that a loader keeps, None where it keeps none."""
    if value is None or value is False:
        return None
    from dlkit.trace import Trace

    if value is True:
        return Trace()
    if not isinstance(value, Trace):
        raise TypeError(f"trace must be True, False, None or a dlkit.Trace, but got {value!r:.80}")
    return value


def resolve_context(value: Any, num_workers: int, worker_method: str = "process") -> Any:
    """Turn a start method's name into a context, as `torch.utils.data.DataLoader` shows it."""
    if value is None:
        return None
    if worker_method == "thread":
        raise ValueError(f"multiprocessing_context is for processes, but got {value!r} for threads")
    if num_workers == 0:
        raise ValueError(
            f"multiprocessing_context needs num_workers > 0, but got {value!r} and num_workers=0"
        )
    if isinstance(value, str):
        methods = multiprocessing.get_all_start_methods()
        if value not in methods:
            raise ValueError(f"multiprocessing_context must be one of {methods}, but got {value!r}")
        return torch.multiprocessing.get_context(value)
    if not isinstance(value, BaseContext):
        raise TypeError(
            "multiprocessing_context must be the name of a start method or a context, but got "
            f"{value!r}"
        )
    return value
