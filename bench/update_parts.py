"""What the benchmarks of the update path share: servers, a catalogue, messages, stand-ins."""

from __future__ import annotations

import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
# They pin numpy's OpenBLAS to another processor's kernels, which is not what users run.
for _pinning in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(_pinning, None)

# First of all: numpy takes as many threads as a running sidecar gives it, which is one.
import sidecar.cli  # noqa: E402, F401, I001
import numpy as np  # noqa: E402

from sidecar.contract.messages import REASONS  # noqa: E402
from sidecar.elastic.client import connect  # noqa: E402
from sidecar.elastic.indices import setup_users  # noqa: E402
from sidecar.elastic.products import ProductVectors  # noqa: E402
from sidecar.elastic.users import Users  # noqa: E402
from sidecar.embedded.queue import create_queue  # noqa: E402
from sidecar.embedded.servers import AWS_ENVIRONMENT, Servers, running  # noqa: E402
from sidecar.resources import mapping  # noqa: E402
from sidecar.tower.load import Tower, check_tower  # noqa: E402
from sidecar.tower.plain import user_tower  # noqa: E402
from sidecar.tower.prior import prior_weights  # noqa: E402
from sidecar.updates.envelopes import Outgoing, Received  # noqa: E402
from sidecar.updates.sqs import Queue  # noqa: E402

USERS, PRODUCTS = "bench-users", "bench-products"
EVENTS = ("product_viewed", "product_clicked", "product_added_to_cart", "product_purchased")
assert REASONS


def leave_nothing_behind() -> None:
    """End with the servers that were started, when told to end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))


@contextmanager
def servers() -> Iterator[Servers]:
    """The embedded servers with an empty folder."""
    os.environ.update(AWS_ENVIRONMENT)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as both:
        yield both


def tower() -> Tower:
    """A tower in the shipped size with every term in use, as after training: the untrained one
    leaves attention and shift out, and costs a tenth."""
    weights, rng = prior_weights(), np.random.default_rng(0)
    used = {
        name: rng.normal(0, 0.05, weights.tower[name].shape).astype(np.float32)
        for name in ("s", "W_out", "b_out", "b_q")
    }
    tensors, golden = {**weights.tower, **used}, weights.golden
    users = user_tower(
        tensors, weights.metadata.architecture,
        golden.products, golden.events, golden.ages, golden.lengths,
    )  # fmt: skip
    return check_tower(replace(weights, tower=tensors, golden=replace(golden, users=users)))


def parts(elasticsearch_url: str, products: int = 1000) -> tuple[Users, ProductVectors]:
    """An index of shoppers and a catalogue of random unit vectors, ready to use."""
    client = connect(elasticsearch_url, timeout_s=30)
    for index in (USERS, PRODUCTS):
        if client.indices.exists(index=index):
            client.indices.delete(index=index)
    setup_users(client, USERS, mapping("users"))
    client.indices.create(index=PRODUCTS, mappings=mapping("products")["mappings"])
    vectors = np.random.default_rng(0).normal(size=(products, 384))
    space = tower().weights.product_space
    for start in range(0, products, 200):
        operations: list[Any] = []
        for i in range(start, min(start + 200, products)):
            document = {"product_vector": vectors[i].round(5).tolist(), "embedding_model": space}
            operations += [{"index": {"_id": f"p{i}"}}, document]
        client.bulk(index=PRODUCTS, operations=operations, refresh=True)
    return opened(elasticsearch_url)


def opened(elasticsearch_url: str) -> tuple[Users, ProductVectors]:
    """The same indices, from another process, with the default time for a request."""
    client = connect(elasticsearch_url)
    return Users(client, USERS), ProductVectors(client, [PRODUCTS], dimension=384)


def queue(sqs_url: str, name: str) -> Queue:
    """A new queue."""
    return Queue(create_queue(sqs_url, f"{name}-{uuid.uuid4().hex[:6]}"))


def bodies(count: int, shoppers: int, products: int = 1000, seed: int = 0) -> list[str]:
    """Events of the last day, each with an identity of its own."""
    rng = random.Random(seed)
    now = time.time()
    return [
        json.dumps(
            {
                "customer_id": f"c{rng.randrange(shoppers)}",
                "product_id": f"p{rng.randrange(products)}",
                "event_name": rng.choice(EVENTS),
                "timestamp": round(now - 86_400 * rng.random(), 3),
                "event_id": f"e{seed}-{i}",
            }
        )
        for i in range(count)
    ]


def fill(target: Queue, texts: Sequence[str]) -> None:
    """Send all of them."""
    left = list(texts)
    while left:
        sent = target.send(Outgoing(text) for text in left[:500])
        left = [text for text, one in zip(left, sent, strict=False) if one is None] + left[500:]


def received(texts: Sequence[str]) -> list[Received]:
    """As if they came from a queue just now."""
    now = time.time_ns() // 1000
    return [Received(uuid.uuid4().hex, text, uuid.uuid4().hex, now, now) for text in texts]


@contextmanager
def feeder(target: Queue, count: int, shoppers: int, ahead: int = 800) -> Iterator[None]:
    """Another process that sends events, and keeps no more than ``ahead`` of them waiting: the
    embedded SQS looks through its whole backlog with each request."""
    command = [sys.executable, __file__, "feed", target.url, str(count), str(shoppers), str(ahead)]
    child = subprocess.Popen(command)
    try:
        yield
    finally:
        child.terminate()
        child.wait()


def feed(url: str, count: str, shoppers: str, ahead: str) -> None:
    """What the feeder runs."""
    target = Queue(url)
    texts = bodies(int(count), int(shoppers))
    for start in range(0, len(texts), 200):
        while int(target.check()["ApproximateNumberOfMessages"]) > int(ahead) - 200:
            time.sleep(0.02)
        fill(target, texts[start : start + 200])


class StubQueue:
    """A queue that costs nothing, to see what boto3 and the embedded SQS cost."""

    url, name, is_fifo = "http://stub/0/stub", "stub", False

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = iter(texts)
        self.deleted = 0

    def check(self) -> dict[str, str]:
        return {}

    def receive(self, *, wait_s: int, visibility_s: int, limit: int = 10) -> list[Received]:
        got = received(list(itertools.islice(self._texts, limit)))
        if not got:
            time.sleep(0.05)
        return got

    def delete(self, messages: Sequence[Received]) -> list[Received]:
        self.deleted += len(messages)
        return []

    def hide(self, messages: Sequence[Received], seconds: int) -> list[Received]:
        return []


@dataclass
class Memory:
    """Resident set of this process, in megabytes (10^6 bytes)."""

    @staticmethod
    def now() -> float:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def binary(pid: int) -> int:
    """The process that works: noida-db's command starts its server as a child."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return binary(int(children[0])) if children else pid


def cpu_of(pid: int) -> float:
    """Seconds of processor that another process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# --- A stub of Elasticsearch: stores the bytes of documents, parses none -----------------------

_DOCS: dict[bytes, tuple[int, bytes]] = {}
_SEQ = itertools.count()


class _Stub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = _bulk(body) if "_bulk" in self.path else _mget(body)
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        pass


def _mget(body: bytes) -> bytes:
    docs = []
    for name in json.loads(body).get("ids", ()):
        seq, source = _DOCS.get(name.encode(), (-1, b""))
        found = b'"_seq_no":%d,"_primary_term":1,"found":true,"_source":%s' % (seq, source)
        docs.append(b'{"_id":"%s",%s}' % (name.encode(), found if source else b'"found":false'))
    return b'{"docs":[%s]}' % b",".join(docs)


def _bulk(body: bytes) -> bytes:
    items = []
    lines = body.split(b"\n")
    for action, source in zip(lines[0::2], lines[1::2], strict=False):
        name = re.search(rb'"_id":"([^"]*)"', action)[1]  # type: ignore[index]
        wanted = re.search(rb'"if_seq_no":(\d+)', action)
        status = 200
        if (wanted and int(wanted[1])) != (_DOCS[name][0] if name in _DOCS else None):
            status = 409
        else:
            # Reads leave the vector out; so does the stub.
            _DOCS[name] = (next(_SEQ), re.sub(rb',"user_vector":\[[^\]]*\]', b"", source))
        items.append(b'{"index":{"_id":"%s","status":%d}}' % (name, status))
    return b'{"errors":false,"items":[%s]}' % b",".join(items)


@contextmanager
def stub_elasticsearch() -> Iterator[tuple[str, int]]:
    """Address and process id of a stub in a process of its own."""
    child = subprocess.Popen([sys.executable, __file__], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    port = child.stdout.readline().strip()
    try:
        yield f"http://127.0.0.1:{port}", child.pid
    finally:
        child.terminate()
        child.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["feed"]:
        feed(*sys.argv[2:])
        sys.exit()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Stub)
    print(server.server_address[1], flush=True)
    server.serve_forever()
