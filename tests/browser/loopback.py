"""A network that ends at this machine: a namespace with a loopback device and nothing else.

What is started inside it reaches itself and nobody else, so whatever asks for something outside
fails. Needs Linux and root.
"""

import ctypes
import fcntl
import os
import socket
import struct
import sys
from contextlib import contextmanager, nullcontext

# A machine's own resolver knows its own addresses, whatever name servers it reaches. Without it
# PyTorch warns that it cannot look up its own sockets, which connect by IPv6 where they can.
HOSTS = f"""
127.0.0.1 localhost {socket.gethostname()}
::1 localhost
::ffff:127.0.0.1 localhost
"""
NEW_NETWORK = 0x40000000  # CLONE_NEWNET of sched.h
SET_FLAGS, IS_UP = 0x8914, 0x1  # SIOCSIFFLAGS of sockios.h, IFF_UP of if.h


class Open:
    """The network as it is, where no other can be made."""

    entered = staticmethod(nullcontext)

    def wrap(self, command, folder):
        """The command, as it is."""
        return command


class Loopback:
    """A network namespace; a thread is in it for the time of a `with`.

    Raises:
        OSError: where the system does not let us make one.
    """

    def __init__(self):
        if sys.platform != "linux":
            raise OSError("network namespaces need Linux")
        self._outside = _network_of_this_thread()
        try:
            _call("unshare", NEW_NETWORK)
            self._inside = _network_of_this_thread()
        except OSError:
            os.close(self._outside)
            raise
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
                request = struct.pack("16sH14x", b"lo", IS_UP)
                fcntl.ioctl(any_socket, SET_FLAGS, request)
        finally:
            _call("setns", self._outside, NEW_NETWORK)

    @contextmanager
    def entered(self):
        """Sockets made and processes started meanwhile belong to the namespace, and stay in it."""
        _call("setns", self._inside, NEW_NETWORK)
        try:
            yield
        finally:
            _call("setns", self._outside, NEW_NETWORK)

    def wrap(self, command, folder):
        """The same command, with a file of hosts in a folder in place of the system's."""
        hosts = folder / "hosts"
        hosts.write_text(HOSTS)
        script = 'mount --bind "$0" /etc/hosts && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, str(hosts), *command]

    def close(self):
        """Let it go; the system keeps it for as long as a process is in it."""
        os.close(self._inside)
        os.close(self._outside)


def _network_of_this_thread():
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _call(name, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
