"""One batch: what is stored, what is refused and why, what is to be handed in again."""

from __future__ import annotations

import json

import pytest

from sidecar.contract.errors import RefusedError, UnreachableError
from sidecar.contract.events import EventVocabulary
from sidecar.contract.messages import MAX_EVENTS, REASONS
from sidecar.elastic.users import Outcome, User, Written
from sidecar.updates.batch import MAX_LINKS
from sidecar.updates.envelopes import Received
from sidecar.updates.handler import BatchHandler
from sidecar.updates.metrics import UpdateMetrics
from updates.fakes import START, FakeProducts, FakeUsers, event, message, small_tower

TOWER = small_tower()
DIMENSION = TOWER.weights.metadata.architecture.dimension


@pytest.fixture
def users() -> FakeUsers:
    return FakeUsers()


@pytest.fixture
def products() -> FakeProducts:
    return FakeProducts([f"p{i}" for i in range(6)], DIMENSION)


@pytest.fixture
def handler(users: FakeUsers, products: FakeProducts) -> BatchHandler:
    vocabulary = EventVocabulary().with_aliases({"scrolled": None, "gekauft": "product_purchased"})
    return BatchHandler(users, products, lambda: TOWER, vocabulary, clock=lambda: 1e9)


POISON = {
    "not_json": ["", "{", "customer 1 bought 2", '{"customer_id": NaN}', "\ud800"],
    "wrong_type": [
        "[1]",
        "null",
        "{}",
        json.dumps(event(customer=None)),
        json.dumps(event(customer=True)),
        json.dumps(event(product=[1])),
        json.dumps(event(product=" ")),
        json.dumps({"customer_id": 1, "items": [], "event_name": "purchase"}),
        json.dumps({"event_name": "user_merged", "customer_id": 1}),
    ],
    "unknown_event": [json.dumps(event(name="product_licked"))],
    "bad_timestamp": [json.dumps(event(timestamp="yesterday")), json.dumps(event(timestamp=[]))],
    "future_timestamp": [json.dumps(event(timestamp=(START + 61_000_000) / 1e6))],
    "id_too_long": [json.dumps(event(customer="x" * 513)), json.dumps(event(product=1 << 65))],
    "too_many": [
        json.dumps([event()] * (MAX_EVENTS + 1)),
        json.dumps(
            {
                "customer_id": 1,
                "event_name": "purchase",
                "items": [{"item_id": i} for i in range(201)],
            }
        ),
    ],
}


def test_every_reason_for_poison_has_a_case() -> None:
    assert POISON.keys() == REASONS.keys()


@pytest.mark.parametrize(
    ("reason", "body"), [(reason, body) for reason, bodies in POISON.items() for body in bodies]
)
def test_poison_is_told_apart_and_blocks_nobody(
    reason: str, body: str, handler: BatchHandler, users: FakeUsers
) -> None:
    bad = message(body, "bad")
    good = [message(event("a"), "good-1"), message(event("b"), "good-2")]
    handled = handler.handle([good[0], bad, good[1]])
    assert handled.stored == good
    ((refused, error),) = handled.poison
    assert refused is bad
    assert error.reason == reason
    assert "\n" not in str(error)
    assert users.stored.keys() == {"a", "b"}


def envelope(kind: str, body: object) -> object:
    if kind == "sns":
        return {"Type": "Notification", "MessageId": "n", "Message": json.dumps(body)}
    if kind == "eventbridge":
        return {"detail-type": "event", "source": "firebase", "detail": body}
    return body


@pytest.mark.parametrize("kind", ["plain", "sns", "eventbridge"])
@pytest.mark.parametrize(
    ("body", "count"),
    [
        (event(), 1),
        (event(name="gekauft", timestamp=(START - 5_000_000) // 1000, event_id=7), 1),
        ([event(), event(product="p2")], 2),
        ({"events": [event(), event("d")]}, 2),
        (
            {"customer_id": 1, "event_name": "purchase", "items": [{"item_id": 1}, {"item_id": 2}]},
            2,
        ),
    ],
)
def test_every_form_of_a_message(
    kind: str, body: object, count: int, handler: BatchHandler, users: FakeUsers
) -> None:
    handled = handler.handle([message(envelope(kind, body))])
    assert len(handled.stored) == 1
    assert sum(len(user.history) for user in users.stored.values()) == count


def test_events_mapped_to_nothing_are_done_and_counted(users: FakeUsers) -> None:
    metrics = UpdateMetrics()
    vocabulary = EventVocabulary().with_aliases({"scrolled": None})
    products = FakeProducts([], DIMENSION)
    handler = BatchHandler(users, products, lambda: TOWER, vocabulary, metrics=metrics)
    handled = handler.handle([message(event(name="scrolled")), message(event(name="view_cart"))])
    assert len(handled.stored) == 2
    assert not users.stored
    assert metrics.ignored._value.get() == 2


def test_one_read_and_one_write_for_a_batch(handler: BatchHandler, users: FakeUsers) -> None:
    handler.handle([message(event(f"c{i % 7}"), f"m{i}") for i in range(50)])
    assert users.calls == {"get_many": 1, "put_many": 1}
    assert all(user.updated_at == 10**12 for user in users.stored.values())


def test_a_product_without_a_vector_is_kept_and_counts_later(
    handler: BatchHandler, users: FakeUsers, products: FakeProducts
) -> None:
    handler.handle([message(event("c", "new"), "m1")])
    assert users.stored["c"].vector is None
    assert users.stored["c"].waiting_for == ("new",)
    assert len(users.stored["c"].history) == 1
    products.vectors["new"] = products.vectors["p1"]
    # Even a redelivery of what is known is enough of an occasion.
    handler.handle([message(event("c", "new"), "m1")])
    assert users.stored["c"].vector is not None
    assert users.stored["c"].waiting_for == ()


def test_a_deleted_product_is_skipped(
    handler: BatchHandler, users: FakeUsers, products: FakeProducts
) -> None:
    handler.handle([message(event("c", "p1"), "m1")])
    alone = users.stored["c"].vector
    del products.vectors["p1"]
    handler.handle([message(event("c", "p2"), "m2", START + 1)])
    after = users.stored["c"]
    assert after.waiting_for == ("p1",)
    assert alone is not None
    assert after.vector is not None
    assert not (after.vector == alone).all()


def test_a_conflict_is_read_again_and_merged(handler: BatchHandler, users: FakeUsers) -> None:
    def meanwhile() -> None:
        handler.handle([message(event("c", "p2"), "other")])

    users.before_put = meanwhile
    assert len(handler.handle([message(event("c", "p1"), "own")]).stored) == 1
    assert {i.event_id for i in users.stored["c"].history} == {"own", "other"}


def test_shoppers_that_never_stop_conflicting_are_handed_back(
    handler: BatchHandler, users: FakeUsers
) -> None:
    users.outcomes["c"] = [Written(Outcome.CONFLICT)] * 10
    batch = [message(event("c"), "m1"), message(event("d"), "m2")]
    handled = handler.handle(batch)
    assert handled.again == [batch[0]]
    assert handled.stored == [batch[1]]
    assert handled.fault is None
    assert handler.handle(handled.again).stored == [batch[0]]


def test_an_item_that_elasticsearch_cannot_take_blocks_nobody(
    handler: BatchHandler, users: FakeUsers
) -> None:
    users.outcomes["c"] = [Written(Outcome.REFUSED, "mapper_parsing_exception")]
    batch = [message(event("c"), "m1"), message(event("d"), "m2")]
    handled = handler.handle(batch)
    assert handled.refused == [(batch[0], "mapper_parsing_exception")]
    assert handled.stored == [batch[1]]
    assert not handled.again


@pytest.mark.parametrize("error", [UnreachableError("gone"), RefusedError("403")])
@pytest.mark.parametrize("calls_before", [0, 1])
def test_a_server_that_fails_hands_everything_back(
    error: Exception, calls_before: int, handler: BatchHandler, users: FakeUsers
) -> None:
    batch = [message(event("c"), "m1"), message("{", "m2"), message(event(name="view_cart"), "m3")]
    if calls_before:
        users.before_put = lambda: users.errors.append(error)  # type: ignore[arg-type]
    else:
        users.errors.append(error)  # type: ignore[arg-type]
    handled = handler.handle(batch)
    assert handled.again == [batch[0]]
    assert handled.fault is error
    assert [one for one, _ in handled.poison] == [batch[1]]
    assert handled.stored == [batch[2]]
    assert handler.handle(handled.again).stored == [batch[0]]


def test_a_busy_item_hands_everything_back(handler: BatchHandler, users: FakeUsers) -> None:
    users.outcomes["c"] = [Written(Outcome.RETRY, "es_rejected_execution_exception")]
    batch = [message(event("c"), "m1"), message(event("d"), "m2")]
    handled = handler.handle(batch)
    assert handled.again == batch
    assert "es_rejected" in str(handled.fault)
    assert handler.handle(handled.again).stored == batch
    assert len(users.stored["d"].history) == 1


def test_one_message_for_very_many_shoppers_is_cut_up(
    handler: BatchHandler, users: FakeUsers
) -> None:
    batch = [message([event(f"c{i}-{n}") for i in range(500)], f"m{n}") for n in range(3)]
    assert handler.handle(batch).stored == batch
    assert len(users.stored) == 1500
    assert users.calls["put_many"] == 3


def merge_of(previous: str, customer: str, name: str, sent_at: int = START) -> Received:
    body = {"event_name": "user_merged", "customer_id": customer, "previous_id": previous}
    return message(body, name, sent_at)


def test_a_shopper_who_logs_in_keeps_the_history(handler: BatchHandler, users: FakeUsers) -> None:
    handler.handle([message(event("anonymous", "p1"), "m1")])
    handler.handle([merge_of("anonymous", "known", "m2")])
    # Still on its way when the shopper logged in.
    handler.handle([message(event("anonymous", "p2"), "m3")])
    assert {i.event_id for i in users.stored["known"].history} == {"m1", "m3"}
    assert users.stored["known"].vector is not None
    assert users.stored["anonymous"].merged_into == ("known",)


def test_a_merge_is_stored_with_all_that_it_touches(
    handler: BatchHandler, users: FakeUsers
) -> None:
    handler.handle([message(event("anonymous", "p1"), "m1")])
    users.outcomes["known"] = [Written(Outcome.REFUSED, "no")]
    handled = handler.handle([merge_of("anonymous", "known", "m2")])
    assert not handled.stored
    assert handled.refused
    assert handler.handle([merge_of("anonymous", "known", "m2")]).stored
    assert len(users.stored["known"].history) == 1


def test_a_device_of_everybody_does_not_make_every_event_a_thousand_writes(
    handler: BatchHandler, users: FakeUsers
) -> None:
    handler.handle([message(event("kiosk", "p1"), "m1")])
    handler.handle([merge_of("kiosk", f"c{i}", f"merge-{i}") for i in range(MAX_LINKS)])
    handler.handle([merge_of("kiosk", "one more", "merge-more")])
    assert len(users.stored["one more"].history) == 1
    handler.handle([message(event("kiosk", "p2"), "m2", START + 1)])
    assert len(users.stored["c0"].history) == 2
    assert len(users.stored["one more"].history) == 1
    assert len(users.stored["kiosk"].merged_into) == MAX_LINKS


def test_events_from_before_do_not_bring_a_forgotten_shopper_back(
    handler: BatchHandler, users: FakeUsers
) -> None:
    users.put_many([User("c", forgotten_at=START // 1000)])
    assert handler.handle([message(event("c"), "m1", START)]).stored
    assert users.stored["c"].history == ()
    assert handler.handle([merge_of("c", "d", "m2", START)]).stored
    assert users.stored["c"].merged_into == ()
    handler.handle([message(event("c"), "m3", START + 1000)])
    assert len(users.stored["c"].history) == 1
    assert users.stored["c"].forgotten_at == START // 1000


def test_weights_are_not_exchanged_in_the_middle_of_a_batch(
    users: FakeUsers, products: FakeProducts
) -> None:
    served = [TOWER]
    handler = BatchHandler(users, products, lambda: served[0], EventVocabulary())

    def meanwhile() -> None:
        # New weights, and another consumer that makes one of the two shoppers be read again.
        served[0] = small_tower(seed=1)
        users.stored["b"] = User("b", seq_no=1_000, primary_term=1)

    users.before_put = meanwhile
    handled = handler.handle([message(event("a"), "m1"), message(event("b"), "m2")])
    assert len(handled.stored) == 2
    made_by = {one: user.weights for one, user in users.stored.items()}
    assert made_by == dict.fromkeys("ab", TOWER.weights.fingerprint)


def test_new_weights_are_used_from_the_next_batch_on(
    users: FakeUsers, products: FakeProducts
) -> None:
    served = [TOWER]
    handler = BatchHandler(users, products, lambda: served[0], EventVocabulary())
    handler.handle([message(event(), "m1")])
    served[0] = small_tower(seed=1)
    handler.handle([message(event(), "m1")])
    assert users.stored["c"].weights == served[0].weights.fingerprint
