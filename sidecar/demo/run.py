"""The demo's course: servers, catalogue, set-up, serving, events, the same searches again."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sidecar import compose
from sidecar.contract.errors import RefusedError, UnreachableError
from sidecar.demo import show
from sidecar.demo.shop import INDEX, Answer, Say, Shop, consume, open_shop, stepper
from sidecar.elastic.users import Users
from sidecar.embedded import catalogue
from sidecar.updates.consumer import Timing
from sidecar.updates.publish import send_events
from sidecar.updates.sqs import Queue

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
#: Seconds to wait for the household's vector before something must be wrong.
PATIENCE_S = 60.0
#: Seconds between two of the household's events.
PAUSE_S = 0.1


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
    step = stepper(say)
    with ExitStack() as stack:
        shop = open_shop(data, listen, stack, step)
        # A second run starts with a shopper whom nobody knows, like the first.
        with compose.elasticsearch(shop.settings) as client:
            Users(client, shop.settings.service.users_index).delete(HOUSEHOLD)
        by_id = {product["product_id"]: product for product in shop.products}
        household = catalogue.load_household(HOUSEHOLD, DAY, set(by_id))
        before = _search(shop)
        timings = _send(shop, household, stack, step)
        after = _search(shop)
        _report(household, by_id, before, after, timings, say)
        _next_steps(shop.base, once, say)
        if not once:
            while True:
                time.sleep(3600)


def _search(shop: Shop) -> dict[str, Answer]:
    return {name: shop.search(HOUSEHOLD, {**body, "size": SIZE}) for name, body in SEARCHES.items()}


def _send(shop: Shop, household: catalogue.Household, stack: ExitStack, step: Say) -> list[Timing]:
    """Purchases as messages on the queue; back when all of them are in the stored history."""
    timings: list[Timing] = []
    consuming = consume(shop, stack, timings.append)
    step("the consumer polls the queue")
    queue = Queue(shop.settings.service.sqs_queue_url)
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
        sent = send_events(queue, [event], consuming.parts.vocabulary)
        if sent[0].message_id is None:
            raise RefusedError(f"sending an event: {sent[0].detail}")
        # One by one, as a shopper's events come: so each message has a time of its own.
        time.sleep(PAUSE_S)
    step(f"{len(household.purchases)} purchases of household {HOUSEHOLD} went through SQS")
    deadline = time.monotonic() + PATIENCE_S
    while len(timings) < len(household.purchases):
        if not consuming.thread.is_alive() or time.monotonic() > deadline:
            raise UnreachableError(
                f"{len(timings)} of {len(household.purchases)} messages were stored after "
                f"{PATIENCE_S:.0f} s: {consuming.consumer.status()}"
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


def _next_steps(base: str, once: bool, say: Say) -> None:
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
