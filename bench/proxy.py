"""What the proxy costs: ``python bench/proxy.py [--seconds 3] [--rounds 3]``.

Direct, through nginx, and through the sidecar (one process on one core), against a stub upstream
on loopback. Client and stub share the other core. Rounds are interleaved, and the best p50 and
throughput of each are kept: what other work on the machine adds is not what is measured.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from loopback import load, stub

BODY = b'{"query":{"match":{"name":"running shoe"}},"size":20}'
HITS = json.dumps(
    {
        "took": 3,
        "timed_out": False,
        "_shards": {"total": 1, "successful": 1, "skipped": 0, "failed": 0},
        "hits": {
            "total": {"value": 20, "relation": "eq"},
            "max_score": 1.0,
            "hits": [
                {"_index": "products", "_id": str(i), "_score": 1.0, "_source": {"name": "x" * 200}}
                for i in range(20)
            ],
        },
    }
).encode()
BIG = b'{"x":"' + b"y" * (10 << 20) + b'"}'


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def answer(body: bytes) -> bytes:
    head = "HTTP/1.1 200 OK\r\nX-Elastic-Product: Elasticsearch\r\nContent-Type: application/json"
    return f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def run_stub(port: int) -> None:
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    vector = np.random.default_rng(0).normal(size=384)
    now = int(time.time() * 1e6)
    click = {"occurred_at": now, "event_id": "e", "product_id": "p", "event": "product_clicked"}
    source = {
        "user_vector": (vector / np.linalg.norm(vector)).round(7).tolist(),
        "interactions": [{**click, "received_at": now}],
        "product_space": "space",
    }
    user = answer(json.dumps({"_id": "c1", "found": True, "_source": source}).encode())
    mapping = {
        "mappings": {"properties": {"product_vector": {"type": "dense_vector", "dims": 384}}}
    }
    mappings, hits, big = (
        answer(json.dumps({"products": mapping}).encode()),
        answer(HITS),
        answer(BIG),
    )

    count = answer(b'{"count":1000}')

    def respond(line: bytes, body: bytes) -> bytes:
        if b"/_doc/" in line:
            return user
        if b"/_mapping" in line:
            return mappings
        if b"/products/_count" in line:
            return count
        if b"_bulk" in line and b'"create"' in body:
            rows = [{"create": {"status": 201}}] * (body.count(b"\n") // 2)
            return answer(json.dumps({"errors": False, "items": rows}).encode())
        return big if b"/big" in line else hits

    stub(port, respond)


def run_sidecar(upstream: int, port: int, cached: bool, logged: bool = False) -> None:
    """One worker on one core, wired as ``sidecar serve`` wires it."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from sidecar import resources
    from sidecar.contract.events import BUSINESS_WEIGHTS
    from sidecar.contract.history import HistoryLimits
    from sidecar.contract.schema import Calibration
    from sidecar.elastic.bulk_log import BulkLog
    from sidecar.elastic.client import connect
    from sidecar.elastic.resolve import Resolver
    from sidecar.elastic.users import Users
    from sidecar.metrics import SearchMetrics
    from sidecar.search.settings import SearchSettings
    from sidecar.search.ubi import UbiSettings
    from sidecar.web.app import create_app
    from sidecar.web.query_log import StoredQueries
    from sidecar.web.search import ServedModel, search_proxy
    from sidecar.web.server import serve

    url = f"http://127.0.0.1:{upstream}"
    client = connect(url)
    settings = SearchSettings(shopper_cache_s=60 if cached else 0, page_ttl_s=0, deadline_ms=1000)
    model = ServedModel("", "space", Calibration(), BUSINESS_WEIGHTS, HistoryLimits())
    log = BulkLog(client, "ubi_queries", resources.mapping("ubi_queries"))
    proxy = search_proxy(
        url,
        Users(client, "sidecar-users"),
        Resolver(client, "product_vector", 384),
        lambda: model,
        settings,
        observer=SearchMetrics(),
        api_key="",
        query_log=StoredQueries(log, UbiSettings(log=True), settings) if logged else None,
    )
    serve(create_app(proxy), f"127.0.0.1:{port}")


@contextmanager
def process(target: Any, *arguments: Any) -> Iterator[int]:
    child = multiprocessing.get_context("spawn").Process(target=target, args=arguments)
    child.start()
    assert child.pid
    try:
        for port in arguments[:2]:
            if not isinstance(port, bool):
                wait(port)
        yield child.pid
    finally:
        os.kill(child.pid, signal.SIGTERM)
        child.join(10)


def wait(port: int) -> None:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    sys.exit(f"nothing listens on port {port}")


@contextmanager
def nginx(upstream: int, port: int) -> Iterator[int]:
    """nginx as a reverse proxy, one worker on the sidecar's core: its id, 0 where it is missing."""
    program = shutil.which("nginx")
    if program is None:
        yield 0
        return
    with tempfile.TemporaryDirectory() as folder:
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        Path(folder, "nginx.conf").write_text(
            f"""worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections 512; }}
http {{ access_log off; {paths} keepalive_requests 100000000;
upstream es {{ server 127.0.0.1:{upstream}; keepalive 32; keepalive_requests 100000000; }}
server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://es;
proxy_http_version 1.1; proxy_set_header Connection ""; }} }} }}"""
        )
        core = str(min(os.sched_getaffinity(0)))
        child = subprocess.Popen(
            [
                "taskset",
                "-c",
                core,
                program,
                "-p",
                folder,
                "-c",
                f"{folder}/nginx.conf",
                "-e",
                f"{folder}/log",
            ]
        )
        wait(port)
        try:
            yield child.pid
        finally:
            child.terminate()
            child.wait()


def request(path: str, body: bytes = b"", customer: str = "") -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", "Accept: */*"]
    lines += [f"Content-Length: {len(body)}"] + ([f"X-Customer-Id: {customer}"] if customer else [])
    return "\r\n".join([*lines, "", ""]).encode() + body


def family(pid: int) -> list[int]:
    """A process and its children."""
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def processor_s(pid: int) -> float:
    """Processor time of a process and its children so far, in seconds; 0 for no process."""
    ticks = 0
    for one in family(pid) if pid else []:
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def check_rewritten(port: int, raw: bytes) -> None:
    """See that what is measured is what is meant."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(raw)
        if b"X-Sidecar-Action: rewritten" not in (got := sock.recv(65_536)):
            sys.exit(f"not rewritten: {got[:400]!r}")


def peak_mb(pid: int) -> float:
    """The highest resident size of a process or one of its children, in megabytes."""
    lines = [Path(f"/proc/{one}/status").read_text() for one in family(pid)]
    return max(int(text.split("VmHWM:")[1].split()[0]) for text in lines) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    told = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))})
    up, front, cold, noting, ngx = (free_port() for _ in range(5))
    with ExitStack() as stack:
        stack.enter_context(process(run_stub, up))
        pid = stack.enter_context(process(run_sidecar, up, front, True))
        cold_pid = stack.enter_context(process(run_sidecar, up, cold, False))
        noting_pid = stack.enter_context(process(run_sidecar, up, noting, True, True))
        nginx_pid = stack.enter_context(nginx(up, ngx))
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        plain, search = request("/logs/_count", BODY), request("/products/_search", BODY, "c1")
        user = b"GET /sidecar-users/_doc/c1 HTTP/1.1\r\n\r\n"
        rows = {"direct": (up, plain, 0)}
        if nginx_pid:
            rows["nginx proxy_pass"] = (ngx, plain, nginx_pid)
        rows |= {
            "sidecar, pass-through": (front, plain, pid),
            "sidecar, rewritten, shopper cached": (front, search, pid),
            "sidecar, rewritten, shopper looked up": (cold, search, cold_pid),
            "sidecar, rewritten, cached, logged": (noting, search, noting_pid),
            "one GET of the shopper, direct": (up, user, 0),
        }
        for port in (front, cold, noting):
            check_rewritten(port, search)
        best: dict[str, list[float]] = {}
        for _ in range(told.rounds):
            for name, (port, raw, proxy_pid) in rows.items():
                one = load(port, raw, 1, told.seconds)
                began = processor_s(proxy_pid)
                many = load(port, raw, 16, told.seconds)
                spent = processor_s(proxy_pid) - began
                figures = [
                    one[len(one) // 2] * 1e3,
                    many[len(many) // 2] * 1e3,
                    -len(many) / told.seconds,
                    spent / len(many) * 1e6,
                ]
                best[name] = list(map(min, figures, best.get(name, figures)))
        base = best["direct"][0]
        print(f"{'':38} p50 ms, 1   added   p50 ms, 16   requests/s, 16   processor µs/request")
        for name, (p50, p50_many, rate, cpu) in best.items():
            print(
                f"{name:38} {p50:9.3f} {p50 - base:7.3f} {p50_many:12.2f} {-rate:16.0f} {cpu:22.0f}"
            )
        before = peak_mb(pid)
        load(front, request("/_bulk", b'{"index":{}}\n' * (20_000_000 // 13)), 1, 1)
        bulk = peak_mb(pid)
        load(front, request("/big"), 1, 1)
        print(
            f"peak memory, MB: {before:.0f}; after 20 MB bulks {bulk:.0f}; after 10 MB answers {peak_mb(pid):.0f}"
        )


if __name__ == "__main__":
    main()
