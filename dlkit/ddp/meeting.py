"""Where ranks meet before they can talk, and when they cannot any more: a store of keys.

    hello --> rank 0 answers with the number of the session --> all have arrived --> process group

A store outlives the ranks when `torchrun` starts them again, with all that the dead ones wrote. So
every meeting is a session with a name of its own, which rank 0 makes up: what belongs to an earlier
one is never read. The barrier and the roll call use the store too, because it works when the
connections of the process group are broken, and can tell *who* is missing.
"""

import socket
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from torch.distributed import (  # type: ignore[attr-defined]  # TCPStore is not marked as exported
    DistError,
    TCPStore,
)
from torch.distributed.distributed_c10d import PrefixStore, Store

from dlkit.ddp.errors import MissingRankError, RendezvousError, named

_POLL = 0.005  # seconds; longer while nothing happens, up to ten times that
_REFUSED = "refused: "


@dataclass
class Meeting:
    """A store that all ranks of a session write to.

    Attributes:
        store: of this session alone.
        address: host and port of the store's server.
        session: its name.
        rank: of this process.
        world_size: how many ranks there are.
        serves: whether the store lives in this process.
        hosts: the name of each rank's host.
        barriers: how many barriers this rank has passed.
    """

    store: Store
    address: tuple[str, int]
    session: str
    rank: int
    world_size: int
    serves: bool = False
    hosts: list[str] = field(default_factory=list)
    barriers: int = 0

    def absent(self, key: str) -> list[int]:
        """Return the ranks that have not written a key."""
        return _absent(self.store, key, self.world_size)

    def barrier(self, timeout: float) -> None:
        """Wait until all ranks are here.

        Raises:
            MissingRankError: if some are not, after `timeout` seconds.
        """
        self.barriers += 1
        self._wait_for_all(f"barrier {self.barriers}", timeout)

    def connected(self, timeout: float) -> None:
        """Wait until the process group of all ranks is open.

        A rank that is done at once would otherwise close its connections while others still make
        theirs, and they would take it for dead.

        Raises:
            MissingRankError: if a rank has not opened it after `timeout` seconds.
        """
        self._wait_for_all("the opening of the process group", timeout)

    def part(self, timeout: float) -> None:
        """Leave in good order; the rank that serves the store waits until nobody needs it."""
        with suppress(DistError, RuntimeError):
            self.store.set(f"parted/{self.rank}", "")
            if self.serves:
                _wait(lambda: self.absent("parted"), timeout)

    def _wait_for_all(self, key: str, timeout: float) -> None:
        try:
            self.store.set(f"{key}/{self.rank}", "")
            missing = _wait(lambda: self.absent(key), timeout)
        except (DistError, RuntimeError) as error:
            raise self._unreachable() from error
        if missing:
            who = named(missing, self.hosts)
            raise MissingRankError(
                f"{who} did not reach {key} within {timeout:g} s, "
                f"as rank {self.rank} did{self._last_words(missing)}",
                missing,
            )

    def roll_call(self, patience: float) -> list[int]:
        """Return the ranks that do not answer, after something has failed on this one.

        Every rank that sees a failure calls the roll, so those that live answer each other.

        Args:
            patience: seconds to wait for answers.

        Raises:
            MissingRankError: if the store itself cannot be reached.
        """
        try:
            # A new connection: one that was cut silently would swallow what is written to it.
            store = TCPStore(
                *self.address,
                is_master=False,
                timeout=timedelta(seconds=patience),
                wait_for_workers=False,
            )
            alone = PrefixStore(self.session, store)
            alone.set(f"roll/{self.rank}", "")
            return _wait(lambda: _absent(alone, "roll", self.world_size), patience)
        except (DistError, RuntimeError) as error:
            raise self._unreachable() from error

    def leave_word(self, word: str) -> None:
        """Tell the others why this rank leaves, if that is still possible."""
        with suppress(DistError, RuntimeError):
            self.store.set(f"left/{self.rank}", word)

    def _last_words(self, ranks: list[int]) -> str:
        words: list[str] = []
        with suppress(DistError, RuntimeError):
            left = [rank for rank in ranks if self.store.check([f"left/{rank}"])]
            words = [f"rank {r} left with {self.store.get(f'left/{r}').decode()}" for r in left]
        return f" ({'; '.join(words)})" if words else ""

    def missing_error(self, missing: list[int], what: str) -> MissingRankError:
        """Return the error that says who does not answer."""
        who = named(missing, self.hosts)
        verb = "does" if len(missing) == 1 else "do"
        return MissingRankError(
            f"{who} {verb} not answer any more{self._last_words(missing)}; rank {self.rank} of "
            f"{self.world_size} noticed it by {what}",
            missing,
        )

    def _unreachable(self) -> MissingRankError:
        host, port = self.address
        mine = self.hosts[self.rank] if self.hosts else "this host"
        # The store is on the host of rank 0, or of the agent that started it.
        gone = [rank for rank, name in enumerate(self.hosts) if name == self.hosts[0]] or [0]
        if self.rank in gone:
            gone = [0]
        return MissingRankError(
            f"rank {self.rank} on {mine} cannot reach the store at {host}:{port}, and so not "
            f"{named(gone, self.hosts)}: that host, its process, or the network between is gone",
            gone,
        )


def meet(rank: int, world_size: int, environ: Mapping[str, str], timeout: float) -> Meeting:
    """Join the other ranks at the address that the environment names.

    Args:
        rank: of this process.
        world_size: how many are to come.
        environ: `MASTER_ADDR` and `MASTER_PORT`, as `torchrun` sets them.
        timeout: seconds to wait for all of them.

    Raises:
        RendezvousError: if there is no such address, it is taken, or ranks were told different
            things.
        MissingRankError: if ranks do not come in time.
    """
    deadline = time.monotonic() + timeout
    host, port = _address(environ)
    # Under torchrun its agent serves the store; else the process of rank 0 does.
    serves = rank == 0 and environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True"
    base = _connect(host, port, rank, serves=serves, timeout=timeout)
    nonce = uuid.uuid4().hex
    number = base.add("dlkit hellos", 1)
    base.set(f"dlkit hello {number}", f"{nonce} {rank} {world_size}")
    host_of_rank_0 = _Host(base, world_size) if rank == 0 else None

    def session() -> str:
        if host_of_rank_0 is not None:
            host_of_rank_0.answer_hellos()
        key = f"dlkit answer {nonce}"
        return base.get(key).decode() if base.check([key]) else ""

    _wait(lambda: [] if session() else [0], deadline - time.monotonic())
    name = session()
    if not name:
        raise MissingRankError(
            f"rank {rank} waited {timeout:g} s for rank 0 at {host}:{port}, which did not come: "
            "is it started, with the same MASTER_ADDR and MASTER_PORT?",
            [0],
        )
    if name.startswith(_REFUSED):
        raise RendezvousError(f"rank {rank} was {name}")
    meeting = Meeting(PrefixStore(name, base), (host, port), name, rank, world_size, serves)
    meeting.store.set(f"host/{rank}", socket.gethostname())
    if meeting.store.add(f"arrivals/{rank}", 1) > 1:
        raise RendezvousError(
            f"rank {rank} is here already: two processes were started with RANK={rank}"
        )
    meeting.store.set(f"arrived/{rank}", "")

    def absent() -> list[int]:
        if host_of_rank_0 is not None:
            host_of_rank_0.answer_hellos()
        return meeting.absent("arrived")

    missing = _wait(absent, deadline - time.monotonic())
    if missing:
        told = host_of_rank_0.told if host_of_rank_0 is not None else ""
        raise MissingRankError(
            f"{named(missing)} of {world_size} did not come to {host}:{port} within {timeout:g} s"
            f"{told}: is every process started, and WORLD_SIZE={world_size} their number?",
            missing,
        )
    meeting.hosts = [meeting.store.get(f"host/{r}").decode() for r in range(world_size)]
    return meeting


class _Host:
    """Rank 0's part: it makes up the session, and answers everybody's hello with it."""

    def __init__(self, store: Store, world_size: int) -> None:
        self.store = store
        self.world_size = world_size
        self.session = f"dlkit {uuid.uuid4().hex}"
        self.answered = 0
        self.told = ""

    def answer_hellos(self) -> None:
        # Hellos of an earlier session are answered too; nobody reads those answers.
        while self.answered < self.store.add("dlkit hellos", 0):
            key = f"dlkit hello {self.answered + 1}"
            if not self.store.check([key]):
                return  # counted, and about to be written
            nonce, rank, world_size = self.store.get(key).decode().split()
            self.answered += 1
            answer = self.session
            if int(world_size) != self.world_size:
                self.told = f" (rank {rank} came with WORLD_SIZE={world_size})"
                answer = (
                    f"{_REFUSED}it was started with WORLD_SIZE={world_size}, rank 0 with "
                    f"WORLD_SIZE={self.world_size}"
                )
            self.store.set(f"dlkit answer {nonce}", answer)


def _address(environ: Mapping[str, str]) -> tuple[str, int]:
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environ.get(name)]
    if missing:
        raise RendezvousError(
            f"{' and '.join(missing)} must be set for ranks to find each other: start them with "
            "torchrun or dlkit.ddp.launch"
        )
    host, port = environ["MASTER_ADDR"], environ["MASTER_PORT"]
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise RendezvousError(f"MASTER_PORT must be a number from 1 to 65535, but is {port!r}")
    return host, int(port)


def _connect(host: str, port: int, rank: int, *, serves: bool, timeout: float) -> TCPStore:
    try:
        return TCPStore(
            host,
            port,
            is_master=serves,
            timeout=timedelta(seconds=timeout),
            wait_for_workers=False,
        )
    except (DistError, RuntimeError) as error:
        if "EADDRINUSE" in str(error) or "address already in use" in str(error).lower():
            raise RendezvousError(
                f"port {port} of {host} is taken by another program: choose another MASTER_PORT "
                "(torchrun --master-port, or --standalone, which finds a free one)"
            ) from error
        raise RendezvousError(
            f"rank {rank} could not reach {host}:{port} within {timeout:g} s: is rank 0 started "
            "there, is MASTER_ADDR its address, and does a firewall let the port through?"
        ) from error


def _absent(store: Store, key: str, world_size: int) -> list[int]:
    if store.check([f"{key}/{rank}" for rank in range(world_size)]):
        return []
    return [rank for rank in range(world_size) if not store.check([f"{key}/{rank}"])]


def _wait(absent: Callable[[], list[int]], timeout: float) -> list[int]:
    """Ask until nobody is absent, or the time is over; return who is absent then."""
    deadline, pause = time.monotonic() + timeout, _POLL
    while (missing := absent()) and time.monotonic() < deadline:
        time.sleep(pause)
        pause = min(pause * 1.2, 10 * _POLL)
    return missing
