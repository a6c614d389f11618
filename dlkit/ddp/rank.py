"""One rank, seen from the process that has started it: its outcome, its output, its end."""

import contextlib
import math
import os
import pickle
import signal
import sys
import time
from collections import deque
from multiprocessing.connection import Connection
from typing import Any

from dlkit.ddp import child
from dlkit.ddp.errors import death_notice
from dlkit.workers.lifeline import socket_pair

_FRAMES = 12  # of a stack that are shown, the innermost
_KEPT = 200  # lines of a rank's standard error that are kept for an error's notes


class Rank:
    """The process of a rank.

    Args:
        number: from 0.
        context: how to start it.
        task: what it is told.
    """

    def __init__(self, number: int, context: Any, task: child.Task) -> None:
        self.number = number
        self.outcome: child.Outcome | None = None
        self._died = False
        self._stack: list[str] | None = None  # lines of a stack that was asked for
        self._errors: deque[str] = deque(maxlen=_KEPT)
        self._partial = {1: b"", 2: b""}  # the beginning of a line, of each stream
        results, their_results = context.Pipe(duplex=False)
        pipes = [context.Pipe(duplex=False) for _ in range(2)]
        self._results: Connection = results
        self._output: dict[Any, int] = {pipe[0]: place for place, pipe in enumerate(pipes, 1)}
        self._lifeline, their_lifeline = socket_pair()
        theirs = (their_results, *(pipe[1] for pipe in pipes), their_lifeline)
        self._process = context.Process(
            target=child.run,
            args=(number, task, their_results, tuple(pipe[1] for pipe in pipes), their_lifeline),
            name=f"dlkit rank {number}",
            daemon=True,
        )
        try:
            self._process.start()
        except BaseException:
            self._close()
            raise
        finally:
            for end in theirs:  # at once: only so does the end of the process reach us
                end.close()
        self.pid: int = self._process.pid

    @property
    def has_returned(self) -> bool:
        """Whether the function has returned."""
        return self.outcome is not None and self.outcome.failure is None

    @property
    def has_failed(self) -> bool:
        """Whether it has raised, or the process has died."""
        return self._died or (self.outcome is not None and self.outcome.failure is not None)

    @property
    def has_ended(self) -> bool:
        """Whether nothing more can be expected of it."""
        return self._died or self.outcome is not None

    @property
    def is_consequence(self) -> bool:
        """Whether its failure only says that another rank has failed."""
        return self.outcome is not None and self.outcome.consequence

    @property
    def when_failed(self) -> float:
        """When it raised; a consequence counts as later than everything else."""
        if self.outcome is None:
            return -math.inf
        return self.outcome.at + (1e9 if self.outcome.consequence else 0.0)

    def result(self) -> Any:
        """Return what the function has returned."""
        if self.outcome is None or self.outcome.value is None:
            raise RuntimeError(f"rank {self.number} has not returned")
        return pickle.loads(self.outcome.value)

    def sources(self) -> list[Any]:
        """What to wait for: its outcome, its output, its end."""
        results = [] if self.has_ended else [self._results, self._process.sentinel]
        return [*results, *self._output]

    def hear(self, source: Any) -> None:
        """Take in what a source has for us."""
        if source in self._output:
            self._read_output(source)
        elif source is self._results:
            self._read_outcome()
        elif self.outcome is None and not self._results.poll():
            self._died = True  # and it has left no outcome behind
            self._process.join(1.0)

    def notice(self) -> str:
        """Say how the process died."""
        return death_notice(self.number, self.pid, self._process.exitcode)

    def last_words(self) -> list[str]:
        """Return the end of what it wrote to standard error."""
        self._drain()
        if not self._errors:
            return []
        return [f"the last lines of rank {self.number}:\n" + "\n".join(self._errors)]

    def ask_for_stack(self) -> None:
        """Let the process write where it is."""
        self._stack = []
        with contextlib.suppress(OSError):
            os.kill(self.pid, signal.SIGUSR1)

    def stack(self) -> str:
        """Return what `ask_for_stack` has brought: the main thread's frames."""
        lines = self._stack or []
        found = [i for i, line in enumerate(lines) if line.startswith("Current thread")]
        frames = [
            line for line in lines[found[0] + 1 if found else 0 :] if line.startswith("  File")
        ]
        # The outermost frames are those of multiprocessing and of this package.
        ours = [i for i, line in enumerate(frames) if line.endswith(" in _result")]
        return "\n".join(frames[: min(ours[0], _FRAMES)] if ours else [])

    def ask_to_end(self) -> None:
        """Ask the process to end, if it still runs."""
        if self._process.exitcode is None and not self.has_returned:
            self._process.terminate()

    def end(self, deadline: float) -> None:
        """Wait for the end of the process, kill it at the deadline (monotonic), let it go."""
        # One that has returned ends by itself, unless its own workers hang.
        while self._process.exitcode is None and (left := deadline - time.monotonic()) > 0:
            self._drain()
            self._process.join(min(left, 0.02))
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        self._drain()
        for stream in self._partial:
            if self._partial[stream]:
                self._say(stream, b"\n")
        self._process.close()
        self._close()

    def _close(self) -> None:
        self._results.close()
        for source in self._output:
            source.close()
        self._lifeline.close()

    def _read_outcome(self) -> None:
        try:
            self.outcome = pickle.loads(self._results.recv_bytes())
        except (EOFError, OSError):
            self._died = True
            self._process.join(1.0)

    def _drain(self) -> None:
        """Print what is left in the pipes."""
        for source in list(self._output):
            while source in self._output and source.poll():
                self._read_output(source)

    def _read_output(self, source: Any) -> None:
        try:
            data = os.read(source.fileno(), 1 << 16)
        except OSError:
            data = b""
        if data:
            self._say(self._output[source], data)
        else:
            del self._output[source]
            source.close()

    def _say(self, stream: int, data: bytes) -> None:
        """Print whole lines, each with the rank in front."""
        *lines, partial = (self._partial[stream] + data).split(b"\n")
        self._partial[stream] = _latest(partial)
        for line in lines:
            text = _latest(line).decode(errors="replace")
            if stream == 2:
                self._errors.append(text)
                if self._stack is not None:
                    self._stack.append(text)
                    continue
            print(f"[rank {self.number}] {text}", file=sys.stderr if stream == 2 else sys.stdout)


def _latest(line: bytes) -> bytes:
    """What a terminal would show of a line that is written over, as a progress bar is."""
    return line[line.rfind(b"\r", 0, -1) + 1 :]
