"""Start ranks from a program or a notebook cell, and bring back what they return.

    launch(train, data, world_size=2)
        |-- rank 0: train(data) --> result, or exception, or death
        `-- rank 1: train(data) --> result, or exception, or death

The ranks are processes of this machine, started by a fork server of their own or spawned, never
forked from this process, which may have run threads. They meet at a store that this process holds,
on a port that the system chose. When one fails the others are ended, and when this process is
interrupted or dies all of them are.
"""

import math
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import wait
from typing import Any

import cloudpickle
from torch.distributed import TCPStore  # type: ignore[attr-defined]  # not marked as exported

from dlkit.checks import check_positive_int
from dlkit.ddp import child
from dlkit.ddp.errors import MissingRankError, RankDiedError, RankTimeoutError, named
from dlkit.ddp.group import check_seconds
from dlkit.ddp.rank import Rank

_LOOK = 0.05  # seconds after which it is asked whether time is up, even if nothing was heard
_PATIENCE = 5.0  # seconds to wait for the error that has caused another one
_GRACE = 0.2  # seconds to wait for errors that happened at the same time
_STACK = 5.0  # seconds to wait for a rank to write where it is


def launch(
    function: Callable[..., Any],
    *arguments: Any,
    world_size: int,
    timeout: float | None = None,
    device: str = "auto",
    operation_timeout: float = 600.0,
) -> list[Any]:
    """Run a function in several ranks and return what each of them returned.

    In a rank, `dlkit.ddp.current()` tells which one it is, and the process group is open. What
    ranks print is printed here, each line with its rank. In a script, call it under
    `if __name__ == "__main__":`, like everything that starts processes.

    Args:
        function: may be defined in a notebook cell, and refer to what is defined there.
        arguments: each rank gets a copy of its own.
        world_size: how many ranks.
        timeout: seconds until all must have returned; None waits for ever.
        device: `"auto"` for a GPU per rank if there are enough, `"cpu"`, or `"cuda"`.
        operation_timeout: seconds until an operation between ranks, such as a barrier, fails.

    Returns:
        The results, in order of rank; tensors on the CPU.

    Raises:
        ValueError, TypeError: if an argument is none of the accepted.
        RankDiedError: if a rank's process ended by itself.
        RankTimeoutError: if ranks did not return in time; its notes show where they were.
        Exception: whatever `function` raised, with the rank and its traceback in a note.

    Example:
        >>> from dlkit import ddp
        >>> def rank_squared():
        ...     return ddp.current().rank ** 2
        >>> launch(rank_squared, world_size=3, device="cpu")
        [0, 1, 4]
    """
    if not callable(function):
        raise TypeError(f"function must be callable, but got {function!r}")
    check_positive_int("world_size", world_size)
    if timeout is not None:
        check_seconds("timeout", timeout)
    check_seconds("operation_timeout", operation_timeout)
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', but got {device!r}")
    deadline = time.monotonic() + (math.inf if timeout is None else timeout)
    # The system chooses a free port, and it is this process that listens: nobody can take it
    # between choosing and listening.
    store = TCPStore(
        "127.0.0.1", 0, is_master=True, timeout=timedelta(seconds=60), wait_for_workers=False
    )
    task = child.Task(
        bytes(cloudpickle.dumps((function, arguments))),
        _environment(world_size, store.port),
        world_size,
        device,
        operation_timeout,
    )
    context = _context()
    ranks: list[Rank] = []
    try:
        for number in range(world_size):
            ranks.append(Rank(number, context, task))  # noqa: PERF401  # each is to be ended
        _attend(ranks, deadline, timeout)
        return [rank.result() for rank in ranks]
    finally:
        _end(ranks)
        del store


def _context() -> Any:
    """How ranks are started on this system."""
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    from dlkit.ddp.server import RankContext

    return RankContext()


def _environment(world_size: int, port: int) -> dict[str, str]:
    """The variables that `torchrun` would set, beside those of this process."""
    ours = {key: value for key, value in os.environ.items() if not key.startswith("TORCHELASTIC_")}
    for name in ("GROUP_RANK", "ROLE_RANK", "GROUP_WORLD_SIZE", "ROLE_WORLD_SIZE"):
        ours.pop(name, None)
    # Not by the name of the host, which some machines cannot resolve: all ranks are on this one.
    loopback = {"linux": "lo", "darwin": "lo0"}.get(sys.platform)
    if loopback is not None:
        ours.setdefault("GLOO_SOCKET_IFNAME", loopback)
    return ours | {
        "WORLD_SIZE": str(world_size),
        "LOCAL_WORLD_SIZE": str(world_size),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }


def _attend(ranks: list[Rank], deadline: float, timeout: float | None) -> None:
    """Wait until all ranks have returned; raise what the first failure was."""
    first_failure: float | None = None
    while not all(rank.has_returned for rank in ranks):
        _listen(ranks, deadline)
        now = time.monotonic()
        failed = [rank for rank in ranks if rank.has_failed]
        if failed:
            first_failure = first_failure or now
            # Others fail because one has. The one that has is found by waiting a moment for it.
            known = any(not rank.is_consequence for rank in failed)
            patience = _GRACE if known else _PATIENCE
            if now - first_failure >= patience or all(rank.has_ended for rank in ranks):
                raise _cause(failed, ranks)
        elif now >= deadline:
            raise _too_late(ranks, timeout or 0.0)


def _listen(ranks: list[Rank], until: float) -> None:
    """Wait a little, and not beyond a moment, for ranks to say something; take in what they say."""
    sources = {source: rank for rank in ranks for source in rank.sources()}
    left = until - time.monotonic()
    for source in wait(list(sources), max(0.0, min(left, _LOOK))):
        sources[source].hear(source)


def _cause(failed: list[Rank], ranks: list[Rank]) -> BaseException:
    """Return the error of the rank that failed first, not of one that only noticed it."""
    deaths = [rank for rank in failed if rank.outcome is None]
    if deaths:
        died = RankDiedError(deaths[0].notice())
        for line in deaths[0].last_words():
            died.add_note(line)
        return died
    first = min(failed, key=lambda rank: rank.when_failed)
    assert first.outcome is not None
    assert first.outcome.failure is not None
    error = first.outcome.failure.error()
    if isinstance(error, MissingRankError):
        _show_where(error, [rank for rank in ranks if not rank.has_ended])
    return error


def _too_late(ranks: list[Rank], timeout: float) -> RankTimeoutError:
    late = [rank for rank in ranks if not rank.has_returned]
    returned = [rank.number for rank in ranks if rank.has_returned]
    others = f", while {named(returned)} had" if returned else ""
    error = RankTimeoutError(
        f"{named([rank.number for rank in late])} had not returned after {timeout:g} s{others}: "
        "it hangs, or needs more time"
    )
    _show_where(error, late)
    return error


def _show_where(error: BaseException, late: list[Rank]) -> None:
    """Add to an error where the ranks are that have not returned."""
    if not hasattr(signal, "SIGUSR1"):
        return
    for rank in late:
        rank.ask_for_stack()
    end = time.monotonic() + _STACK
    while time.monotonic() < end and not all(rank.stack() or rank.has_ended for rank in late):
        _listen(late, end)
    for rank in late:
        stack = rank.stack()
        if stack:
            error.add_note(f"rank {rank.number} was here:\n{stack}")


def _end(ranks: list[Rank]) -> None:
    """End every process that is left: asked first, then killed."""
    for rank in ranks:
        rank.ask_to_end()
    deadline = time.monotonic() + 2.0
    for rank in ranks:
        rank.end(deadline)
