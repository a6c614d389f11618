"""Errors on their way from a worker to the user, and errors about workers.

An exception that a dataset or `collate_fn` raised arrives with its own type and arguments. What it
cannot bring along, the frames of its traceback, comes as text in a note, with the worker's number.
"""

import contextlib
import copy
import pickle
import signal
import traceback
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cloudpickle


@dataclass(frozen=True, slots=True)
class SampleError:
    """A sample that was left out because reading it failed.

    Attributes:
        index: in the dataset; None if the dataset is iterable-style and has no indices.
        exception: what reading it raised.
    """

    index: Any
    exception: BaseException

    def __reduce__(self) -> Any:
        return _sample_error, (self.index, Failure.of(self.exception, "a worker process"))


def _sample_error(index: Any, failure: "Failure") -> SampleError:
    return SampleError(index, failure.error())


class WorkerDiedError(RuntimeError):
    """A worker process ended without being asked to."""


class WorkerTimeoutError(RuntimeError):
    """No batch came in time; the workers go on, and the next call waits for it again."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception in a form that another process can always read.

    Attributes:
        pickled: the exception, if it can be pickled and comes back as it was; else its class, its
            `args` and its attributes, without calling its constructor again.
        text: type and message, for the case that the class itself does not arrive.
        notes: what is added for the user to read, as by `BaseException.add_note`.
    """

    pickled: bytes | None
    text: str
    notes: tuple[str, ...]

    @classmethod
    def of(cls, error: BaseException, where: str) -> "Failure":
        """Describe an exception that was raised in `where`, such as "process worker 1"."""
        frames = "".join(traceback.format_exception(error))
        notes = (f"raised in {where}; its traceback:\n\n{frames.rstrip()}",)
        text = "".join(traceback.format_exception_only(error)[:1]).strip()
        for candidate in (lambda: error, lambda: _Parts(error)):
            try:
                pickled = _dumps(candidate())
                if _same(_loads(pickled), error):
                    return cls(pickled, text, notes)
            except Exception:
                continue
        return cls(None, text, notes)

    def error(self) -> BaseException:
        """Return the exception, or a `RuntimeError` that quotes it."""
        error: BaseException = RuntimeError(self.text)
        if self.pickled is not None:
            known = _living(BaseException)
            try:
                error = _loads(self.pickled)
                _be_caught(error, known)
            except Exception as reason:
                error.add_note(f"(the exception itself could not be unpickled: {reason!r})")
        for note in self.notes:
            error.add_note(note)
        return error


def raiser(error: BaseException) -> Callable[[], Any]:
    """Return a function that raises an exception that was caught elsewhere; to be called once.

    The function lets go of the exception. If any frame that it passes kept it, its traceback would
    keep that frame in turn, and the iterator and the workers there would live on, after the user
    has dropped all of them, until the next garbage collection.

    Example:
        >>> raise_it = raiser(KeyError("label"))
        >>> raise_it()
        Traceback (most recent call last):
        KeyError: 'label'
    """
    held = [error]

    def run() -> Any:
        raise held.pop()

    return run


class _Parts:
    """An exception taken apart, for a class whose constructor does not take its own `args`."""

    def __init__(self, error: BaseException) -> None:
        self.parts = (type(error), error.args, error.__dict__)

    def whole(self) -> BaseException:
        kind, args, attributes = self.parts
        error = kind.__new__(kind, *args)
        error.args = args
        error.__dict__.update(attributes)
        return error


def twin(error: BaseException) -> BaseException:
    """Return an exception like one that was raised, which can be raised beside it.

    Example:
        >>> twin(OSError(2, "No such file", "a.png"))
        FileNotFoundError(2, 'No such file')
    """
    other: BaseException | None = None
    for make in (copy.copy, lambda error: _Parts(error).whole()):
        with contextlib.suppress(Exception):
            made = make(error)
            if _same(made, error):
                other = made
                break
    if other is None:
        other = RuntimeError("".join(traceback.format_exception_only(error)[:1]).strip())
    other.__cause__ = error.__cause__
    return other.with_traceback(error.__traceback__)


def _loads(pickled: bytes) -> BaseException:
    thing = pickle.loads(pickled)
    error = thing.whole() if isinstance(thing, _Parts) else thing
    if not isinstance(error, BaseException):
        raise TypeError(f"unpickling an exception gave {error!r:.80}")
    return error


_copies: "weakref.WeakSet[type]" = weakref.WeakSet()


def _living(kind: type) -> list[type]:
    """Return all classes below one, older ones first among those of the same base."""
    below: list[type] = kind.__subclasses__()
    return below + [further for each in below for further in _living(each)]


def _be_caught(error: BaseException, known: list[type]) -> None:
    """Let an exception of a class that travelled as code be caught by the class that is here.

    A forked worker has inherited the class of a function, but no name by which it could be found,
    so what arrives is a copy of it. The newest class of the same name is what was meant.
    """
    kind = type(error)
    if kind in known:
        return
    _copies.add(kind)
    name = (kind.__module__, kind.__name__)  # the copy has lost in which function it was made
    meant = [k for k in known if (k.__module__, k.__name__) == name and k not in _copies]
    if meant:
        with contextlib.suppress(TypeError):  # of another layout
            error.__class__ = meant[-1]


def _dumps(thing: Any) -> bytes:
    try:
        return pickle.dumps(thing)
    except Exception:
        return bytes(cloudpickle.dumps(thing))  # a class of a notebook or of a function


def _same(other: BaseException, error: BaseException) -> bool:
    kind = type(error)
    named_alike = (type(other).__module__, type(other).__qualname__) == (
        kind.__module__,
        kind.__qualname__,
    )
    return named_alike and str(other) == str(error) and len(other.args) == len(error.args)


def death_notice(worker: int, pid: int | None, exit_code: int | None) -> str:
    """Say how a worker process died, and what most likely killed it.

    Example:
        >>> death_notice(1, 4242, 3)
        'DataLoader worker 1 (pid 4242) exited unexpectedly with exit code 3: the dataset or \
collate_fn ended its process (sys.exit, os._exit), or native code did'
    """
    who = f"DataLoader worker {worker} (pid {pid}) exited unexpectedly"
    if exit_code is None:
        return f"{who}: its connection was closed, though the process still runs"
    if exit_code >= 0:
        return (
            f"{who} with exit code {exit_code}: the dataset or collate_fn ended its process "
            "(sys.exit, os._exit), or native code did"
        )
    number = -exit_code
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    likely = {
        "SIGKILL": "most often the system's out-of-memory killer (see its log, or the memory "
        "limit of the container): fewer workers or a smaller prefetch_factor need less memory",
        "SIGSEGV": "native code used by the dataset or collate_fn crashed",
        "SIGABRT": "native code used by the dataset or collate_fn aborted",
        "SIGBUS": "memory that was mapped is gone: a file was cut, or a disk or tmpfs is full",
        "SIGTERM": "somebody asked it to end",
    }.get(name)
    return f"{who}: killed by {name}" + (f"; {likely}" if likely else "")


def stop_message(timeout: float) -> str:
    """What a time-out says; it begins with PyTorch's words."""
    return (
        f"DataLoader timed out after {timeout:g} seconds: no worker has delivered the batch that "
        "is due. A sample takes longer than that, or a worker hangs (a lock that was held when it "
        "was forked, or a native library that does not survive fork)"
    )


def is_fatal(error: BaseException) -> bool:
    """Whether an error says that the workers are gone, not that one batch has failed."""
    return isinstance(error, WorkerDiedError | WorkerTimeoutError)
