"""The server as a process: it stops politely, streams, and is not held up by the slow."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request as HttpRequest
from urllib.request import urlopen

import pytest

from sidecar.embedded.process import free_port

from .conftest import RUNNER, sidecar
from .stub import Cut, Request, Stub, answer


@pytest.fixture
def process(stub: Stub) -> Iterator[tuple[subprocess.Popen[str], str]]:
    listen = f"127.0.0.1:{free_port()}"
    told = json.dumps({"url": stub.url, "listen": listen})
    command = [sys.executable, str(RUNNER), told]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child, f"http://{listen}"
        child.kill()


def test_sigterm_lets_open_requests_finish(
    stub: Stub, process: tuple[subprocess.Popen[str], str]
) -> None:
    child, address = process
    arrived, go = threading.Event(), threading.Event()

    def respond(request: Request) -> bytes:
        arrived.set()
        go.wait(20)
        return answer(b"late")

    stub.respond = respond
    got: list[bytes] = []
    client = threading.Thread(target=lambda: got.append(urlopen(address + "/x").read()))
    client.start()
    assert arrived.wait(20)
    child.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    go.set()
    client.join(20)
    assert got == [b"late"]
    assert child.wait(20) == 0


def test_slow_clients_hold_up_nobody(stub: Stub) -> None:
    stub.respond = lambda request: answer(b"ok")
    with sidecar(stub.url, threads=2) as address:
        parts = urlsplit(address)
        idle = [socket.create_connection((parts.hostname, parts.port)) for _ in range(20)]
        # Connections that send nothing wait without a thread, after a while at most.
        assert urlopen(address + "/x", timeout=60).read() == b"ok"
        for sock in idle:
            sock.close()


def test_half_a_head_holds_a_thread_for_seconds_and_not_for_a_minute(stub: Stub) -> None:
    stub.respond = lambda request: answer(b"ok")
    with sidecar(stub.url, threads=2) as address:
        parts = urlsplit(address)
        stuck = [socket.create_connection((parts.hostname, parts.port)) for _ in range(4)]
        for sock in stuck:
            sock.sendall(b"GET /x HT")
        # Two at a time, five seconds each; with the patience of bodies it would be two minutes.
        assert urlopen(address + "/x", timeout=50).read() == b"ok"
        for sock in stuck:
            assert sock.recv(10) == b""
            sock.close()


def resident_mb(pid: int) -> float:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    peaks = []
    for one in (str(pid), *children):
        status = Path(f"/proc/{one}/status").read_text()
        peaks.append(int(status.split("VmHWM:")[1].split()[0]) / 1024)
    return max(peaks)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_large_bodies_pass_with_bounded_memory(
    stub: Stub, process: tuple[subprocess.Popen[str], str]
) -> None:
    child, address = process
    big = b"x" * 100_000_000
    stub.respond = lambda request: answer(big if "/big" in request.line else b"{}")
    urlopen(address + "/warm").read()
    before = resident_mb(child.pid)
    urlopen(HttpRequest(address + "/_bulk", data=big, method="POST")).read()
    assert stub.requests[-1].body == big
    assert urlopen(address + "/big").read() == big
    search = HttpRequest(
        address + "/products/_search", data=big, headers={"Content-Type": "application/json"}
    )
    got = urlopen(search)
    assert got.headers["X-Sidecar-Reason"] == "body_too_large"
    assert resident_mb(child.pid) < before + 20


def test_a_client_that_leaves_in_the_middle_sends_nothing_whole(
    stub: Stub, process: tuple[subprocess.Popen[str], str]
) -> None:
    _, address = process
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        sock.sendall(
            b"POST /_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: 200000\r\n\r\n" + b"y" * 100_000
        )
    deadline = time.monotonic() + 20
    while not stub.requests and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(len(seen.body) < 200_000 for seen in stub.requests)


def test_a_client_that_leaves_costs_the_connection_and_nothing_else(
    stub: Stub, process: tuple[subprocess.Popen[str], str]
) -> None:
    _, address = process
    stub.respond = lambda request: answer(b"z" * 50_000_000)
    parts = urlsplit(address)
    for _ in range(3):
        with socket.create_connection((parts.hostname, parts.port)) as sock:
            sock.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.recv(1000)
    stub.respond = lambda request: answer(b"ok")
    assert urlopen(address + "/x", timeout=60).read() == b"ok"


def test_a_kept_connection_that_was_closed_is_replaced(
    stub: Stub, process: tuple[subprocess.Popen[str], str]
) -> None:
    _, address = process

    def once(request: Request) -> bytes:
        raise Cut(answer(b"first"))

    for respond, expected in ((once, b"first"), (once, b"first"), (lambda r: answer(b"ok"), b"ok")):
        stub.respond = respond
        post = HttpRequest(address + "/x/_doc", data=b"{}", method="POST")
        assert urlopen(post).read() == expected
        time.sleep(0.1)
