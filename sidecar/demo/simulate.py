"""A simulated experiment: shoppers of the public data in a real shop, half of them held out.

Servers, queue, consumer, proxy and rankings are real; people are not: see
:mod:`sidecar.demo.behaviour`. It shows how an experiment is run and read, and what the rankings
are worth to shoppers who want what they would have bought anyway.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from sidecar.contract.errors import ConfigError, RefusedError, UnreachableError
from sidecar.demo.behaviour import deeds
from sidecar.demo.shop import Consuming, Say, Shop, consume, open_shop, stepper
from sidecar.embedded.catalogue import VECTORS, load_products
from sidecar.embedded.visits import Visit, load_visits
from sidecar.updates.publish import send_events
from sidecar.updates.sqs import Queue

#: Hits of a page.
PAGE = 12
#: Searches of a visit, besides the first page: one for each kind of product that is wanted.
SEARCHES = 3
#: Visits at a time.
AT_A_TIME = 4
#: Seconds between the purchases that a shopper is known by and the beginning.
BREAK_S = 600.0
#: Seconds to wait for an event's vector before something must be wrong.
PATIENCE_S = 60.0


class Visited(NamedTuple):
    """What a visit left behind.

    Parameters
    ----------
    events : list[dict]
        As they were sent.
    actions : list[str]
        What the sidecar did with each search.
    """

    events: list[dict[str, Any]]
    actions: list[str]


class Simulated(NamedTuple):
    """What a simulation left behind.

    Parameters
    ----------
    began_at : float
        Seconds since 1970-01-01 UTC: what is older made the shoppers known.
    events : int
    actions : Counter[str]
        Searches by what the sidecar did.
    """

    began_at: float
    events: int
    actions: Counter[str]


def simulate(
    *,
    file: Path,
    shoppers: int,
    percent: float,
    salt: str,
    impact: float | None,
    weights: Path | None,
    vectors: Path | None,
    seed: int,
    say: Say,
) -> Simulated:
    """Run it.

    Parameters
    ----------
    file : Path
        Takes all events, as JSON Lines.
    shoppers : int
    percent : float
        Share of them that is held out.
    salt : str
        Of the experiment.
    impact : float, optional
        0 to 100; else the default. With 0 both groups see the same: nothing may show.
    weights, vectors : Path, optional
        Others than those that are shipped: trained on the sales before :data:`FIRST_DAY`
        of :mod:`sidecar.embedded.visits`.
    seed : int
        Draws the shoppers, their days and their luck.
    say : Callable[[str], None]
        Takes each line.

    Raises
    ------
    ConfigError, UnreachableError, RefusedError
    """
    more = {
        "SIDECAR_HOLDOUT_PERCENT": f"{percent:g}",
        "SIDECAR_HOLDOUT_SALT": salt,
        # Simulated shoppers need no time to think: what they did counts in their next search.
        "SIDECAR_SHOPPER_CACHE_S": "0",
    }
    if impact is not None:
        more["SIDECAR_IMPACT"] = f"{impact:g}"
    if weights is not None:
        more["SIDECAR_WEIGHTS"] = str(weights)
    step = stepper(say)
    # What can be wrong with the request is found before anything is started.
    visits = load_visits(shoppers, {one["product_id"] for one in load_products()}, seed)
    with ExitStack() as stack:
        lines = stack.enter_context(_written(file))
        # A folder of its own each time: nobody is known from another run.
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sidecar-experiment-")))
        shop = open_shop(data, None, stack, step, more, vectors or VECTORS)
        consuming = consume(shop, stack)
        queue = Queue(shop.settings.service.sqs_queue_url)
        kinds = {one["product_id"]: one["category"] for one in shop.products}
        began_at = time.time()
        visit = partial(_visit, shop, consuming, queue, kinds, began_at, seed)
        events, actions = 0, Counter[str]()
        pool = stack.enter_context(ThreadPoolExecutor(AT_A_TIME))
        stack.callback(pool.shutdown, cancel_futures=True)
        for number, visited in enumerate(pool.map(visit, visits), 1):
            lines.writelines(f"{json.dumps(one)}\n" for one in visited.events)
            events += len(visited.events)
            actions.update(visited.actions)
            if number % 100 == 0 or number == len(visits):
                step(f"{number} of {len(visits)} shoppers came and went")
    return Simulated(began_at, events, actions)


def _written(file: Path) -> TextIO:
    try:
        return file.open("w", encoding="utf-8")
    except OSError as error:
        raise ConfigError("FILE", str(file), f"a file to write ({error.strerror})") from None


def _visit(
    shop: Shop,
    consuming: Consuming,
    queue: Queue,
    kinds: Mapping[str, str],
    began_at: float,
    seed: int,
    one: Visit,
) -> Visited:
    rng = random.Random(f"{seed} {one.customer_id}")  # noqa: S311 - a simulation
    wanted, done = frozenset(one.later), set[str]()
    visited = Visited([], [])
    names = (f"{one.customer_id}-{place:04}" for place in range(10_000))

    def send(events: Sequence[Mapping[str, Any]]) -> None:
        batch = [{"event_id": next(names), "customer_id": one.customer_id, **e} for e in events]
        _store(consuming, queue, one.customer_id, batch)
        visited.events.extend(batch)

    shift = began_at - BREAK_S - one.before[-1].at
    send(
        [
            {
                "event_name": "product_purchased",
                "product_id": p.product_id,
                "timestamp": p.at + shift,
            }
            for p in one.before
        ]
    )
    # Everybody looks at what they bought last: so everybody is in the report, clicks or not.
    viewed = one.before[-1].product_id
    send([{"event_name": "product_viewed", "product_id": viewed, "timestamp": time.time()}])
    for body in searches(one, kinds):
        answer = shop.search(one.customer_id, body)
        visited.actions.append(answer.action)
        shown = [hit["_id"] for hit in answer.hits]
        send(
            [
                {
                    "event_name": deed.event,
                    "product_id": deed.product_id,
                    "position": deed.position,
                    # One after the other, not all at once.
                    "timestamp": time.time() + place / 1000,
                }
                for place, deed in enumerate(deeds(shown, wanted, done, rng))
            ]
        )
    return visited


def searches(one: Visit, kinds: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """What a shopper asks for: the first page, then by name the kinds of what is wanted.

    As shops do, each search weighs its matches by how popular they are: whoever is held out gets
    a good order too.

    Parameters
    ----------
    one : Visit
    kinds : Mapping[str, str]
        Product to the name of its category.
    """
    yield _by_popularity({"match_all": {}})
    for kind in list(dict.fromkeys(kinds[product] for product in one.later))[:SEARCHES]:
        yield _by_popularity({"multi_match": {"query": kind, "fields": ["name", "category"]}})


def _by_popularity(query: Mapping[str, Any]) -> dict[str, Any]:
    popularity = {"field": "popularity", "modifier": "log1p"}
    scored = {"function_score": {"query": query, "field_value_factor": popularity}}
    return {"query": scored, "size": PAGE, "_source": False}


def _store(
    consuming: Consuming, queue: Queue, customer_id: str, events: Sequence[Mapping[str, Any]]
) -> None:
    """Send events through the queue; back when the last one of them is in the history."""
    if not events:
        return
    for sent in send_events(queue, events, consuming.parts.vocabulary):
        if sent.message_id is None:
            raise RefusedError(f"sending an event: {sent.detail}")
    # More than a history holds cannot all be in it.
    most = consuming.parts.tower_of().weights.metadata.limits.max_interactions
    wanted = {event["event_id"] for event in events[-most:]}
    deadline = time.monotonic() + PATIENCE_S
    while True:
        user = consuming.parts.users.get(customer_id)
        if user is not None and wanted <= {i.event_id for i in user.history}:
            return
        if not consuming.thread.is_alive() or time.monotonic() > deadline:
            raise UnreachableError(
                f"an event of {customer_id} was not stored after {PATIENCE_S:.0f} s: "
                f"{consuming.consumer.status()}"
            )
        time.sleep(0.01)
