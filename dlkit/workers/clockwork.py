"""A pool of workers on a clock of its own, who share what real ones share.

    submit --> each worker: wait, compute, wait, compute, ... --> take, when the clock is there

Nothing is waited for: the clock jumps from one event to the next. Between two events every piece of
work advances at a steady pace. It is 1 where there is enough for all, and less where more is asked
for than there is: cores, the GIL, what a storage can deliver (processor sharing, as in
Kleinrock, "Queueing Systems", volume 2, chapter 4).
"""

import heapq
import math
import random
from collections import deque
from dataclasses import dataclass, field

from dlkit.workers.interface import Position, Result, Sizes, Task

MAIN = -1  # the training loop, beside workers 0, 1, 2, ...


@dataclass(frozen=True, slots=True)
class Work:
    """What a piece of work needs, in seconds as if nothing else ran.

    Attributes:
        wait: seconds that need no core, such as those of a disk.
        cpu: seconds on a core, without the GIL.
        locked: seconds on a core that hold the GIL, where workers share one.
        nbytes: bytes read from the storage while it waits.
        cores: how many cores it keeps busy while it computes.
        turns: waiting and computing take turns so many times, as from sample to sample.
    """

    wait: float = 0.0
    cpu: float = 0.0
    locked: float = 0.0
    nbytes: float = 0.0
    cores: float = 1.0
    turns: int = 1


class Shared:
    """Something that all who use it slow down for, when they want more of it than there is.

    Instead of changing how much is left for each user, one number advances at the common pace, and
    a user is done when it reaches a mark.
    """

    def __init__(self, capacity: float) -> None:
        self.capacity = capacity
        self.asked = 0.0  # by all its users together
        self.pace = 1.0
        self._advanced = 0.0
        self._marks: list[tuple[float, int, float]] = []  # a heap: mark, who, asked for

    def __len__(self) -> int:
        return len(self._marks)

    def add(self, who: int, seconds: float, asked: float) -> None:
        """Let somebody use it for so many seconds at pace 1."""
        heapq.heappush(self._marks, (self._advanced + seconds, who, asked))
        self.asked += asked

    def until_next(self) -> float:
        """Seconds on the clock until the next user is done."""
        if not self._marks:
            return math.inf
        return (self._marks[0][0] - self._advanced) / self.pace

    def advance(self, seconds: float) -> list[int]:
        """Let time pass, and return who is done."""
        nearly = 1e-12 * (1 + self._advanced)  # the marks and the clock are rounded
        self._advanced += seconds * self.pace
        done = []
        while self._marks and self._marks[0][0] <= self._advanced + nearly:
            self._advanced = max(self._advanced, self._marks[0][0])
            _, who, asked = heapq.heappop(self._marks)
            self.asked -= asked
            done.append(who)
        if not self._marks:
            self.asked = 0.0  # not what rounding has left of it
        return done


@dataclass(slots=True)
class _Stage:
    """One uninterrupted stretch of work: where, for how long, asking for how much."""

    at: Shared
    seconds: float
    asked: float


@dataclass(slots=True)
class _Job:
    """What one worker is at."""

    number: int
    started: float
    stages: deque[_Stage] = field(default_factory=deque)


class Clockwork:
    """Workers that fetch nothing, and say when they would have.

    Args:
        works: what each batch takes; a task is a place in it.
        size: how many workers.
        cores: that they and the training loop share.
        bandwidth: bytes per second that all their reading shares.
    """

    def __init__(
        self, works: list[Work], size: int, cores: float = math.inf, bandwidth: float = math.inf
    ) -> None:
        self.size = size
        self.sizes = Sizes()
        self.running = 0
        self.closed = False
        self.now = 0.0
        self.fetched: dict[int, tuple[float, float]] = {}  # of each batch: when from, until when
        self._works = works
        self._waiting, self._free, self._locked = Shared(bandwidth), Shared(cores), Shared(1.0)
        self._queues: list[deque[tuple[int, Work]]] = [deque() for _ in range(size)]
        self._jobs: dict[int, _Job] = {}
        self._random = random.Random(0)
        self._results: list[tuple[float, int, int]] = []  # a heap: ready, number, worker

    # ---- a pool ---------------------------------------------------------------------------------

    def begin(self, positions: list[Position]) -> None:
        """Begin a pass."""
        self.running += 1

    def submit(self, worker: int, number: int, task: Task) -> None:
        """Give a worker one more task."""
        self._queues[worker].append((number, self._works[task % len(self._works)]))
        if worker not in self._jobs:
            self._start(worker)

    def take(self) -> Result:
        """Let the clock run until a result is there, and return it."""
        while not self._results:
            self._step(math.inf)
        _, number, worker = heapq.heappop(self._results)
        return Result(worker, number, lambda: None, of_pass=self.running)

    def cancel(self) -> None:
        """Nothing waits here."""
        self.closed = True

    def close(self) -> None:
        """Nothing is left to end."""
        self.closed = True

    # ---- the training loop ----------------------------------------------------------------------

    def spend(self, work: Work) -> None:
        """Let the training loop do some work, while the workers go on with theirs."""
        self._jobs[MAIN] = _Job(MAIN, self.now, self._stages(work))
        self._continue(MAIN)
        while MAIN in self._jobs:
            self._step(math.inf)

    def idle_until(self, moment: float) -> None:
        """Let the training loop wait for somebody else, while the workers go on."""
        while self.now < moment:
            self._step(moment - self.now)

    # ---- the clock ------------------------------------------------------------------------------

    def _step(self, limit: float) -> None:
        """Jump to the next event, or by `limit` seconds if that is nearer."""
        self._set_paces()
        groups = (self._waiting, self._free, self._locked)
        seconds = min(limit, *(group.until_next() for group in groups))
        if seconds == math.inf:
            raise RuntimeError("the clock has nothing to wait for: no work was submitted")
        self.now += seconds
        # All that ends at this moment ends before anything that follows from it is begun.
        for who in [who for group in groups for who in group.advance(seconds)]:
            self._continue(who)

    def _set_paces(self) -> None:
        waiting, free, locked = self._waiting, self._free, self._locked
        waiting.pace = min(1.0, waiting.capacity / waiting.asked) if waiting.asked else 1.0
        # Only one of those who want the GIL is on a core at a time.
        wanted = free.asked + min(locked.asked, 1.0)
        free.pace = min(1.0, free.capacity / wanted) if wanted else 1.0
        locked.pace = free.pace / max(locked.asked, 1.0)

    def _stages(self, work: Work) -> deque[_Stage]:
        stages: deque[_Stage] = deque()
        wait = max(work.wait, work.nbytes / self._waiting.capacity)
        needs = (
            (self._waiting, wait, work.nbytes / wait if wait else 0.0),
            (self._locked, work.locked, 1.0),
            (self._free, work.cpu, work.cores),
        )
        for part in self._parts(work.turns):
            for at, seconds, asked in needs:
                if seconds:
                    stages.append(_Stage(at, seconds * part, asked))
        return stages

    def _parts(self, turns: int) -> list[float]:
        """Share work out over turns, unevenly: workers in lockstep would never meet."""
        if turns == 1:
            return [1.0]
        lengths = [0.5 + self._random.random() for _ in range(turns)]
        total = sum(lengths)
        return [length / total for length in lengths]

    def _start(self, worker: int) -> None:
        if self._queues[worker]:
            number, work = self._queues[worker].popleft()
            self._jobs[worker] = _Job(number, self.now, self._stages(work))
            self._continue(worker)

    def _continue(self, who: int) -> None:
        """Begin the next stage of somebody's job, or end it."""
        job = self._jobs[who]
        if job.stages:
            stage = job.stages.popleft()
            stage.at.add(who, stage.seconds, stage.asked)
            return
        del self._jobs[who]
        if who == MAIN:
            return
        self.fetched[job.number] = (job.started, self.now)
        heapq.heappush(self._results, (self.now, job.number, who))
        self._start(who)
