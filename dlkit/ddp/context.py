"""Who this process is among the ranks.

    torchrun, Slurm, Kubernetes, launch() --environment--> Context --> process_group() --> DDP

A rank is never written into code: `torchrun` tells each process which one it is by RANK, LOCAL_RANK
and WORLD_SIZE. Started without them, a process is rank 0 of 1 and has no process group, and
everything in `dlkit.ddp` then does what it does for one rank: nothing.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import distributed

from dlkit.ddp.meeting import Meeting

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
_CPU = torch.device("cpu")
active: list["Active"] = []  # one at most


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
class Active:
    """The process group that is open, and where its ranks have met."""

    context: Context
    meeting: Meeting


def current() -> Context:
    """Return this process's place; rank 0 of 1 where no process group is open.

    Example:
        >>> current().rank, current().world_size
        (0, 1)
    """
    if active:
        return active[0].context
    if distributed.is_initialized():  # by somebody else's code
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
        if not text.isdecimal():
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
    index: int | None = wanted.index  # None if the device was given without one
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
