"""Ctrl-C and the notebook's stop button, made to wait for the end of a training step.

An interrupt in the middle of `optimizer.step()` would leave half of the weights updated, a state
that no run reaches by itself. So the first interrupt is noted and raised at the next step's
boundary, where weights, sums and the loader's position agree; a second one raises at once.
"""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class StepwiseInterrupt:
    """Hold back the first `KeyboardInterrupt` until `raise_if_requested` is called.

    Does nothing outside the main thread, or where a program has its own handler for the signal.

    Example:
        >>> previous = signal.signal(signal.SIGINT, signal.default_int_handler)
        >>> with StepwiseInterrupt() as interrupt:
        ...     signal.raise_signal(signal.SIGINT)
        ...     try:
        ...         interrupt.raise_if_requested()
        ...     except KeyboardInterrupt:
        ...         print("after the step")
        after the step
        >>> handler = signal.signal(signal.SIGINT, previous)
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None

    def __enter__(self) -> "StepwiseInterrupt":
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
            self._previous = None
        if kind is None:
            self.raise_if_requested()  # one that came after the last boundary is not swallowed

    def raise_if_requested(self, *, at_once: bool = False) -> None:
        """Raise the interrupt that was held back, if there is one.

        Args:
            at_once: Raise in any case: another rank was interrupted.
        """
        if self.requested or at_once:
            self.requested = False
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            signal.default_int_handler(number, frame)
        self.requested = True
