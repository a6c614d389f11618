"""Find the settings of a loader that make an epoch shortest: predict all, measure the best few.

    make_loader --measure_costs--> Costs --predict--> a ranking --run the top, twice--> settings

Measuring one setting takes a second, predicting it a few milliseconds. So everything is predicted,
and what is predicted to be near the best is measured, the better ones again (successive halving:
Jamieson and Talwalkar, 2016), until the time is over.
"""

import inspect
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dlkit.diagnose.candidates import Tried, candidates, chosen, most_workers, need, spread
from dlkit.diagnose.measure import measure_costs
from dlkit.diagnose.running import StoppedError, run_for
from dlkit.loader import DataLoader

if TYPE_CHECKING:
    import pandas as pd

NEAR = 0.75  # of the best prediction: what is below it is not measured
ALWAYS = 4  # at least so many settings are measured, if there is time
SHARE_OF_COSTS = 0.3  # of the budget, for measuring what the parts cost


@dataclass(frozen=True)
class Tuning:
    """What `tune` found.

    Attributes:
        settings: keyword arguments for `make_loader`, the best that were found.
        table: every setting, those that were measured first, the best on top.
        seconds: how long it took.
        complete: whether it was not stopped.
    """

    settings: dict[str, Any]
    table: tuple[Tried, ...]
    seconds: float
    complete: bool = True

    def to_pandas(self) -> "pd.DataFrame":
        """Return the table as a data frame, one row a setting."""
        import pandas as pd

        rows = [
            {**t.settings, "predicted": t.predicted, "measured": t.measured, "memory": t.memory,
             "runs": len(t.runs)}
            for t in self.table
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def __str__(self) -> str:
        best = next((t for t in self.table if t.settings == self.settings), None)
        rate = None if best is None else best.measured or best.predicted
        ran = sum(bool(t.runs) for t in self.table)
        speed = "" if rate is None else f": {rate:,.0f} samples/s"
        return (
            f"{self.settings}{speed}; {ran} of {len(self.table)} settings measured in "
            f"{self.seconds:.1f} s"
        )


def tune(
    make_loader: Callable[..., Any],
    *,
    budget_seconds: float = 30.0,
    step: Callable[[Any], Any] | None = None,
    max_workers: int | None = None,
    memory_limit: float | None = None,
    stop: threading.Event | None = None,
) -> Tuning:
    """Find the workers, method, prefetching, pinning and persistence that make an epoch shortest.

    Of settings that are equally fast within 3 %, the one that needs fewest workers and least memory
    is taken.

    Args:
        make_loader: returns a loader, dlkit's or PyTorch's, for the keyword arguments that it is
            given: of `num_workers`, `worker_method` (dlkit's loader), `prefetch_factor`,
            `persistent_workers` and `pin_memory` those that it takes.
        budget_seconds: about how long the search may take; a measurement that has begun is
            finished.
        step: what training does with a batch; without it, the loader is tuned for itself alone.
        max_workers: most workers to try; by default twice the cores, and 4 more where samples wait.
        memory_limit: bytes; settings that are predicted to take more are left out.
        stop: set it from another thread, and the best so far is returned.

    Returns:
        Keyword arguments, and the table that they were taken from.

    Raises:
        TypeError, ValueError: if an argument is impossible, or no setting keeps to `memory_limit`.
        Exception: what the loader or `step` raises. No worker is left then.

    Example:
        >>> import dlkit
        >>> from dlkit.datasets import Cost, synthetic_images
        >>> data = synthetic_images(2000, (1, 8, 8), cost=Cost(wait_seconds=0.002))
        >>> def make_loader(**settings):
        ...     return dlkit.DataLoader(data, batch_size=8, **settings)
        >>> found = tune(make_loader, budget_seconds=2.0)
        >>> found.settings["num_workers"] > 0
        True
    """
    began = time.perf_counter()
    accepted = _accepted(make_loader)
    _check(budget_seconds, step, max_workers, memory_limit)
    loader = make_loader(num_workers=0)
    ours = isinstance(loader, DataLoader)
    methods = ("process", "thread") if ours and "worker_method" in accepted else ("process",)
    share = SHARE_OF_COSTS * budget_seconds / 2  # workers take as long again
    costs = measure_costs(loader, step=step, seconds=min(max(share, 0.05), 2.0), methods=methods)
    most = most_workers(costs) if max_workers is None else max_workers
    table = sorted(
        candidates(costs, methods, accepted, most), key=lambda t: (-t.predicted, need(t))
    )
    if memory_limit is not None:
        table = [tried for tried in table if tried.memory <= memory_limit]
    if not table:
        raise ValueError(
            f"memory_limit must leave room for some setting, but {memory_limit!r} bytes do not"
        )
    search = _Search(make_loader, step, costs.samples, stop, began + budget_seconds)
    complete = search.run(table)
    ranked = sorted(table, key=lambda t: (t.measured is None, -(t.measured or t.predicted)))
    return Tuning(
        dict(chosen(ranked).settings), tuple(ranked), time.perf_counter() - began, complete
    )


class _Search:
    """Measures the best predictions, each round the better half again, until time is over."""

    def __init__(
        self,
        make_loader: Callable[..., Any],
        step: Callable[[Any], Any] | None,
        samples: int | None,
        stop: threading.Event | None,
        deadline: float,
    ) -> None:
        self._make_loader = make_loader
        self._step = step
        self._samples = samples
        self._stop = stop
        self._deadline = deadline

    def run(self, table: Sequence[Tried]) -> bool:
        """Measure; return whether it was not stopped."""
        near = [t for t in table if t.predicted >= NEAR * table[0].predicted]
        round_of = spread(near) or list(table[:1])
        round_of += [t for t in table if t not in round_of][: max(0, ALWAYS - len(round_of))]
        try:
            while round_of:
                left = self._deadline - time.perf_counter()
                each = min(1.0, max(0.1, 0.4 * left / len(round_of)))
                for tried in round_of:
                    if self._is_over() and any(t.runs for t in table):
                        return True  # but one is measured in any case
                    tried.runs.append(self._rate(tried, each))
                round_of.sort(key=lambda t: -(t.measured or 0.0))
                best = round_of[0].measured or 0.0
                kept = round_of[: max(2, math.ceil(len(round_of) / 2))]
                round_of = [t for t in kept if (t.measured or 0.0) >= 0.85 * best]
                if len(round_of) == 1:
                    break
        except StoppedError:
            return False
        return True

    def _is_over(self) -> bool:
        return time.perf_counter() > self._deadline

    def _rate(self, tried: Tried, seconds: float) -> float:
        """Run a setting, and return the samples/s of an epoch."""
        loader = self._make_loader(**tried.settings)
        measured = run_for(loader, seconds, self._step, self._stop, again=True)
        if not self._samples:
            return measured.throughput
        return self._samples / measured.epoch_seconds(self._samples)


def _accepted(make_loader: Any) -> set[str]:
    """Return which keyword arguments a function takes, of those that are tuned."""
    if not callable(make_loader):
        raise TypeError(f"make_loader must be callable, but got {make_loader!r}")
    names = {"num_workers", "worker_method", "prefetch_factor", "persistent_workers", "pin_memory"}
    try:
        parameters = inspect.signature(make_loader).parameters.values()
    except ValueError:  # a callable that does not tell
        return names
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        names &= {parameter.name for parameter in parameters}
    if "num_workers" not in names:
        raise TypeError(f"make_loader must take num_workers=, but {make_loader!r} does not")
    return names


def _check(budget: Any, step: Any, max_workers: Any, memory_limit: Any) -> None:
    for name, value in (("budget_seconds", budget), ("memory_limit", memory_limit)):
        if name == "memory_limit" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{name} must be a number, but got {value!r}")
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be more than 0, but got {value!r}")
    if step is not None and not callable(step):
        raise TypeError(f"step must be callable or None, but got {step!r}")
    if max_workers is not None and (
        not isinstance(max_workers, int) or isinstance(max_workers, bool) or max_workers < 0
    ):
        raise ValueError(f"max_workers must be an integer of 0 or more, but got {max_workers!r}")
