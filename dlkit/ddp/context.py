"""Who this process is among the ranks, and the process group they talk through.

    torchrun, Slurm, Kubernetes, launch() --environment--> Context --> process_group() --> DDP

A rank is never written into code: `torchrun` tells each process which one it is by RANK, LOCAL_RANK
and WORLD_SIZE. Started without them, a process is rank 0 of 1 and has no process group, and
everything in `dlkit.ddp` then does what it does for one rank: nothing.
"""

import gc
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import distributed

from dlkit.ddp.errors import MissingRankError, is_consequence
from dlkit.ddp.meeting import Meeting, meet

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_CPU = torch.device("cpu")
_PATIENCE = 5.0  # seconds to wait for those who live to say so, after something has failed
_active: list["_Active"] = []  # one at most


@dataclass(frozen=True)
class Context:
    """A process's place among the ranks.

    Attributes:
        rank: its number, from 0; of all hosts.
        local_rank: its number on this host, from 0; which GPU it has.
        world_size: how many ranks there are.
        local_world_size: how many of them are on this host.
        device: where it computes.
        backend: what the ranks talk through; empty where there is no process group.
        restarts: how often `torchrun` has started the ranks again.
        hosts: the name of each rank's host.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1
    device: torch.device = _CPU
    backend: str = ""
    restarts: int = 0
    hosts: tuple[str, ...] = ()

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, the one that prints and saves."""
        return self.rank == 0

    @property
    def is_distributed(self) -> bool:
        """Whether there is a process group to talk through."""
        return bool(self.backend)


@dataclass
class _Active:
    context: Context
    meeting: Meeting | None


def current() -> Context:
    """Return this process's place; rank 0 of 1 where no process group is open.

    Example:
        >>> current().rank, current().world_size
        (0, 1)
    """
    if _active:
        return _active[0].context
    if distributed.is_available() and distributed.is_initialized():  # by somebody else's code
        place = from_environment(os.environ)
        return Context(
            distributed.get_rank(),
            place.local_rank,
            distributed.get_world_size(),
            place.local_world_size,
            place.device,
            distributed.get_backend(),
            place.restarts,
        )
    return Context()


def meeting() -> Meeting | None:
    """Return where the ranks meet; None without a process group of `process_group`."""
    return _active[0].meeting if _active else None


def from_environment(
    environ: Mapping[str, str], device: str | torch.device | None = "auto"
) -> Context:
    """Read a process's place from what `torchrun` has set.

    Args:
        environ: such as `os.environ`.
        device: `"auto"` for the GPU of the local rank if there is one, else a torch device.

    Raises:
        ValueError: if a variable is missing, is no number, or contradicts another; if there is no
            GPU for the local rank.

    Example:
        >>> from_environment({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}, "cpu").local_rank
        1
        >>> from_environment({"RANK": "4", "WORLD_SIZE": "4"}, "cpu")
        Traceback (most recent call last):
        ValueError: RANK must be from 0 to WORLD_SIZE - 1 = 3, but is 4
    """
    given = {name: environ[name] for name in _NAMES if environ.get(name)}
    if "RANK" not in given and "WORLD_SIZE" not in given:
        return Context(device=choose_device(device, 0, 1))
    for name in ("RANK", "WORLD_SIZE"):
        if name not in given:
            raise ValueError(f"{name} must be set where {' and '.join(given)} is")
    numbers: dict[str, int] = {}
    for name, text in given.items():
        if not text.isdigit():
            raise ValueError(f"{name} must be a whole number from 0, but is {text!r}")
        numbers[name] = int(text)
    rank, world_size = numbers["RANK"], numbers["WORLD_SIZE"]
    if not 0 <= rank < world_size:
        raise ValueError(f"RANK must be from 0 to WORLD_SIZE - 1 = {world_size - 1}, but is {rank}")
    # Without torchrun nobody may have set them; then all ranks are taken to be on this host.
    local_rank = numbers.get("LOCAL_RANK", rank)
    local_world_size = numbers.get("LOCAL_WORLD_SIZE", max(local_rank + 1, 1))
    if not local_rank < local_world_size <= world_size:
        raise ValueError(
            f"LOCAL_RANK={local_rank} must be below LOCAL_WORLD_SIZE={local_world_size}, and that "
            f"at most WORLD_SIZE={world_size}"
        )
    return Context(
        rank,
        local_rank,
        world_size,
        local_world_size,
        choose_device(device, local_rank, local_world_size),
        restarts=int(environ.get("TORCHELASTIC_RESTART_COUNT") or 0),
    )


def choose_device(
    device: str | torch.device | None, local_rank: int, local_world_size: int
) -> torch.device:
    """Return the device of a local rank: a GPU of its own, or the CPU.

    Raises:
        ValueError: if there are fewer GPUs than ranks on this host, and a GPU was asked for.

    Example:
        >>> choose_device("cpu", 1, 2)
        device(type='cpu')
    """
    automatic = device is None or device == "auto"
    if local_world_size == 1 and automatic:
        found = torch.accelerator.current_accelerator(check_available=True)
        return found or torch.device("cpu")
    wanted = torch.device("cuda" if automatic else str(device))
    index: int | None = wanted.index  # None if the device was given without
    if wanted.type != "cuda" or index is not None:
        return wanted
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if local_rank < count and (local_world_size <= count or not automatic):
        return torch.device("cuda", local_rank)
    if automatic:
        return torch.device("cpu")
    raise ValueError(
        f"device 'cuda' needs a GPU for each of the {local_world_size} ranks of this host, which "
        f"has {count}: start fewer ranks (torchrun --nproc-per-node={max(count, 1)}), or pass "
        "device='cpu'"
    )


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
    if not timeout > 0:
        raise ValueError(f"timeout must be above 0 seconds, but got {timeout!r}")
    if _active:
        yield _active[0].context
        return
    place = from_environment(os.environ, device)
    if "RANK" not in os.environ:
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
    context = Context(**{**vars(place), "backend": backend, "hosts": tuple(met.hosts)})
    _active.append(_Active(context, met))
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
        _active.clear()
        close()


def close() -> None:
    """Close the process group, and wait until its threads are gone.

    A thread of gloo that is still there when the interpreter ends wants Python's lock, which nobody
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
    if not timeout > 0:
        raise ValueError(f"timeout must be above 0 seconds, but got {timeout!r}")
    if _active and _active[0].meeting is not None:
        _active[0].meeting.barrier(timeout)
    elif distributed.is_available() and distributed.is_initialized():
        distributed.barrier()  # of a process group that somebody else has opened
