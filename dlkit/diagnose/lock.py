"""How much of reading a sample holds the GIL, which threads cannot do at once.

    one thread reads      |##lock##|decode......|##lock##|decode......|
    another one looks       held      free    free   held      free

A second thread sleeps for a moment, again and again, and on waking needs the lock. It looks at
random, so the share of its looks that find the lock taken is the share of time that reading holds
it (Poisson arrivals see time averages: Wolff, 1982). That it was taken is known without a clock:
who waits for the lock gives up its core once more, and the system counts how often a thread has
done that. So a busy machine makes little difference, and one thread at a time reads the samples.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

from dlkit.diagnose.clocks import Stopwatch

_LITTLE = 0.02  # of the time on a core: whether that holds the lock makes no difference
_PAUSES = (0.0002, 0.0008)  # seconds between looks, from and to
_ENOUGH = 60  # looks; on a busy machine it takes longer until there are so many
_GOING_ON = 20_000  # nanoseconds of a thread's computing that say it goes on


def lock_share(
    read: Callable[[Any], Any], tasks: Sequence[Any], seconds: float = 0.15
) -> float | None:
    """Return which share of the CPU time of reading holds the GIL.

    Args:
        read: reads one of the tasks.
        tasks: read in turn, and again from the first.
        seconds: about how long that takes, and four times as long at most where the machine is
            busy; a task that has begun is finished.

    Returns:
        0 to 1; None where the system does not count (it is Linux that does).

    Raises:
        Exception: what `read` raises.

    Example:
        >>> found = lock_share(lambda number: sum(range(number)), [10_000], seconds=0.1)
        >>> found is None or found > 0.5
        True
    """
    read(tasks[0])  # caches fill, modules are imported
    if _given_up() is None:
        return None
    looks: list[bool] = []
    over = threading.Event()
    reader = time.pthread_getcpuclockid(threading.get_ident())
    watcher = threading.Thread(target=_look, args=(reader, looks, over), daemon=True)
    with Stopwatch() as watch:
        watcher.start()
        try:
            begun = time.perf_counter()
            watch.start()
            for task in cycle(tasks):
                read(task)
                lasted = time.perf_counter() - begun
                if lasted >= 4 * seconds or (lasted >= seconds and len(looks) >= _ENOUGH):
                    break
            span = watch.lap()
        finally:
            over.set()
            watcher.join()
    computing = span.cpu / span.alone if span.alone else 0.0
    if computing <= _LITTLE:
        return 0.0
    return min(1.0, sum(looks) / max(1, len(looks)) / computing)


def _look(reader: int, looks: list[bool], over: threading.Event) -> None:
    """Note for each look whether the lock was taken.

    Args:
        reader: the clock of the thread that reads: how long it has computed.
        looks: where to note it.
        over: whether to end.
    """
    generator = random.Random(0)
    interrupted = time.clock_gettime_ns(reader)
    while not over.is_set():
        before = _given_up() or 0
        time.sleep(generator.uniform(*_PAUSES))
        taken = (_given_up() or 0) - before > 1  # sleeping is once
        computed = time.clock_gettime_ns(reader)
        if computed - interrupted < _GOING_ON:
            continue  # a look took the lock from the reader, who still waits for a core to go on
        looks.append(taken)
        if taken:
            interrupted = computed


def _given_up() -> int | None:
    """Return how often this thread has given up its core by itself; None if nobody counts."""
    try:
        import resource

        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    except (ImportError, AttributeError):
        return None
