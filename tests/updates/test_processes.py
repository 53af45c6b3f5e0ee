"""Real processes: SIGTERM, SIGKILL, servers that go away and come back."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from elasticsearch import Elasticsearch

from sidecar.elastic.client import connect
from sidecar.elastic.indices import setup_users
from sidecar.elastic.products import ProductVectors
from sidecar.elastic.users import Users
from sidecar.embedded.process import free_port
from sidecar.embedded.servers import start_elasticsearch
from sidecar.resources import mapping
from sidecar.updates.envelopes import Outgoing, Received
from sidecar.updates.sqs import Queue
from updates.fakes import event, message
from updates.oracle import oracle, same

if TYPE_CHECKING:
    from updates.conftest import MakeQueue

pytestmark = pytest.mark.servers


def events(count: int, seed: int = 0) -> list[Received]:
    """Events with identities, each sent by the app exactly as the oracle reads it.

    Three for each shopper: no history is so long that its limit would hide a lost event.
    """
    rng = random.Random(seed)
    now = time.time()
    return [
        message(
            event(
                f"c{i % (count // 3)}",
                f"p{rng.randrange(8)}",
                event_id=f"e{i}",
                timestamp=round(now - rng.random() * 86_400, 3),
            ),
            f"m{i}",
            int(now * 1e6),
        )
        for i in range(count)
    ]


@contextmanager
def process(*addresses: str) -> Iterator[subprocess.Popen[bytes]]:
    script = Path(__file__).with_name("consume_process.py")
    command = [sys.executable, str(script), *addresses]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        try:
            # Where the queue is empty already, it would be stopped before it minds signals.
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            yield child
        finally:
            child.kill()


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Generous: a limit for a broken build, not a measure of speed."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not come about in {seconds} s"
        time.sleep(0.05)


def waiting(queue: Queue) -> tuple[int, int]:
    found = queue.check()
    kinds = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")
    return int(found[kinds[0]]), int(found[kinds[1]])


def stored(users: Users) -> int:
    users.refresh()
    return sum(len(user.history) for user in users.scan())


def everybody(users: Users) -> dict[str, object]:
    users.refresh()
    return {user.customer_id: user for user in users.scan()}


def test_sigterm_finishes_the_batch_and_hands_the_rest_back(
    make_queue: MakeQueue,
    users: Users,
    catalogue: ProductVectors,
    elasticsearch_url: str,
    sqs_endpoint: str,
    unique: str,
) -> None:
    queue = make_queue("events")
    sent = events(900)
    queue.send(Outgoing(one.body) for one in sent)
    addresses = (elasticsearch_url, sqs_endpoint, queue.url, unique)
    with process(*addresses) as child:
        until(lambda: stored(users) > 0)
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
    visible, hidden = waiting(queue)
    # Nothing is left hidden: another consumer can go on at once.
    assert hidden == 0
    # Stored, and not deleted in time: such a message is counted twice here, and once in the end.
    assert stored(users) + visible >= 900
    with process(*addresses) as child:
        until(lambda: waiting(queue) == (0, 0))
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
    same(everybody(users), oracle(sent), exact=False)  # type: ignore[arg-type]


def test_kills_lose_nothing_and_double_nothing(
    make_queue: MakeQueue,
    users: Users,
    catalogue: ProductVectors,
    elasticsearch_url: str,
    sqs_endpoint: str,
    unique: str,
) -> None:
    queue = make_queue("events")
    sent = events(600)
    twice = sent + sent[:90]
    random.Random(1).shuffle(twice)
    queue.send(Outgoing(one.body) for one in twice)
    addresses = (elasticsearch_url, sqs_endpoint, queue.url, unique)
    for _ in range(3):
        before = stored(users)
        with process(*addresses) as child:
            until(lambda before=before: stored(users) > before or waiting(queue) == (0, 0))  # type: ignore[misc]
            child.kill()
    with process(*addresses) as child:
        until(lambda: waiting(queue) == (0, 0))
        child.send_signal(signal.SIGTERM)
        assert child.wait(60) == 0
    same(everybody(users), oracle(sent), exact=False)  # type: ignore[arg-type]


def test_elasticsearch_that_restarts_is_waited_for(
    make_queue: MakeQueue, sqs_endpoint: str, tmp_path: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    server = start_elasticsearch(tmp_path, port)
    try:
        with connect(url, timeout_s=30) as client:
            prepare(client)
        queue = make_queue("events")
        sent = events(400)
        queue.send(Outgoing(one.body) for one in sent[:200])
        with process(url, sqs_endpoint, queue.url, "restart") as child:
            until(lambda: waiting(queue)[0] < 200)
            server.stop()
            queue.send(Outgoing(one.body) for one in sent[200:])
            time.sleep(1)
            server = start_elasticsearch(tmp_path, port)
            until(lambda: waiting(queue) == (0, 0))
            child.send_signal(signal.SIGTERM)
            assert child.wait(60) == 0
        with connect(url, timeout_s=30) as client:
            users = Users(client, "restart-users")
            same(everybody(users), oracle(sent), exact=False)  # type: ignore[arg-type]
    finally:
        server.stop()


def prepare(client: Elasticsearch) -> None:
    """Shoppers and products on a server of the test's own."""
    from updates.conftest import put_product
    from updates.oracle import DIMENSION, PRODUCTS

    setup_users(client, "restart-users", mapping("users"))
    body = mapping("products")["mappings"]
    body["properties"]["product_vector"]["dims"] = DIMENSION
    client.indices.create(index="restart-products", mappings=body)
    for one, vector in PRODUCTS.vectors.items():
        put_product(client, "restart", one, vector)


def test_the_process_says_in_one_line_that_the_queue_is_missing(
    make_queue: MakeQueue, elasticsearch_url: str, sqs_endpoint: str
) -> None:
    url = make_queue("events").url + "-not"
    script = Path(__file__).with_name("consume_process.py")
    command = [sys.executable, str(script), elasticsearch_url, sqs_endpoint, url, "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode != 0
    assert "there is no such queue" in done.stderr.strip().splitlines()[-1]
