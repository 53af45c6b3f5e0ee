"""Kept-alive connections to Elasticsearch, and one request on one of them."""

from __future__ import annotations

import socket
import ssl
import time
from collections import deque
from collections.abc import Iterable
from urllib.parse import urlsplit

from sidecar.contract.errors import ConfigError, UnreachableError
from sidecar.search.answer import Answer
from sidecar.search.connection import PIECE, Connection
from sidecar.search.wire import MAX_HEAD, BadAnswer, Head, parse_head


class UpstreamTimeout(UnreachableError):  # noqa: N818 - as the standard library names its own
    """Elasticsearch took longer than allowed."""


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
                    "SIDECAR_ELASTICSEARCH_CA_CERTS",
                    ca_certs,
                    f"a file of certificates ({error})",
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
                if len(body) <= PIECE:
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
            return Answer(connection, answer._replace(reusable=False), self.put_back)
        return Answer(connection, self._head(connection, method), self.put_back)

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
