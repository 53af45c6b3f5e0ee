"""The log of events: one row for each accepted interaction, whatever is delivered how often."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.events import BUSINESS_WEIGHTS, EventVocabulary
from sidecar.contract.messages import CustomerEvent, parse_message
from sidecar.elastic.users import Outcome, Written
from sidecar.search.ubi import UbiSettings
from sidecar.updates.envelopes import Received
from sidecar.updates.forget import forget
from sidecar.updates.handler import BatchHandler
from sidecar.updates.ubi import ACTIONS, as_message, event_rows
from updates.fakes import START, FakeProducts, FakeUsers, event, message, small_tower

TOWER = small_tower()
DIMENSION = TOWER.weights.metadata.architecture.dimension
UBI = UbiSettings(log=True)


class Log:
    """The index of events as it would be: what is written first stays."""

    def __init__(self) -> None:
        self.users = FakeUsers()
        self.written = 0
        self.rows: dict[str, dict[str, Any]] = {}
        self.handler = BatchHandler(
            self.users,
            FakeProducts([f"p{i}" for i in range(6)], DIMENSION),
            lambda: TOWER,
            EventVocabulary(),
            clock=lambda: START / 1e6,
            on_accepted=self.accept,
        )

    def accept(self, events: Any) -> None:
        for name, row in event_rows(events, UBI):
            self.written += 1
            assert self.rows.setdefault(name, row) == row

    def handle(self, *messages: Received) -> None:
        self.handler.handle(messages)


def test_a_row_has_everything_that_the_event_said() -> None:
    log = Log()
    body = event(timestamp="2025-12-31T23:00:00Z", query_id="q1", position=3, event_id="e1")
    log.handle(message(body))
    (row,) = log.rows.values()
    assert row == {
        "action_name": "click",
        "timestamp": "2025-12-31T23:00:00.000000Z",
        "query_id": "q1",
        "client_id": "c",
        "event_attributes": {
            "object": {"object_id": "p1", "object_id_field": "_id"},
            "position": {"ordinal": 3},
        },
    }


def test_what_is_not_known_is_not_made_up() -> None:
    log = Log()
    log.handle(message(event(query_id="x" * 101)))
    (row,) = log.rows.values()
    assert "query_id" not in row
    assert "position" not in row["event_attributes"]


def test_each_item_is_a_row() -> None:
    log = Log()
    items = [{"item_id": "p1", "index": 1}, {"item_id": "p2", "index": 2}, {"item_id": "p1"}]
    log.handle(
        message({"customer_id": "c", "items": items, "event_name": "purchase", "query_id": "q"})
    )
    attributes = [row["event_attributes"] for row in log.rows.values()]
    assert [(a["object"]["object_id"], a["position"]["ordinal"]) for a in attributes] == [
        ("p1", 1),
        ("p2", 2),
    ]


def test_what_is_not_accepted_is_not_logged() -> None:
    log = Log()
    log.users.outcomes["busy"] = [Written(Outcome.RETRY, "later")]
    log.handle(message("{"), message(event("busy"), "m2"))
    log.users.outcomes["odd"] = [Written(Outcome.REFUSED, "too long")]
    log.handle(message(event("odd"), "m3"))
    log.handle(message({"event_name": "user_merged", "customer_id": "a", "previous_id": "b"}, "m4"))
    assert log.rows == {}


def test_who_was_forgotten_is_not_logged_again() -> None:
    log = Log()
    log.handle(message(event(), "m1"))
    log.rows.clear()
    forget(log.users, "c", lambda: START / 1e6 + 1)
    # Delivered again, and still on its way.
    log.handle(message(event(), "m1"), message(event(product="p2"), "m2", START + 500_000))
    assert log.rows == {}
    log.handle(message(event(product="p3"), "m3", START + 1_001_000))
    assert len(log.rows) == 1


def test_a_conflict_does_not_hide_that_somebody_was_forgotten() -> None:
    log = Log()
    log.handle(message(event(), "m0"))
    log.rows.clear()
    log.users.before_put = lambda: forget(log.users, "c", lambda: START / 1e6 + 1) and None
    log.handle(message(event(product="p2"), "m1", START + 500_000))
    assert log.rows == {}


SENT = [
    event("a", "p1", event_id="e1", query_id="q1", position=1),
    event("b", "p1", event_id="e1"),
    event("a", "p2", "purchase", query_id="q2"),
    {"customer_id": "b", "event_name": "purchase", "items": [{"item_id": f"p{i}"} for i in range(3)]},
    {"events": [event("c", "p1"), event("c", "p2", position=7)]},
]  # fmt: skip
MESSAGES = [message(body, f"m{i}", START + i) for i, body in enumerate(SENT)]


@given(st.data())
def test_any_order_any_batches_any_duplicates_make_the_same_log(data: st.DataObject) -> None:
    extra = data.draw(st.lists(st.sampled_from(MESSAGES), max_size=8))
    order = data.draw(st.permutations([*MESSAGES, *extra]))
    log, expected = Log(), Log()
    while order:
        size = data.draw(st.integers(1, len(order)))
        log.handle(*order[:size])
        order = order[size:]
    expected.handle(*MESSAGES)
    assert log.rows == expected.rows
    assert len(expected.rows) == expected.written == 8


@pytest.mark.parametrize("name", BUSINESS_WEIGHTS)
def test_a_row_is_the_message_again(name: str) -> None:
    body = event("c", "p1", name, event_id="e1", timestamp=START / 1e6)
    log = Log()
    log.handle(message(body))
    ((row_id, row),) = log.rows.items()
    assert row["action_name"] == ACTIONS[name]
    back = as_message({**row, "event_id": row_id})
    parsed = parse_message(
        json.dumps(back), message_id="-", sent_at=START, vocabulary=EventVocabulary()
    )
    (found,) = parsed.events
    assert isinstance(found, CustomerEvent)
    assert (found.customer_id, found.interaction.product_id, found.interaction.event) == (
        "c",
        "p1",
        name,
    )
    assert found.interaction.occurred_at == START
