"""Kept-alive connections to Elasticsearch, and one request on one of them. All sockets are here."""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

from sidecar.contract.errors import ConfigError, UnreachableError
from sidecar.search.wire import MAX_HEAD, BadAnswer, Head, chunk_size, parse_head

_PIECE = 64 * 1024
#: Seconds: Elasticsearch and what stands before it close idle connections after some time.
_IDLE_S = 20.0


class UpstreamTimeout(UnreachableError):  # noqa: N818 - as the standard library names its own
    """Elasticsearch took longer than allowed."""


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
        data = self.sock.recv(_PIECE)
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


class Answer:
    """An answer whose body may still be on its way.

    Parameters
    ----------
    upstream : Upstream
    connection : Connection
    head : Head
    """

    __slots__ = ("_connection", "_done", "_upstream", "head")

    def __init__(self, upstream: Upstream, connection: Connection, head: Head) -> None:
        self._upstream = upstream
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
            self._upstream.put_back(self._connection)
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
            while data := connection.sock.recv(_PIECE):
                yield data


class Upstream:
    """Elasticsearch, as the proxy sees it.

    Parameters
    ----------
    url : str
        ``http(s)://host:port/prefix``; credentials in it are not used: requests carry the
        caller's own.
    connect_timeout_s, read_timeout_s : float
        Seconds.
    max_connections : int
        Idle connections that are kept.
    ca_certs : str, optional
        File of the authority that signed the server's certificate; always verified.

    Raises
    ------
    ConfigError
    """

    def __init__(
        self,
        url: str,
        *,
        connect_timeout_s: float = 2.0,
        read_timeout_s: float = 90.0,
        max_connections: int = 32,
        ca_certs: str | None = None,
    ) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            expected = "an address such as http://127.0.0.1:9200"
            raise ConfigError("SIDECAR_ELASTICSEARCH_URL", "***", expected)
        self._host = parts.hostname
        self._port = port or (443 if parts.scheme == "https" else 80)
        self.prefix = parts.path.rstrip("/")
        name = f"[{self._host}]" if ":" in self._host else self._host
        self.host_header = f"{name}:{self._port}"
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=ca_certs)
            except OSError as error:
                raise ConfigError(
                    "ca_certs", ca_certs, f"a file of certificates ({error})"
                ) from None
        self._connect_timeout_s = connect_timeout_s
        self._read_timeout_s = read_timeout_s
        # A deque's append and pop are atomic. Last in, first out: the rest can grow old.
        self._idle: deque[Connection] = deque(maxlen=max_connections)

    def request(
        self,
        method: str,
        uri: str,
        headers: list[tuple[str, str]],
        body: bytes | Iterable[bytes] = b"",
        *,
        repeatable: bool = False,
    ) -> Answer:
        """Send one request and read the head of its answer.

        Parameters
        ----------
        method, uri : str
            ``uri`` as it goes over the wire, beginning with a slash.
        headers : list[tuple[str, str]]
            With Host and with what frames the body; names and values in Latin-1.
        body : bytes or Iterable[bytes]
            Already framed; an iterable is sent piece by piece.
        repeatable : bool
            Whether the request may be sent again when a kept connection turns out to be dead.

        Raises
        ------
        UpstreamTimeout
        UnreachableError
        """
        lines = [f"{method} {self.prefix}{uri} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers]
        lines.append("\r\n")
        head = "\r\n".join(lines).encode("latin-1")
        fresh = False
        while True:
            connection = self._connect() if fresh else self._take()
            try:
                return self._exchange(connection, method, head, body)
            except TimeoutError:
                connection.close()
                raise UpstreamTimeout("Elasticsearch did not answer in time") from None
            except (BadAnswer, OSError) as error:
                connection.close()
                # Nothing came back on a kept connection: it was closed under our hands.
                dead = (
                    connection.used
                    and not connection.buffer
                    and not isinstance(error, ssl.SSLError)
                )
                if dead and repeatable and isinstance(body, bytes) and not fresh:
                    fresh = True
                    continue
                raise UnreachableError(f"Elasticsearch did not answer: {error}") from None
            except BaseException:
                connection.close()
                raise

    def _exchange(
        self, connection: Connection, method: str, head: bytes, body: bytes | Iterable[bytes]
    ) -> Answer:
        sock = connection.sock
        try:
            if isinstance(body, bytes):
                if len(body) <= _PIECE:
                    sock.sendall(head + body)
                else:
                    sock.sendall(head)
                    sock.sendall(body)
            else:
                sock.sendall(head)
                for piece in body:
                    sock.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            # It may have answered before it had read everything: 413, for one.
            answer = self._head(connection, method)
            return Answer(self, connection, answer._replace(reusable=False))
        return Answer(self, connection, self._head(connection, method))

    def _head(self, connection: Connection, method: str) -> Head:
        while True:
            head = parse_head(connection.until(b"\r\n\r\n", MAX_HEAD), method)
            if head.status >= 200:
                return head
            if head.status == 101:
                raise BadAnswer("switching protocols")

    def _take(self) -> Connection:
        now = time.monotonic()
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:
                break
            if not connection.is_stale(now):
                connection.used = True
                return connection
            connection.close()
        return self._connect()

    def _connect(self) -> Connection:
        try:
            sock = socket.create_connection((self._host, self._port), self._connect_timeout_s)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_hostname=self._host)
            sock.settimeout(self._read_timeout_s)
        except OSError as error:
            raise UnreachableError(f"Elasticsearch is not reachable: {error}") from None
        return Connection(sock)

    def put_back(self, connection: Connection) -> None:
        """Keep a connection for the next request."""
        connection.idle_since = time.monotonic()
        if len(self._idle) == self._idle.maxlen:
            connection.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    def __del__(self) -> None:
        # What made it may be gone without a word; kept sockets should not outlive it.
        if hasattr(self, "_idle"):
            self.close()
