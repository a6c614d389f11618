"""Lifelines: how a process notices that another one has ended, however that happened.

    main process    ours --socket pair-- theirs    worker, or rank

Each end is held by one process only, so the kernel closes it with that process, also when it is
killed, and the other one is told.
"""

import os
import select
import signal
import socket
import sys
import weakref
from typing import Any

BUFFER = 1 << 18  # bytes that a socket holds
_ours: "weakref.WeakSet[socket.socket]" = weakref.WeakSet()


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return a connection: the end that stays here, and the one for a process to be started.

    A process that is forked later closes its copy of our end at once.

    Example:
        >>> ours, theirs = socket_pair()
        >>> ours.close()
        >>> theirs.recv(1)
        b''
        >>> theirs.close()
    """
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, BUFFER)
    _ours.add(ours)
    return ours, theirs


def _close_inherited() -> None:
    # A forked process holds copies of all our ends. As long as it does, no worker would notice
    # that this process has ended.
    for end in list(_ours):
        end.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_inherited)


def end_watcher(connection: socket.socket) -> Any:
    """Return a function that says whether the other end is closed, even if messages are left."""
    if not hasattr(select, "poll"):
        return lambda: False
    poll = select.poll()
    poll.register(connection, select.POLLHUP)
    return lambda: bool(poll.poll(0))


def die_with(lifeline: socket.socket) -> None:
    """Let the kernel end this process when the main one is gone, also in the middle of a sample.

    The main process never writes to the lifeline; it is closed when that process ends, however
    that happens. Then the kernel sends SIGIO, whose default is to terminate. (No thread has to
    wait for it, so datasets may fork.)

    Args:
        lifeline: this process's end of a `socket_pair`.
    """
    if sys.platform == "win32":
        return
    import fcntl

    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(lifeline, fcntl.F_GETFL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, flags | os.O_ASYNC)
    if end_watcher(lifeline)():  # before the kernel was asked
        os.kill(os.getpid(), signal.SIGIO)
