"""What goes wrong between ranks, in words that name the rank.

A rank that is gone shows up elsewhere first: the others see a connection that is closed, or wait
for a sum that never comes. `is_consequence` tells such an error from the one that caused it.
"""

import signal
from collections.abc import Collection, Sequence


class RankDiedError(RuntimeError):
    """A rank's process ended without being asked to."""


class RankTimeoutError(RuntimeError):
    """Ranks have not returned in time; they have been ended."""


class MissingRankError(RuntimeError):
    """Ranks that should be there did not come, or do not answer any more.

    Args:
        message: what was waited for, and for how long.
        missing: the ranks.
    """

    def __init__(self, message: str, missing: Collection[int] = ()) -> None:
        super().__init__(message)
        self.missing = sorted(missing)

    def __reduce__(self) -> tuple[type, tuple[str, list[int]]]:
        return type(self), (str(self), self.missing)


class RendezvousError(RuntimeError):
    """Ranks could not find each other: a wrong address, a port that is taken, a wrong number."""


class MismatchedDataError(ValueError):
    """Ranks have different data where all must have the same."""


# How gloo and NCCL begin or end the message when a peer has gone or does not answer.
_SIGNS = ("gloo/transport", "gloo::", "NCCL", "Connection closed by peer", "Connection reset")


def is_consequence(error: BaseException) -> bool:
    """Say whether an error is what a rank sees when *another* one has failed.

    Example:
        >>> is_consequence(RuntimeError("[gloo/transport/tcp/pair.cc:561] Connection closed"))
        True
        >>> is_consequence(RuntimeError("shapes do not match"))
        False
    """
    from torch.distributed import DistError

    if isinstance(error, DistError | MissingRankError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def death_notice(rank: int, pid: int, exit_code: int | None) -> str:
    """Say how the process of a rank ended, and what most likely ended it.

    Example:
        >>> death_notice(1, 4242, 3)
        'rank 1 (pid 4242) exited unexpectedly with exit code 3: it called sys.exit or os._exit, \
or native code did'
    """
    who = f"rank {rank} (pid {pid}) exited unexpectedly"
    if exit_code is None:
        return f"{who}: its connection was closed, though its process still ran"
    if exit_code >= 0:
        code = f"{who} with exit code {exit_code}"
        return f"{code}: it called sys.exit or os._exit, or native code did"
    number = -exit_code
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    likely = {
        "SIGKILL": "most often the system's out-of-memory killer: every rank holds a model, its "
        "gradients and its data",
        "SIGSEGV": "native code crashed",
        "SIGABRT": "native code aborted",
        "SIGBUS": "memory that was mapped is gone: a file was cut, or a disk or tmpfs is full",
        "SIGTERM": "somebody asked it to end",
    }.get(name)
    return f"{who}: killed by {name}" + (f"; {likely}" if likely else "")


def named(ranks: Collection[int], hosts: Sequence[str] = ()) -> str:
    """Name ranks, with their hosts where these are known and differ.

    Example:
        >>> named([2]), named([0, 1]), named([1], ["a", "b"])
        ('rank 2', 'ranks 0 and 1', 'rank 1 (on b)')
    """
    several = len(set(hosts)) > 1
    words = [f"{rank} (on {hosts[rank]})" if several else str(rank) for rank in sorted(ranks)]
    if len(words) == 1:
        return f"rank {words[0]}"
    return f"ranks {', '.join(words[:-1])} and {words[-1]}" if words else "no rank"
