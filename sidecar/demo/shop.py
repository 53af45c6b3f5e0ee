"""The demo's shop: local servers, a public catalogue with vectors, and a sidecar in front."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidecar import compose, config, logs, resources
from sidecar.contract.errors import ConfigError, RefusedError, UnreachableError
from sidecar.contract.vectors import VectorFile, read_vectors
from sidecar.elastic.indices import setup_products, setup_users
from sidecar.elastic.vectors import load_vectors
from sidecar.embedded import catalogue
from sidecar.embedded.load import load_catalogue
from sidecar.embedded.process import Child, free_port, listening, note_child, program
from sidecar.embedded.queue import create_queue
from sidecar.embedded.servers import AWS_ENVIRONMENT, CHILDREN, Servers, running
from sidecar.updates.consumer import Consumer, Timing

INDEX = "products"
#: What everybody sees who has no vector: the most bought first, then the newest.
FALLBACK_SORT = [{"popularity": "desc"}, {"created_at": "desc"}]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Answer:
    """What a search through the sidecar brought: hits, and what the sidecar did."""

    hits: Sequence[Mapping[str, Any]]
    action: str
    reason: str


@dataclass(frozen=True)
class Shop:
    """A running shop.

    Parameters
    ----------
    settings : Config
        Of all its processes.
    base : str
        Address of the sidecar.
    products : Sequence[Mapping]
        The catalogue.
    """

    settings: config.Config
    base: str
    products: Sequence[Mapping[str, Any]]

    def search(self, customer_id: str, body: Mapping[str, Any]) -> Answer:
        """Search through the sidecar, as a shopper.

        Raises
        ------
        UnreachableError, RefusedError
        """
        request = urllib.request.Request(  # noqa: S310
            f"{self.base}/{INDEX}/_search",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", "X-Customer-Id": customer_id},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
                hits = json.load(answer)["hits"]["hits"]
                headers = answer.headers
        except urllib.error.HTTPError as error:
            raise RefusedError(
                f"searching through {self.base}: {error.code} {error.read()[:200]!r}"
            ) from None
        except OSError as error:
            raise UnreachableError(f"searching through {self.base}: {error}") from None
        return Answer(hits, headers["X-Sidecar-Action"], headers["X-Sidecar-Reason"])


@dataclass(frozen=True)
class Consuming:
    """A consumer of the shop's queue, in a thread of this process."""

    consumer: Consumer
    parts: compose.UpdateParts
    thread: threading.Thread


def open_shop(
    data: Path,
    listen: str | None,
    stack: ExitStack,
    step: Say,
    more: Mapping[str, str] | None = None,
    vectors: Path = catalogue.VECTORS,
) -> Shop:
    """Start everything but the consumer; the stack stops it.

    Parameters
    ----------
    data : Path
        Folder for the local servers.
    listen : str, optional
        ``host:port`` of the sidecar; else the usual one, or a free port.
    stack : ExitStack
    step : Callable[[str], None]
        Takes a line for each thing that is done.
    more : Mapping[str, str], optional
        Settings besides the demo's own.
    vectors : Path
        File of the products' vectors.

    Raises
    ------
    ConfigError, UnreachableError, RefusedError
    """
    # A polite kill must unwind like Ctrl-C, or the servers would be left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    address = _address(listen)
    servers = stack.enter_context(running(data))
    step("local Elasticsearch and SQS are up (noida-db, MiniStack)")
    settings = _settings(servers, address, more or {})
    products = catalogue.load_products()
    _fill(settings, products, read_vectors(vectors), step)
    base = _serve(address, data, stack)
    step(f"the sidecar serves at {base}")
    return Shop(settings, base, products)


def consume(
    shop: Shop, stack: ExitStack, on_stored: Callable[[Timing], None] | None = None
) -> Consuming:
    """Poll the queue from a thread, until the stack is closed.

    Raises
    ------
    ConfigError, WeightsError
    """
    stop = threading.Event()
    parts = compose.update_parts(shop.settings, stack)
    consumer = compose.consumer(shop.settings, parts, on_stored=on_stored)
    thread = threading.Thread(target=consumer.run, args=(stop,), name="consumer")
    thread.start()
    stack.callback(thread.join)
    stack.callback(stop.set)
    return Consuming(consumer, parts, thread)


def _settings(servers: Servers, address: str, more: Mapping[str, str]) -> config.Config:
    """The settings of the demo's processes, which its own environment must not change."""
    for name in [name for name in os.environ if name.startswith(config.PREFIX)]:
        del os.environ[name]
    os.environ.update(AWS_ENVIRONMENT)
    # Everything shares this machine: a search must be late by more than that to be given up.
    os.environ["SIDECAR_DEADLINE_MS"] = "5000"
    os.environ["SIDECAR_ELASTICSEARCH_URL"] = servers.elasticsearch_url
    # Ctrl-C waits for the poll in hand.
    os.environ["SIDECAR_SQS_WAIT_S"] = "1"
    os.environ["SIDECAR_SQS_QUEUE_URL"] = create_queue(servers.sqs_url, "events")
    os.environ["SIDECAR_LISTEN"] = address
    os.environ["SIDECAR_PRODUCT_INDICES"] = INDEX
    os.environ["SIDECAR_FALLBACK_SORT"] = json.dumps(FALLBACK_SORT)
    os.environ.update(more)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SQS"):
        os.environ.pop(name, None)
    loaded = config.load(os.environ)
    logs.set_up(loaded.service.log_format, "WARNING")
    return loaded


def _address(listen: str | None) -> str:
    if listen is None:
        usual = config.ServiceSettings().listen
        taken = listening(config.listen_address(usual)[1])
        return f"127.0.0.1:{free_port()}" if taken else usual
    host, port = config.listen_address(listen)
    if host not in config.LOOPBACK:
        raise ConfigError("--listen", listen, "a loopback address: the demo has no API key")
    if listening(port):
        raise ConfigError("--listen", listen, "a free port: another program listens on this one")
    return listen


def _fill(
    settings: config.Config,
    products: Sequence[Mapping[str, Any]],
    vectors: VectorFile,
    step: Say,
) -> None:
    with compose.elasticsearch(settings) as client:
        index = settings.search.product_indices
        loaded = load_catalogue(client, INDEX, products)
        step(f"{len(products)} products {'loaded' if loaded else 'are still there'}")
        steps = setup_products(client, index, resources.mapping("products"))
        steps.append(setup_users(client, settings.service.users_index, resources.mapping("users")))
        if loaded or any(one.changed for one in steps):
            done = load_vectors(client, index, vectors)
            step(f"{done.written} of them have their MiniLM vector")


def _serve(address: str, data: Path, stack: ExitStack) -> str:
    child = Child("sidecar serve", [program("sidecar", "demo"), "serve"], {}, data / "serve.log")
    stack.callback(child.stop)
    note_child(data / CHILDREN, child)
    base = f"http://{address}"
    child.wait_until(lambda: _ready(f"{base}/_sidecar/health/ready"))
    return base


def _ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except OSError:
        return False


def stepper(say: Say) -> Say:
    """Lines with the seconds since now in front."""
    started = time.monotonic()
    return lambda text: say(f"[{time.monotonic() - started:5.1f} s] {text}")
