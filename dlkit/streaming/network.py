"""Items across a socket: a source that listens, and a sender.

    sender --connects--> [ length, 4 bytes, big endian | payload ] [ length | payload ] ... source

A payload is bytes; `decode` makes an item of it, `array_from_bytes` a NumPy array. The end of a
connection is the end of the stream, unless more senders are expected; in the middle of a frame it
is an error.
"""

import contextlib
import io
import selectors
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from dlkit.checks import check_positive_int
from dlkit.streaming.checks import EndOfStream, StreamError
from dlkit.streaming.sources import Source

LENGTH = struct.Struct("!I")
LARGEST = 1 << 26  # bytes of a frame; a larger length means that the sender is no `Sender`
_CHUNK = 1 << 18


class TcpSource(Source):
    """Frames that senders send to an address of this machine.

    Args:
        decode: from the payload to an item; the bytes themselves by default.
        host: the address to listen on; other machines can reach none but this one by default.
        port: 0 takes a free one, which `address` then tells.
        senders: how many connections are served, together, before the stream ends.
        largest: bytes of a frame above which the stream is refused.

    Raises:
        OSError: if nobody can listen there.
        ValueError: if a number is none of the accepted.

    Example:
        >>> source = TcpSource()
        >>> with Sender(source.address) as sender:
        ...     sender.send(b"left"), sender.send(b"right")
        (None, None)
        >>> list(source)
        [b'left', b'right']
        >>> source.close()
    """

    def __init__(
        self,
        decode: Callable[[bytes], Any] | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        senders: int = 1,
        largest: int = LARGEST,
    ) -> None:
        check_positive_int("senders", senders)
        check_positive_int("largest", largest)
        self._decode = decode
        self._largest = largest
        self._expected = senders
        self._items: deque[Any] = deque()
        self._partial: dict[socket.socket, bytearray] = {}
        self._listening = socket.create_server((host, port))
        self._listening.setblocking(False)
        self.address: tuple[str, int] = self._listening.getsockname()[:2]
        # A second pair of sockets wakes up the reader, so that closing never waits for a sender.
        self._waked, self._waking = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(self._waked, selectors.EVENT_READ)
        self._closed = self._released = False
        self._reading = False

    def read(self, most: int, timeout: float | None = None) -> list[Any]:
        """Return the frames that have arrived whole."""
        self._reading = True
        try:
            while not self._items:
                if self._closed or (not self._expected and not self._partial):
                    raise EndOfStream
                ready = self._selector.select(timeout)
                if not ready:
                    return []
                for key, _ in ready:
                    self._serve(key.fileobj)
            return [self._items.popleft() for _ in range(min(most, len(self._items)))]
        finally:
            self._reading = False
            if self._closed:
                self._release()

    def _serve(self, ready: Any) -> None:
        if ready is self._listening:
            connection, _ = self._listening.accept()
            connection.setblocking(False)
            self._partial[connection] = bytearray()
            self._selector.register(connection, selectors.EVENT_READ)
            self._expected -= 1
            if not self._expected:
                self._selector.unregister(self._listening)
        elif ready is not self._waked:
            self._receive(ready)

    def _receive(self, connection: socket.socket) -> None:
        try:
            received = connection.recv(_CHUNK)
        except BlockingIOError:
            return
        partial = self._partial[connection]
        partial += received
        if not received:
            self._forget(connection)
            if partial:
                raise StreamError(
                    f"a sender ended in the middle of a frame: {len(partial)} bytes of it came"
                )
            return
        self._cut(partial)

    def _cut(self, partial: bytearray) -> None:
        """Take all whole frames from the front of what was received."""
        start = 0
        while len(partial) - start >= LENGTH.size:
            (length,) = LENGTH.unpack_from(partial, start)
            if length > self._largest:
                raise StreamError(
                    f"a frame says that it has {length} bytes, and the largest may have "
                    f"{self._largest}; is the sender a `Sender`?"
                )
            end = start + LENGTH.size + length
            if end > len(partial):
                break
            payload = bytes(partial[start + LENGTH.size : end])
            self._items.append(payload if self._decode is None else self._decode(payload))
            start = end
        del partial[:start]

    def _forget(self, connection: socket.socket) -> None:
        del self._partial[connection]
        self._selector.unregister(connection)
        connection.close()

    def close(self) -> None:
        """Close all sockets; a `read` that waits closes them on its way out."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):  # the reader was faster, and has closed it
            self._waking.send(b"x")
        if not self._reading:
            self._release()

    def _release(self) -> None:
        if self._released:
            return
        self._released = True
        for connection in list(self._partial):
            connection.close()
        self._partial.clear()
        self._selector.close()
        for one in (self._listening, self._waked, self._waking):
            one.close()


class Sender:
    """Sends frames to a `TcpSource`.

    Args:
        address: host and port, as `TcpSource.address` tells them.
        encode: from an item to its payload; items are bytes by default.
        timeout: seconds that sending may take; None waits for as long as the source does not read,
            which is how its back-pressure reaches the sender.
    """

    def __init__(
        self,
        address: tuple[str, int],
        encode: Callable[[Any], bytes] | None = None,
        timeout: float | None = None,
    ) -> None:
        self._encode = encode
        self._socket = socket.create_connection(address, timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, item: Any) -> None:
        """Send one item.

        Raises:
            OSError: if the source is gone, or did not read in time.
        """
        self.send_all([item])

    def send_all(self, items: Iterable[Any]) -> None:
        """Send some items in one write."""
        payloads = [item if self._encode is None else self._encode(item) for item in items]
        self._socket.sendall(b"".join(LENGTH.pack(len(p)) + p for p in payloads))

    def close(self) -> None:
        """End the connection, and with it the stream."""
        self._socket.close()

    def __enter__(self) -> "Sender":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def array_to_bytes(array: npt.NDArray[Any]) -> bytes:
    """Return an array as bytes that say its type and shape, in NumPy's own format.

    Example:
        >>> array_from_bytes(array_to_bytes(np.arange(3, dtype=np.int16)))
        array([0, 1, 2], dtype=int16)
    """
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def array_from_bytes(payload: bytes) -> npt.NDArray[Any]:
    """Return the array that `array_to_bytes` was given.

    Raises:
        ValueError: if they are other bytes; nothing in them is ever executed.
    """
    # Not by `np.load`, which opens archives too, and has other errors for each kind of other bytes.
    array: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(payload), allow_pickle=False)
    return array
