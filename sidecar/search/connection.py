"""One connection to Elasticsearch, and reading from it."""

from __future__ import annotations

import select
import socket

from sidecar.search.wire import BadAnswer

PIECE = 64 * 1024
#: Seconds: Elasticsearch and what stands before it close idle connections after some time.
_IDLE_S = 20.0


class Connection:
    """One connection, used by one request at a time."""

    __slots__ = ("buffer", "idle_since", "sock", "used")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""
        self.used = False
        self.idle_since = 0.0

    def close(self) -> None:
        self.sock.close()

    def is_stale(self, now: float) -> bool:
        """Whether the other side has closed it, or soon may."""
        if now - self.idle_since > _IDLE_S:
            return True
        # Bytes without a request, or the end of the stream: either way it is of no more use.
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return bool(poll.poll(0))

    def receive(self) -> bytes:
        """Some bytes.

        Raises
        ------
        BadAnswer
            At the end of the stream.
        OSError
        """
        data = self.sock.recv(PIECE)
        if not data:
            raise BadAnswer("the connection was closed")
        return data

    def until(self, mark: bytes, limit: int) -> bytes:
        """Bytes up to a mark, which is taken off."""
        while True:
            at = self.buffer.find(mark)
            if at >= 0:
                found = self.buffer[:at]
                self.buffer = self.buffer[at + len(mark) :]
                return found
            if len(self.buffer) > limit:
                raise BadAnswer(f"more than {limit} bytes without an end")
            self.buffer += self.receive()

    def some(self, most: int) -> bytes:
        """At most that many bytes, at least one."""
        if not self.buffer:
            self.buffer = self.receive()
        found, self.buffer = self.buffer[:most], self.buffer[most:]
        return found
