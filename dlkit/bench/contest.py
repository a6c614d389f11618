"""A process for each loader, and their turns.

    main process         asks one after another for a pass:  A B C  A B C  A B C  ...
    A, B, C              a fresh interpreter each, with one loader of one package

So no loader pays for another's workers, threads, imports or memory; and a machine that others use
too, which changes speed from second to second, slows all of them alike: what counts is the ratio to
the baseline in the same round.
"""

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from multiprocessing import get_all_start_methods, get_context, set_start_method
from typing import Any

import psutil

from dlkit.bench.peers import PEERS, NotMadeForIt
from dlkit.bench.works import Work, check

SHORTEST_TURN = 0.3  # seconds; a system tells CPU seconds by the hundredth
PATIENCE = 300.0  # seconds for an answer; a loader that needs longer hangs, or is of no use here


@dataclass(frozen=True)
class Turn:
    """A turn of one loader: one pass, or several if they are short.

    Attributes:
        seconds: that a pass took.
        cpu_seconds: that all processes used in a pass.
    """

    seconds: float
    cpu_seconds: float


@dataclass
class Result:
    """What one loader did on one kind of work.

    Attributes:
        work: the work's name.
        loader: the loader's name.
        samples: of a pass.
        first_batch: seconds from making the loader to its first batch; what it imports and the
            files that it reads were there.
        turns: one a round.
        memory: bytes of all its processes after the last pass, what is shared counted once.
        ratio: of its rate to the baseline's, the median over the rounds.
        lowest: the smallest ratio of a round.
        highest: the largest ratio of a round.
        why_not: why there are no figures; empty if there are.
        failed: whether that is a failure: of a loader that is installed and made for the work.
    """

    work: str
    loader: str
    samples: int
    first_batch: float = 0.0
    turns: list[Turn] = field(default_factory=list)
    memory: int = 0
    ratio: float = 0.0
    lowest: float = 0.0
    highest: float = 0.0
    why_not: str = ""
    failed: bool = False

    @property
    def rate(self) -> float:
        """Samples per second, the median over the rounds."""
        return self.samples / statistics.median(turn.seconds for turn in self.turns)

    @property
    def cpu(self) -> float:
        """CPU seconds for a thousand samples, the median over the rounds."""
        return 1_000 * statistics.median(turn.cpu_seconds for turn in self.turns) / self.samples

    def compare(self, baseline: "Result") -> None:
        """Note how this loader did against another, round by round."""
        ratios = [
            theirs.seconds / ours.seconds
            for ours, theirs in zip(self.turns, baseline.turns, strict=True)
        ]
        self.ratio, self.lowest = statistics.median(ratios), min(ratios)
        self.highest = max(ratios)


def contest(
    work: Work,
    loaders: list[str],
    rounds: int = 5,
    progress: Callable[[str], None] = lambda _: None,
    patience: float = PATIENCE,
) -> list[Result]:
    """Let loaders do the same work in turn.

    Args:
        work: what they do; its files are written if they are not there.
        loaders: keys of `PEERS`; the first one is what the others are compared with.
        rounds: how often all take their turn.
        progress: is told who is at work.
        patience: seconds that a loader has for its start, and for each turn; then its processes
            are ended, and the others go on.

    Returns:
        A result for each loader. One that failed, is not installed or not made for this work says
        so in `why_not`.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from dlkit.bench.works import make_work
        >>> with TemporaryDirectory() as folder:
        ...     work = make_work("items", Path(folder), quick=True)
        ...     (result,) = contest(work, ["torch DataLoader"], rounds=1)
        >>> result.why_not, result.ratio, result.rate > 0
        ('', 1.0, True)
    """
    work.prepare()
    results = [Result(work.name, loader, work.count) for loader in loaders]
    with ExitStack() as stack:
        contestants = []
        for result in results:
            progress(f"{work.name}: {result.loader} starts")
            contestant = _Contestant(result, work, patience)
            stack.callback(contestant.close)
            if contestant.ready():
                contestants.append(contestant)
        for number in range(rounds):
            for contestant in contestants:
                loader = contestant.result.loader
                progress(f"{work.name}: round {number + 1} of {rounds}, {loader}")
                contestant.turn()
        for contestant in contestants:
            contestant.weigh()
    for result in results:
        if not result.why_not and not results[0].why_not:
            result.compare(results[0])
    return results


class _Contestant:
    """The main process's side: asks a process for its turns, and notes what becomes of it."""

    def __init__(self, result: Result, work: Work, patience: float) -> None:
        self.result, self._work, self._patience = result, work, patience
        # A fresh interpreter, because a fork would share what the one before it has imported.
        self._pool = ProcessPoolExecutor(1, get_context("spawn"), initializer=_be_quiet)

    def ready(self) -> bool:
        """Make the loader, and see that it does the work; return whether it does."""
        if not PEERS[self.result.loader].installed:
            self.result.why_not = "not installed"
            return False
        self._process_id = self._pool.submit(os.getpid).result()  # of an interpreter alone
        seconds = self._ask(_start, self.result.loader, self._work)
        self.result.first_batch = seconds or 0.0
        return not self.result.why_not

    def turn(self) -> None:
        """Let it have a pass."""
        if not self.result.why_not:
            turn = self._ask(_turn)
            if turn is not None:
                self.result.turns.append(turn)

    def weigh(self) -> None:
        """Note its memory."""
        if not self.result.why_not:
            self.result.memory = self._ask(_memory) or 0

    def close(self) -> None:
        """End its process and what that has started."""
        if not self.result.why_not:
            self._ask(_end)
        self._pool.shutdown()

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return self._pool.submit(question, *arguments).result(self._patience)
        except NotMadeForIt as answer:
            self.result.why_not = str(answer)
        except TimeoutError:
            self._kill()
            self.result.failed = True
            self.result.why_not = f"gave no answer within {self._patience:g} s"
        except BrokenProcessPool:
            self.result.why_not, self.result.failed = "its process died", True
        except Exception as error:
            self.result.failed = True
            first, *rest = f"{type(error).__name__}: {error}".strip().splitlines()
            # The traceback of a worker stands between what was caught and what was raised.
            self.result.why_not = f"{first} {rest[-1]}" if rest else first
        return None

    def _kill(self) -> None:
        """End its process, and what that has started."""
        family: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):  # it may have ended by itself meanwhile
            process = psutil.Process(self._process_id)
            family = [*process.children(recursive=True), process]
        for one in family:
            with suppress(psutil.NoSuchProcess):
                one.kill()


# ---- in the process of a loader -----------------------------------------------------------------

_here: dict[str, Any] = {}


def _be_quiet() -> None:
    """Let nothing that a package prints come between the tables."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)


def _start(name: str, work: Work) -> float:
    """Make the loader; return the seconds to its first batch, after which the pass is checked.

    It is made once before that: what is imported for it takes Python's time, and files that it
    wants in a form of its own are written once.
    """
    # A spawned process spawns its own ones too by default; users' processes do as Python does.
    set_start_method(get_all_start_methods()[0], force=True)
    _here["process"] = psutil.Process()
    peer = PEERS[name]
    peer.make(work)
    gc.collect()
    start = time.perf_counter()
    loader = peer.make(work)
    batches = iter(loader)
    if (first := next(batches, None)) is None:
        raise ValueError("its pass is empty")
    seconds = time.perf_counter() - start
    check(work, _all(first, batches))
    _here["loader"] = loader
    return seconds


def _all(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _turn() -> Turn:
    before, passes = _cpu_seconds(), 0
    start = time.perf_counter()
    while (seconds := time.perf_counter() - start) < SHORTEST_TURN:
        for _ in _here["loader"]:
            pass
        passes += 1
    return Turn(seconds / passes, (_cpu_seconds() - before) / passes)


def _sum(figure: Callable[[Any], float]) -> float:
    """Add up a figure of this process and its descendants, but for those that end meanwhile."""
    process, total = _here["process"], 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += figure(one)
    return total


def _cpu_seconds() -> float:
    """Of this process and its descendants, with those that have ended."""

    def seconds(process: Any) -> float:
        t = process.cpu_times()
        return float(t.user + t.system + t.children_user + t.children_system)

    return _sum(seconds)


def _memory() -> int:
    return int(_sum(lambda process: process.memory_full_info().pss))


def _end() -> None:
    """End this process's own children; what a loader leaves behind is not waited for."""
    _here.clear()
    gc.collect()
