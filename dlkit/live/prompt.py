"""Threads that need not wait for each other long, while something live runs.

A thread of Python keeps the interpreter for 5 ms if others want it. An answer passes through three
threads and, inside the model, gives the interpreter up and wants it back for each layer; beside a
thread that draws, that adds up to hundreds of milliseconds.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 1e-4  # for which a thread keeps the interpreter

_lock = threading.Lock()
_before: list[float] = []  # the setting that was found, while anybody needs another
_users = 0


@contextmanager
def prompt_threads() -> Iterator[None]:
    """Let threads give the interpreter up soon; afterwards it is as it was before the first user.

    Example:
        >>> before = sys.getswitchinterval()
        >>> with prompt_threads():
        ...     with prompt_threads(): pass
        ...     round(sys.getswitchinterval(), 6)
        0.0001
        >>> sys.getswitchinterval() == before
        True
    """
    global _users  # the setting is one of the whole process
    with _lock:
        if not _users:
            _before.append(sys.getswitchinterval())
            sys.setswitchinterval(SECONDS)
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                sys.setswitchinterval(_before.pop())
