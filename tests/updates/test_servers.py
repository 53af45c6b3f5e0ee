"""The whole path on real servers: queue in, shoppers out."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from elasticsearch import Elasticsearch

from sidecar.contract.events import EventVocabulary
from sidecar.contract.history import HistoryLimits
from sidecar.contract.timestamps import to_iso
from sidecar.elastic.events import events
from sidecar.elastic.indices import setup_users
from sidecar.elastic.products import ProductVectors
from sidecar.elastic.users import User, Users
from sidecar.resources import mapping
from sidecar.updates.backfill import Backfilled, backfill, noted
from sidecar.updates.catch_up import catch_up
from sidecar.updates.consumer import Consumer
from sidecar.updates.envelopes import Outgoing, Received
from sidecar.updates.forget import forget
from sidecar.updates.handler import BatchHandler
from sidecar.updates.prune import prune
from sidecar.updates.publish import send_events
from sidecar.updates.rebuild import rebuild
from sidecar.updates.redrive import replay, show
from sidecar.updates.settings import UpdateSettings
from sidecar.updates.sqs import Queue
from updates.fakes import event, message, small_tower
from updates.oracle import PRODUCTS, TOWER, VOCABULARY, oracle, same

if TYPE_CHECKING:
    from updates.conftest import MakeQueue

pytestmark = pytest.mark.servers


@contextmanager
def consuming(
    queue: Queue,
    users: Users,
    products: ProductVectors,
    vocabulary: EventVocabulary = VOCABULARY,
    **settings: Any,
) -> Iterator[Consumer]:
    stop = threading.Event()
    chosen = UpdateSettings(**{"wait_s": 1, "catch_up_s": 0, "backoff_cap_ms": 500, **settings})
    consumer = Consumer(queue, users, products, lambda: TOWER, vocabulary, chosen)
    thread = threading.Thread(target=consumer.run, args=(stop,))
    thread.start()
    try:
        yield consumer
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()


def until(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Generous: a limit for a broken build, not a measure of speed."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"it did not come about in {seconds} s"
        time.sleep(0.02)


def drained(queue: Queue) -> bool:
    found = queue.check()
    kinds = ("", "NotVisible", "Delayed")
    return not any(int(found.get(f"ApproximateNumberOfMessages{kind}", 0)) for kind in kinds)


def everybody(users: Users) -> dict[str, User]:
    users.refresh()
    return {user.customer_id: user for user in users.scan()}


def every_form(count: int, seed: int = 0) -> list[Received]:
    """Events of all forms, with identities."""
    rng = random.Random(seed)
    now = time.time()

    def one(i: int) -> dict[str, object]:
        at = round(now - rng.random() * 100 * 3600, 3)
        return event(f"c{rng.randrange(12)}", f"p{rng.randrange(8)}", event_id=i, timestamp=at)

    bodies: list[object] = []
    for i in range(count):
        form = i % 6
        bodies.append(
            [
                one(i),
                [one(i), one(i + 10_000)],
                {"Type": "Notification", "Message": json.dumps(one(i))},
                {"detail-type": "event", "source": "app", "detail": {"events": [one(i)]}},
                one(i) | {"product_id": None, "items": [{"item_id": f"p{k}"} for k in range(3)]},
                {"event_name": "user_merged", "customer_id": "c1", "previous_id": f"c{2 + i % 3}"},
            ][form]
        )
    return [message(body, f"m{i}", int(now * 1e6)) for i, body in enumerate(bodies)]


@pytest.mark.parametrize("name", ["events", "events.fifo"])
def test_every_form_in_any_order(
    name: str, make_queue: MakeQueue, users: Users, catalogue: ProductVectors
) -> None:
    queue = make_queue(name)
    sent = every_form(240)
    twice = sent + sent[::5]
    random.Random(2).shuffle(twice)
    queue.send(Outgoing(one.body, group=f"g{i % 7}", dedup=f"d{i}") for i, one in enumerate(twice))
    with consuming(queue, users, catalogue):
        until(lambda: drained(queue))
    same(everybody(users), oracle(sent), exact=False)


def test_messages_without_identity_or_time_have_the_queues(
    make_queue: MakeQueue, users: Users, catalogue: ProductVectors
) -> None:
    queue = make_queue("events")
    sent = send_events(queue, [event("c", "p1")] * 3, VOCABULARY)
    with consuming(queue, users, catalogue):
        until(lambda: drained(queue))
    history = everybody(users)["c"].history
    assert {i.event_id for i in history} == {one.message_id for one in sent}
    assert all(i.occurred_at == i.received_at for i in history)


def test_dead_letters_are_shown_and_replayed_once_their_reason_is_gone(
    make_queue: MakeQueue, users: Users, catalogue: ProductVectors
) -> None:
    queue = make_queue("events", dead_after=5)
    dead = queue.dead_letter_queue()
    assert dead is not None
    bodies = [json.dumps(event("c", "p1", "gekauft", event_id="b")), "{", json.dumps(event("c"))]
    queue.send(Outgoing(one) for one in bodies)
    with consuming(queue, users, catalogue, dead_letter_url=dead.url):
        until(lambda: drained(queue))
    letters = sorted(show(dead), key=lambda one: one.reason)
    assert [one.reason for one in letters] == ["not_json", "unknown_event"]
    assert [one.body for one in letters] == ["{", bodies[0]]
    assert "gekauft" in letters[1].detail
    assert len(show(dead)) == 2  # looking takes nothing away

    assert replay(dead, queue, VOCABULARY).sent == 0
    german = VOCABULARY.with_aliases({"gekauft": "product_purchased"})
    assert replay(dead, queue, german, reasons={"not_json"}).sent == 0
    done = replay(dead, queue, german)
    assert (done.sent, done.left) == (1, 1)
    with consuming(queue, users, catalogue, german):
        until(lambda: drained(queue))
    assert {i.event for i in everybody(users)["c"].history} == {
        "product_clicked",
        "product_purchased",
    }


def test_a_letter_that_had_been_stored_does_not_count_twice(
    make_queue: MakeQueue, users: Users, catalogue: ProductVectors
) -> None:
    queue = make_queue("events", dead_after=1)
    dead = queue.dead_letter_queue()
    assert dead is not None
    queue.send([Outgoing(json.dumps(event("c", "p1")))])
    # Stored, but never deleted: the redrive policy makes it a dead letter.
    (first,) = queue.receive(wait_s=1, visibility_s=60)
    with consuming(queue, users, catalogue) as consumer:
        assert consumer._handler.handle([first]).stored
        queue.hide([first], 0)
        until(lambda: bool(show(dead)))
        assert show(dead)[0].reason == "redrive_policy"
        assert replay(dead, queue, VOCABULARY).sent == 1
        until(lambda: drained(queue))
    assert len(everybody(users)["c"].history) == 1


def test_an_index_that_is_missing_is_waited_for(
    make_queue: MakeQueue, client: Elasticsearch, unique: str, catalogue: ProductVectors
) -> None:
    queue = make_queue("events")
    users = Users(client, f"{unique}-users")
    send_events(queue, [event("c", "p1")], VOCABULARY)
    with consuming(queue, users, catalogue) as consumer:
        until(lambda: not consumer.status().ready)
        assert "users" in consumer.status().why
        # Not made by the write itself, with whatever mapping the server guesses.
        assert not client.indices.exists(index=users.index)
        setup_users(client, users.index, mapping("users"))
        until(lambda: drained(queue))
        assert consumer.status().ready
    assert everybody(users).keys() == {"c"}


def test_forgotten_shoppers_and_those_who_were_them(
    make_queue: MakeQueue, users: Users, catalogue: ProductVectors
) -> None:
    queue = make_queue("events")
    merged = {"event_name": "user_merged", "customer_id": "known", "previous_id": "before"}
    send_events(queue, [event("before", "p1"), event("known", "p2"), merged], VOCABULARY)
    with consuming(queue, users, catalogue):
        until(lambda: drained(queue))
        assert len(everybody(users)["known"].history) == 2
        send_events(queue, [event("known", "p3")], VOCABULARY)
        time.sleep(0.01)
        assert forget(users, "known") is True
        until(lambda: drained(queue))
        left = everybody(users)
        assert all(not left[one].history and left[one].vector is None for one in left)
        send_events(queue, [event("known", "p4")], VOCABULARY)
        until(lambda: len(everybody(users)["known"].history) == 1)


def test_prune_rebuild_and_late_products(
    make_queue: MakeQueue,
    users: Users,
    catalogue: ProductVectors,
    client: Elasticsearch,
    unique: str,
) -> None:
    from updates.conftest import put_product

    queue = make_queue("events")
    old = event("old", "p1", timestamp=time.time() - 50 * 3600)
    send_events(queue, [old, event("new", "p1"), event("late", "p9")], VOCABULARY)
    with consuming(queue, users, catalogue, catch_up_s=0.5):
        until(lambda: drained(queue))
        assert everybody(users)["late"].waiting_for == ("p9",)
        put_product(client, unique, "p9", PRODUCTS.vectors["p1"])
        until(lambda: everybody(users)["late"].vector is not None)
    assert catch_up(users, catalogue, lambda: TOWER) == 0
    assert prune(users, HistoryLimits()).deleted == 1
    assert everybody(users).keys() == {"new", "late"}
    other = small_tower(seed=1)
    done = rebuild(users, catalogue, lambda: other)
    assert (done.written, done.finished) == (2, True)
    assert {user.weights for user in everybody(users).values()} == {other.weights.fingerprint}
    assert rebuild(users, catalogue, lambda: other).written == 0


def test_an_index_of_events_is_replayed_and_gone_on_with(
    users: Users, catalogue: ProductVectors, client: Elasticsearch, unique: str, tmp_path: Path
) -> None:
    index = f"{unique}-events"
    fields = {"at": {"type": "date"}, "event_name": {"type": "keyword"}}
    client.indices.create(index=index, mappings={"properties": fields, "dynamic": False})
    start = time.time() - 20_000
    operations: list[dict[str, Any]] = []
    for i in range(2500):
        at = to_iso(int((start + i) * 1e6))[:23] + "Z"
        operations += [{"index": {"_id": f"e{i}"}}, event(f"c{i % 9}", f"p{i % 8}", at=at)]
    client.bulk(index=index, operations=operations, refresh=True)
    handler = BatchHandler(users, catalogue, lambda: TOWER, VOCABULARY)
    note = tmp_path / "note.json"
    stop = threading.Event()

    def progress(done: Backfilled) -> None:
        if done.lines >= 1000:
            stop.set()

    def run(**more: Any) -> Backfilled:
        since = noted(note, index).reached
        found = events(client, index, since=since, time_field="at")
        return backfill(found, handler, note=note, name=index, skip=False, **more)

    assert not run(stop=stop, progress=progress).finished
    assert noted(note, index).lines == 1000
    done = run()
    assert done.finished
    # The newest one so far is read twice, and counts once.
    assert done.lines == 2501
    history = everybody(users)["c0"].history
    assert [i.event_id for i in history] == [f"e{i}" for i in range(0, 2500, 9)][-5:]
