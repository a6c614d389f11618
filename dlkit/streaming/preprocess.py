"""What is done with items between source and batch: a function, a coroutine, or a whole list's.

A session belongs to one worker thread: a coroutine function gets an event loop there, and all items
of a ticket run on it together. Only after a list has failed are its items tried one by one, to find
those that fail: a list without a failure costs nothing more.
"""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dlkit.streaming.checks import StreamError, check_choice

# Results; positions of those that are kept, None for all; and the error that ends the stream.
Outcome = tuple[list[Any], list[int] | None, BaseException | None]


class Preprocess:
    """A function on items, and what happens when it raises.

    Args:
        function: on one item, plain or `async`; or on a list of them, if `vectorised`.
        vectorised: whether it takes a list and returns as many results.
        on_error: `"raise"` ends the stream with the error; `"drop"` counts the item as `failed`.

    Raises:
        TypeError: if the function cannot be called.
        ValueError: if `on_error` is none of the two.

    Example:
        >>> with Preprocess(lambda item: 6 // item, on_error="drop").session() as run:
        ...     run([1, 0, 2])
        ([6, 3], [0, 2], None)
    """

    def __init__(
        self, function: Callable[[Any], Any], vectorised: bool = False, on_error: str = "raise"
    ) -> None:
        if not callable(function):
            raise TypeError(f"preprocess must be a function or None, but got {function!r}")
        check_choice("on_error", on_error, ("raise", "drop"))
        self._function = function
        self._vectorised = vectorised
        self._drops = on_error == "drop"
        self._is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004  # its kind is asked for, not whether
        )

    @contextmanager
    def session(self) -> Iterator[Callable[[list[Any]], Outcome]]:
        """Give a worker thread what runs its items."""
        if not self._is_async:
            yield self._run
            return
        with asyncio.Runner() as runner:
            yield lambda items: runner.run(self._run_together(items))

    def _run(self, items: list[Any]) -> Outcome:
        try:
            if not self._vectorised:
                function = self._function
                return [function(item) for item in items], None, None
            results = list(self._function(items))
        except Exception as error:
            if self._vectorised:
                return [], [], self._verdict(error, "a list of items")
            return self._run_one_by_one(items)
        return self._one_for_each(items, results)

    def _one_for_each(self, items: list[Any], results: list[Any]) -> Outcome:
        """Accept what a vectorised function has returned, if it is as many results as items."""
        if len(results) == len(items):
            return results, None, None
        wrong = StreamError(
            f"a vectorised preprocess must return one result for each item, but it returned "
            f"{len(results)} for {len(items)}"
        )
        return [], [], self._verdict(wrong, "a list of items")

    def _run_one_by_one(self, items: list[Any]) -> Outcome:
        outcomes: list[tuple[Any, BaseException | None]] = []
        for item in items:
            try:
                outcomes.append((self._function(item), None))
            except Exception as error:
                outcomes.append((None, error))
        return self._sort(outcomes)

    async def _run_together(self, items: list[Any]) -> Outcome:
        if self._vectorised:
            try:
                done = list(await self._function(items))
            except Exception as error:
                return [], [], self._verdict(error, "a list of items")
            return self._one_for_each(items, done)
        results = await asyncio.gather(*map(self._function, items), return_exceptions=True)
        return self._sort(
            [(None, r) if isinstance(r, BaseException) else (r, None) for r in results]
        )

    def _sort(self, outcomes: list[tuple[Any, BaseException | None]]) -> Outcome:
        failed = next((error for _, error in outcomes if error is not None), None)
        kept = [place for place, (_, error) in enumerate(outcomes) if error is None]
        results = [outcomes[place][0] for place in kept]
        return results, kept, self._verdict(failed, "an item") if failed is not None else None

    def _verdict(self, error: BaseException, what: str) -> BaseException | None:
        if self._drops:
            return None
        error.add_note(f"raised while {what} of the stream was preprocessed")
        return error
