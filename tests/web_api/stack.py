"""A small shop on real servers: four kinds of products, a tower, the sidecar's own routes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch
from werkzeug.serving import WSGIRequestHandler, make_server

from sidecar import resources
from sidecar.contract.events import EventVocabulary
from sidecar.contract.schema import EMBEDDING_MODEL, Metadata
from sidecar.elastic.activity import recent
from sidecar.elastic.documents import ProductDocuments
from sidecar.elastic.indices import setup_products, setup_users
from sidecar.elastic.products import ProductVectors
from sidecar.elastic.users import Users
from sidecar.embedded.queue import create_queue
from sidecar.search.settings import SearchSettings
from sidecar.tower.load import Tower, check_tower
from sidecar.tower.prior import prior_weights
from sidecar.updates.consumer import Consumer
from sidecar.updates.publish import send_events
from sidecar.updates.settings import UpdateSettings
from sidecar.updates.sqs import Queue
from sidecar.web.app import own_app
from sidecar.web.auth import Guard
from sidecar.web.own import OwnParts, own_blueprints

KINDS = ("shoes", "lamps", "tea", "books")
EACH = 12
VOCABULARY = EventVocabulary()


@cache
def tower() -> Tower:
    """The untrained tower: the weighted recency mean, whose shares are known."""
    return check_tower(prior_weights(Metadata()))


def vector(kind: int, number: int) -> np.ndarray[Any, Any]:
    """Products of a kind lie around one axis, each with a direction of its own."""
    rng = np.random.default_rng(100 * kind + number)
    one = 0.3 * rng.normal(size=384) / 384**0.5
    one[kind] += 1.0
    return (one / np.linalg.norm(one)).astype(np.float32)


def fill(client: Elasticsearch, index: str) -> None:
    """Create the index of products: ``shoes-0`` to ``books-11``, each with its vector."""
    client.indices.create(
        index=index,
        mappings={
            "properties": {
                "name": {"type": "text"},
                "category": {"type": "keyword"},
                "price": {"type": "float"},
                "popularity": {"type": "integer"},
            }
        },
    )
    setup_products(client, [index], resources.mapping("products"))
    operations: list[Any] = []
    for kind, name in enumerate(KINDS):
        for number in range(EACH):
            operations.append({"index": {"_id": f"{name}-{number}"}})
            operations.append(
                {
                    "name": f"{name} <b>number</b> {number}",
                    "category": name,
                    "price": 5.0 + number,
                    "popularity": 10 * kind + number,
                    "product_vector": vector(kind, number).astype(float).round(7).tolist(),
                    "embedding_model": EMBEDDING_MODEL,
                }
            )
    client.bulk(index=index, operations=operations, refresh=True)


@dataclass
class Shop:
    """A running sidecar without its search proxy."""

    url: str
    users: Users
    queue: Queue
    client: Elasticsearch
    index: str
    parts: OwnParts

    def send(self, *events: Mapping[str, Any]) -> None:
        """Events onto the real queue."""
        assert all(one.message_id for one in send_events(self.queue, events, VOCABULARY))

    def wait_for(self, customer_id: str, interactions: int) -> None:
        """Until the consumer has stored so many interactions of a shopper."""
        until(lambda: len(getattr(self.users.get(customer_id), "history", ())) >= interactions)


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition; the bound only keeps a broken test from hanging."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class _Quiet(WSGIRequestHandler):
    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        pass

    def make_environ(self) -> Any:
        return super().make_environ() | {"RAW_URI": self.path}


@contextmanager
def served(app: Any) -> Iterator[str]:
    """A WSGI application on a loopback socket."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def open_shop(
    client: Elasticsearch,
    sqs_endpoint: str,
    prefix: str,
    *,
    guard: Guard | None = None,
    search: Mapping[str, Any] | None = None,
    wrap: Callable[[OwnParts], OwnParts] = lambda parts: parts,
) -> Iterator[Shop]:
    """Index, queue, consumer and the sidecar's own routes, all running."""
    index, users_index = f"{prefix}-products", f"{prefix}-users"
    fill(client, index)
    setup_users(client, users_index, resources.mapping("users"))
    queue = Queue(create_queue(sqs_endpoint, f"{prefix}-events"))
    users = Users(client, users_index)
    vectors = ProductVectors(client, [index], dimension=384)
    settings = SearchSettings(product_indices=(index,), **(search or {}))
    parts = OwnParts(
        users,
        ProductDocuments(client, [index]),
        vectors,
        partial(recent, client, users_index),
        lambda events: send_events(queue, events, VOCABULARY),
        tower,
        settings,
        guard or Guard("", True),
        ready={"elasticsearch": lambda: None},
        queue_counts=queue.check,
    )
    parts = wrap(parts)
    consumer = Consumer(queue, users, vectors, tower, VOCABULARY, UpdateSettings(wait_s=1))
    stop = threading.Event()
    thread = threading.Thread(target=consumer.run, args=(stop,))
    thread.start()
    try:
        with served(own_app(parts.ready, own_blueprints(parts)).wsgi_app) as url:
            yield Shop(url, users, queue, client, index, parts)
    finally:
        stop.set()
        thread.join()


def event(customer_id: str, product_id: str, name: str, **more: Any) -> dict[str, Any]:
    """A message of the three fields, and more."""
    return {"customer_id": customer_id, "product_id": product_id, "event_name": name, **more}


def kinds(hits: Sequence[Mapping[str, Any]]) -> list[str]:
    """The kinds of the products that were found."""
    return [hit["_id"].partition("-")[0] for hit in hits]
