"""The demo's course: servers, catalogue, set-up, serving, events, the same searches again."""

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
from sidecar.contract.vectors import read_vectors
from sidecar.demo import show
from sidecar.elastic.indices import setup_products, setup_users
from sidecar.elastic.users import Users
from sidecar.elastic.vectors import load_vectors
from sidecar.embedded import catalogue
from sidecar.embedded.load import load_catalogue
from sidecar.embedded.process import Child, free_port, listening, note_child, program
from sidecar.embedded.queue import create_queue
from sidecar.embedded.servers import AWS_ENVIRONMENT, CHILDREN, Servers, running
from sidecar.updates.consumer import Timing
from sidecar.updates.publish import send_events
from sidecar.updates.sqs import Queue

INDEX = "products"
#: A household that went for soft drinks and crisps that day: easy to recognise in a ranking.
HOUSEHOLD, DAY = "1736", "2017-06-02"
#: More hits than are shown, so that rank changes are known.
SIZE = 100
SEARCHES: Mapping[str, Mapping[str, Any]] = {
    "Browsing everything: no query, no sort": {"query": {"match_all": {}}},
    'Searching for "snacks"': {
        "query": {"multi_match": {"query": "snacks", "fields": ["name", "category"]}}
    },
}
#: What everybody sees who has no vector: the most bought first, then the newest.
FALLBACK_SORT = [{"popularity": "desc"}, {"created_at": "desc"}]
#: Seconds to wait for the household's vector before something must be wrong.
PATIENCE_S = 60.0
#: Seconds between two of the household's events.
PAUSE_S = 0.1

Say = Callable[[str], None]


@dataclass(frozen=True)
class Answer:
    """What a search through the sidecar brought: hits, and what the sidecar did."""

    hits: Sequence[Mapping[str, Any]]
    action: str
    reason: str


def demo(*, data: Path, once: bool, listen: str | None, say: Say) -> None:
    """Run it.

    Parameters
    ----------
    data : Path
        Folder for the embedded servers.
    once : bool
        Stop at the end instead of staying up.
    listen : str, optional
        ``host:port`` of the sidecar.
    say : Callable[[str], None]
        Takes each line.

    Raises
    ------
    ConfigError, UnreachableError, RefusedError
        One clear line; everything that was started is stopped.
    """
    # A polite kill must unwind like Ctrl-C, or the servers would be left behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()

    def step(text: str) -> None:
        say(f"[{time.monotonic() - started:5.1f} s] {text}")

    with ExitStack() as stack:
        address = _address(listen)
        servers = stack.enter_context(running(data))
        step("local Elasticsearch and SQS are up (noida-db, MiniStack)")
        settings = _settings(servers, address)
        products = catalogue.load_products()
        _fill(settings, products, step)
        base = _serve(settings, servers, address, data, stack)
        step(f"the sidecar serves at {base}")
        by_id = {product["product_id"]: product for product in products}
        household = catalogue.load_household(HOUSEHOLD, DAY, set(by_id))
        before = {name: _search(base, body) for name, body in SEARCHES.items()}
        timings = _send(settings, household, stack, step)
        after = {name: _search(base, body) for name, body in SEARCHES.items()}
        _report(household, by_id, before, after, timings, say)
        _next_steps(base, settings, once, say)
        if not once:
            while True:
                time.sleep(3600)


def _settings(servers: Servers, address: str) -> config.Config:
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
    settings: config.Config, products: Sequence[Mapping[str, Any]], step: Callable[[str], None]
) -> None:
    with compose.elasticsearch(settings) as client:
        index = settings.search.product_indices
        loaded = load_catalogue(client, INDEX, products)
        step(f"{len(products)} products {'loaded' if loaded else 'are still there'}")
        steps = setup_products(client, index, resources.mapping("products"))
        steps.append(setup_users(client, settings.service.users_index, resources.mapping("users")))
        if loaded or any(one.changed for one in steps):
            done = load_vectors(client, index, read_vectors(catalogue.VECTORS))
            step(f"{done.written} of them have their MiniLM vector")
        # A second run starts with a shopper whom nobody knows, like the first.
        Users(client, settings.service.users_index).delete(HOUSEHOLD)


def _serve(
    settings: config.Config, servers: Servers, address: str, data: Path, stack: ExitStack
) -> str:
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


def _search(base: str, body: Mapping[str, Any]) -> Answer:
    request = urllib.request.Request(  # noqa: S310
        f"{base}/{INDEX}/_search",
        data=json.dumps({**body, "size": SIZE}).encode(),
        headers={"Content-Type": "application/json", "X-Customer-Id": HOUSEHOLD},
        method="POST",
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310
            hits = json.load(answer)["hits"]["hits"]
            headers = answer.headers
    except urllib.error.HTTPError as error:
        raise RefusedError(
            f"searching through {base}: {error.code} {error.read()[:200]!r}"
        ) from None
    except OSError as error:
        raise UnreachableError(f"searching through {base}: {error}") from None
    return Answer(hits, headers["X-Sidecar-Action"], headers["X-Sidecar-Reason"])


def _send(
    settings: config.Config,
    household: catalogue.Household,
    stack: ExitStack,
    step: Callable[[str], None],
) -> list[Timing]:
    """Purchases as messages on the queue; back when all of them are in the stored history."""
    timings: list[Timing] = []
    stop = threading.Event()
    parts = compose.update_parts(settings, stack)
    consumer = compose.consumer(settings, parts, on_stored=timings.append)
    thread = threading.Thread(target=consumer.run, args=(stop,), name="consumer")
    thread.start()
    stack.callback(thread.join)
    stack.callback(stop.set)
    step("the consumer polls the queue")
    queue = Queue(settings.service.sqs_queue_url)
    # Moved in time, so that the last purchase happens now.
    shift = time.time() - household.purchases[-1].at
    for position, purchase in enumerate(household.purchases):
        event = {
            # Lines of one basket share their time: the id keeps them in the order of the data.
            "event_id": f"{household.customer_id}-{DAY}-{position:03}",
            "customer_id": household.customer_id,
            "product_id": purchase.product_id,
            "event_name": "product_purchased",
            "timestamp": purchase.at + shift,
        }
        sent = send_events(queue, [event], parts.vocabulary)
        if sent[0].message_id is None:
            raise RefusedError(f"sending an event: {sent[0].detail}")
        # One by one, as a shopper's events come: so each message has a time of its own.
        time.sleep(PAUSE_S)
    step(f"{len(household.purchases)} purchases of household {HOUSEHOLD} went through SQS")
    deadline = time.monotonic() + PATIENCE_S
    while len(timings) < len(household.purchases):
        if not thread.is_alive() or time.monotonic() > deadline:
            raise UnreachableError(
                f"{len(timings)} of {len(household.purchases)} messages were stored after "
                f"{PATIENCE_S:.0f} s: {consumer.status()}"
            )
        time.sleep(0.01)
    return timings


def _report(
    household: catalogue.Household,
    by_id: Mapping[str, Mapping[str, Any]],
    before: Mapping[str, Answer],
    after: Mapping[str, Answer],
    timings: Sequence[Timing],
    say: Say,
) -> None:
    bought = [by_id[purchase.product_id] for purchase in household.purchases]
    wanted = {product["category"] for product in bought}
    say(show.title(f"What household {HOUSEHOLD} bought (public retail data, called simulated)"))
    for line in show.history_lines(bought):
        say(line)
    for name, old in before.items():
        new = after[name]
        for line in show.comparison(name, old.hits, new.hits, new.action, new.reason):
            say(line)
        counts = [show.categories(hits, wanted) for hits in (old.hits, new.hits)]
        say(
            f"of these {show.TOP}, from the categories that the household bought from: "
            f"{counts[0]} before, {counts[1]} after"
        )
        if new.action != "rewritten":
            raise RefusedError(f"{name}: the search was not personalised ({new.reason})")
    say("")
    say(show.latency_line([(t.stored_at - t.received_at) / 1000 for t in timings]))


def _next_steps(base: str, settings: config.Config, once: bool, say: Say) -> None:
    body = '{"query": {"match": {"category": "snacks"}}, "_source": ["name", "price"]}'
    say(show.title("Try next"))
    say(f"The inspector: {base}/_sidecar/ui/shopper?id={HOUSEHOLD} (history, shares, both orders)")
    say("The household's own search (leave the first header out to see anybody else's):")
    say(f"  curl -s '{base}/{INDEX}/_search?pretty' -H 'X-Customer-Id: {HOUSEHOLD}' \\")
    say(f"    -H 'Content-Type: application/json' -d '{body}'")
    if once:
        say("Without --once the servers stay up, and that line works when pasted.")
    else:
        say("Ctrl-C stops everything.")
