"""An answer of Elasticsearch whose body may still be on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sidecar.contract.errors import UnreachableError
from sidecar.search.connection import PIECE, Connection
from sidecar.search.wire import MAX_HEAD, BadAnswer, Head, chunk_size


class Answer:
    """An answer whose body may still be on its way.

    Parameters
    ----------
    connection : Connection
    head : Head
    put_back : Callable
        Takes the connection when the body has been read and it can be used again.
    """

    __slots__ = ("_connection", "_done", "_put_back", "head")

    def __init__(
        self, connection: Connection, head: Head, put_back: Callable[[Connection], None]
    ) -> None:
        self._put_back = put_back
        self._connection = connection
        self._done = False
        self.head = head

    def chunks(self) -> Iterator[bytes]:
        """The body in pieces; the connection goes back to the pool at its end.

        Raises
        ------
        UnreachableError
            When the body is cut off: the caller must not make it look complete.
        """
        try:
            yield from self._pieces()
            self._finish()
        except (BadAnswer, OSError) as error:
            raise UnreachableError(f"Elasticsearch's answer broke off: {error}") from None
        finally:
            self.close()

    def read(self) -> bytes:
        """The whole body.

        Raises
        ------
        UnreachableError
        """
        return b"".join(self.chunks())

    def is_here(self) -> bool:
        """Whether the whole body has arrived already, so that reading it will not wait."""
        length = self.head.length
        return self._done or (length is not None and len(self._connection.buffer) >= length)

    def close(self) -> None:
        """Give the connection up, unless it went back to the pool."""
        if not self._done:
            self._done = True
            self._connection.close()

    def _finish(self) -> None:
        if self._done:
            return
        self._done = True
        if self.head.reusable and not self._connection.buffer:
            self._put_back(self._connection)
        else:
            self._connection.close()

    def _pieces(self) -> Iterator[bytes]:
        connection, left = self._connection, self.head.length
        if left is not None:
            while left:
                piece = connection.some(left)
                left -= len(piece)
                if not left:
                    # Before the last piece is handed on: the next request may come at once.
                    self._finish()
                yield piece
        elif self.head.chunked:
            while size := chunk_size(connection.until(b"\r\n", 4096)):
                while size:
                    piece = connection.some(size)
                    size -= len(piece)
                    yield piece
                if connection.until(b"\r\n", 2):
                    raise BadAnswer("a chunk without its end")
            while connection.until(b"\r\n", MAX_HEAD):
                pass  # trailers
        else:
            if connection.buffer:
                yield connection.some(len(connection.buffer))
            while data := connection.sock.recv(PIECE):
                yield data
