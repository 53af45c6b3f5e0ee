"""A stub upstream and a load generator for loopback: small, so that they are not what is measured."""

from __future__ import annotations

import selectors
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress


def stub(port: int, respond: Callable[[bytes, bytes], bytes]) -> None:
    """Answer requests for ever: one thread, one loop. ``respond`` gets request line and body."""
    selector = selectors.DefaultSelector()
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    selector.register(listener, selectors.EVENT_READ)
    waiting: dict[socket.socket, bytes] = {}
    while True:
        for key, _ in selector.select():
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            if sock is listener:
                sock, _address = listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(sock, selectors.EVENT_READ)
                waiting[sock] = b""
                continue
            try:
                data = sock.recv(1 << 20)
            except OSError:
                data = b""
            if not data:
                selector.unregister(sock)
                del waiting[sock]
                sock.close()
                continue
            waiting[sock] += data
            head, found, body = waiting[sock].partition(b"\r\n\r\n")
            if not found:
                continue
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            chunked = b"transfer-encoding: chunked" in head.lower()
            if (chunked and not body.endswith(b"0\r\n\r\n")) or len(body) < length:
                continue
            waiting[sock] = b""
            sock.setblocking(True)
            with suppress(OSError):  # the load ends in the middle of an answer
                sock.sendall(respond(head.split(b"\r\n", 1)[0], body))


def load(port: int, request: bytes, connections: int, seconds: float) -> list[float]:
    """Send one request again and again on each connection.

    Returns
    -------
    list[float]
        Seconds that each took, sorted.
    """
    selector = selectors.DefaultSelector()
    began: dict[socket.socket, float] = {}
    buffers: dict[socket.socket, bytes] = {}
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        selector.register(sock, selectors.EVENT_READ)
        buffers[sock] = b""
        began[sock] = time.perf_counter()
        sock.sendall(request)
    taken = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for key, _ in selector.select(1):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            data = buffers[sock] + sock.recv(1 << 18)
            head, found, body = data.partition(b"\r\n\r\n")
            length = _length(head) if found else 0
            if not found or len(body) < length:
                buffers[sock] = data
                continue
            if not head.startswith(b"HTTP/1.1 200"):
                sys.exit(f"unexpected answer: {head[:300]!r}")
            now = time.perf_counter()
            taken.append(now - began[sock])
            buffers[sock] = b""
            began[sock] = time.perf_counter()
            sock.sendall(request)
    for sock in began:
        sock.close()
    return sorted(taken)


def _length(head: bytes) -> int:
    at = head.lower().find(b"content-length:")
    return int(head[at + 15 :].split(b"\r\n", 1)[0])
