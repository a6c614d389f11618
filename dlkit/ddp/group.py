"""Opening and closing the process group through which ranks talk.

    meet --> init_process_group --> all are connected --> work --> part --> destroy_process_group

What fails in between is looked into: the ranks that still live answer a roll call, and the error
names the others.
"""

import gc
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from dlkit.checks import is_real
from dlkit.ddp.context import Active, Context, active, from_environment
from dlkit.ddp.errors import MissingRankError, is_consequence
from dlkit.ddp.meeting import meet

_PATIENCE = 5.0  # seconds to wait for those who live to say so, after something has failed


def check_seconds(name: str, value: Any) -> None:
    """Raise `ValueError` unless `value` is a number above 0.

    Example:
        >>> check_seconds("timeout", 0)
        Traceback (most recent call last):
        ...
        ValueError: timeout must be above 0 seconds, but got 0
    """
    if not is_real(value) or not value > 0:
        raise ValueError(f"{name} must be above 0 seconds, but got {value!r}")


@contextmanager
def process_group(
    device: str | torch.device | None = "auto", *, timeout: float = 600.0
) -> Iterator[Context]:
    """Open the process group that the environment describes, and close it whatever happens.

    On GPUs the ranks talk through NCCL, and through gloo about what is on the CPU; on CPUs through
    gloo. Inside another `process_group` this one does nothing and gives the place of the outer one.

    Args:
        device: see `from_environment`.
        timeout: seconds to wait for the other ranks, at the beginning and in each operation.

    Yields:
        The process's place.

    Raises:
        ValueError: if the environment contradicts itself, or `timeout` is not above 0.
        RendezvousError, MissingRankError: if the ranks do not find each other.

    Example:
        >>> with process_group("cpu") as context:
        ...     context.rank, context.world_size, context.is_distributed
        (0, 1, False)
    """
    check_seconds("timeout", timeout)
    if active:
        yield active[0].context
        return
    place = from_environment(os.environ, device)
    if not os.environ.get("RANK"):
        yield place
        return
    met = meet(place.rank, place.world_size, os.environ, timeout)
    on_gpu = place.device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(place.device)
    backend = "cpu:gloo,cuda:nccl" if on_gpu else "gloo"
    options: dict[str, Any] = {"device_id": place.device} if on_gpu else {}
    distributed.init_process_group(
        backend,
        store=met.store,
        rank=place.rank,
        world_size=place.world_size,
        timeout=timedelta(seconds=timeout),
        **options,
    )
    context = replace(place, backend=backend, hosts=tuple(met.hosts))
    active.append(Active(context, met))
    try:
        met.connected(timeout)
        yield context
        met.part(timeout)
    except BaseException as error:
        if isinstance(error, MissingRankError) or not isinstance(error, Exception):
            raise
        if not is_consequence(error):
            met.leave_word(f"{type(error).__name__}: {error}")
            raise
        # "Connection closed by peer" names nobody. Those that live answer; the others are missing.
        missing = met.roll_call(min(_PATIENCE, timeout))
        if not missing:
            raise
        raise met.missing_error(missing, f"{type(error).__name__}: {error}") from error
    finally:
        active.clear()
        close()


def close() -> None:
    """Close the process group, and wait until its threads are gone.

    A thread of gloo that is still there when the interpreter ends wants the GIL, which nobody
    gives it any more: the process then dies by SIGABRT, after all its work was done.
    """
    if not distributed.is_initialized():
        return
    distributed.destroy_process_group()
    gc.collect()  # a DDP model in a cycle keeps the group alive, and its threads with it
    deadline = time.monotonic() + 2.0
    while _gloo_threads() and time.monotonic() < deadline:
        time.sleep(0.005)


def _gloo_threads() -> int:
    """How many threads of gloo this process has; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text())
        except OSError:  # it has ended in the meantime
            continue
    return sum("gloo" in name for name in names)


def barrier(timeout: float = 600.0) -> None:
    """Wait until all ranks are here.

    Args:
        timeout: seconds to wait.

    Raises:
        ValueError: if `timeout` is not above 0.
        MissingRankError: naming the ranks that did not come in time.

    Example:
        >>> barrier(timeout=1.0)
    """
    check_seconds("timeout", timeout)
    if active:
        active[0].meeting.barrier(timeout)
    elif distributed.is_initialized():
        distributed.barrier()  # of a process group that somebody else has opened
