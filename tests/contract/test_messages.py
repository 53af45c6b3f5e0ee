"""Every form of message, and one clear reason for each that cannot be one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.errors import ConfigError, MessageError
from sidecar.contract.events import EventVocabulary
from sidecar.contract.history import Interaction
from sidecar.contract.messages import REASONS, ParsedMessage, parse_message

SENT = 1_700_000_000_000_000  # 2023-11-14T22:13:20Z
BASIC = {"customer_id": 12345, "product_id": 5678, "event_name": "product_clicked"}
VOCABULARY = EventVocabulary()


def parse(body: object, vocabulary: EventVocabulary = VOCABULARY) -> ParsedMessage:
    text = body if isinstance(body, str | bytes) else json.dumps(body)
    return parse_message(text, message_id="m1", sent_at=SENT, vocabulary=vocabulary)


def test_the_three_fields_are_enough() -> None:
    (event,) = parse(BASIC).events
    assert event.customer_id == "12345"
    assert event.interaction == Interaction(SENT, "m1", "5678", "product_clicked", SENT)


@pytest.mark.parametrize("key", ["customer_id", "product_id", "timestamp", "items", "position"])
def test_nesting_of_any_depth_is_refused_and_raises_nothing_else(key: str) -> None:
    rest = {name: value for name, value in BASIC.items() if name not in (key, "product_id")}
    rest |= {} if key in ("product_id", "items") else {"product_id": 1}
    start = json.dumps(rest)[:-1]
    for depth in range(1, 1100):
        with pytest.raises(MessageError):
            parse(f'{start},"{key}":{"[" * depth}1{"]" * depth}}}')


def test_everything_optional() -> None:
    (event,) = parse(
        BASIC
        | {"timestamp": SENT // 1000 - 5000, "event_id": "e9", "query_id": "q1", "position": 3}
    ).events
    assert event.interaction.occurred_at == SENT - 5_000_000
    assert event.interaction.event_id == "e9"
    assert (event.query_id, event.position) == ("q1", 3)


def test_ids_are_text_inside_and_numbers_and_text_are_the_same() -> None:
    text = {k: str(v) for k, v in BASIC.items()}
    assert parse(text) == parse(BASIC)


def test_ga4_items_become_one_interaction_each() -> None:
    body = {
        "customer_id": "c",
        "event_name": "add_to_cart",
        "event_id": "e",
        "items": [{"item_id": "a", "index": 0}, {"item_id": 7}, {"product_id": "a"}],
    }
    events = parse(body).events
    assert [(e.interaction.product_id, e.interaction.event_id) for e in events] == [
        ("a", "e/a"),
        ("7", "e/7"),
    ]
    assert {e.interaction.event for e in events} == {"product_added_to_cart"}


def test_several_events_have_identities_of_their_own() -> None:
    both = parse([BASIC, BASIC]).events
    assert [e.interaction.event_id for e in both] == ["m1:0", "m1:1"]
    assert parse({"events": [BASIC, BASIC]}).events == both


@pytest.mark.parametrize("inner", [BASIC, [BASIC, BASIC]])
def test_envelopes_are_opened(inner: object) -> None:
    sns = {"Type": "Notification", "MessageId": "x", "Message": json.dumps(inner)}
    bridge = {"version": "0", "detail-type": "event", "source": "app", "detail": inner}
    assert parse(sns) == parse(bridge) == parse(inner)
    assert parse({"detail-type": "event", "detail": sns}) == parse(inner)


def test_ignored_events_are_named_not_refused() -> None:
    parsed = parse([BASIC, {"customer_id": 1, "event_name": "view_item_list"}])
    assert parsed.ignored == ("view_item_list",)
    assert len(parsed.events) == 1


def test_an_operators_own_names() -> None:
    vocabulary = VOCABULARY.with_aliases({"liked": "add_to_wishlist", "product_viewed2": None})
    assert parse(BASIC | {"event_name": "liked"}, vocabulary).events[0].interaction.event == (
        "product_favorited"
    )
    assert parse(BASIC | {"event_name": "product_viewed2"}, vocabulary).events == ()
    with pytest.raises(ConfigError, match="liked.*nonsense.*product_viewed"):
        VOCABULARY.with_aliases({"liked": "nonsense"})


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "not_json"),
        ("{", "not_json"),
        (b"\xff\xfe{}", "not_json"),
        ("[" * 100_000, "not_json"),
        ('{"customer_id": NaN}', "not_json"),
        ('"text"', "wrong_type"),
        ("null", "wrong_type"),
        ([[1]], "wrong_type"),
        ({}, "wrong_type"),
        (BASIC | {"customer_id": None}, "wrong_type"),
        (BASIC | {"customer_id": True}, "wrong_type"),
        (BASIC | {"customer_id": 1.5}, "wrong_type"),
        (BASIC | {"customer_id": " "}, "wrong_type"),
        (BASIC | {"customer_id": "\ud800"}, "wrong_type"),
        (BASIC | {"product_id": {}}, "wrong_type"),
        (BASIC | {"event_name": 3}, "wrong_type"),
        (BASIC | {"position": "first"}, "wrong_type"),
        (BASIC | {"query_id": 3}, "wrong_type"),
        ({"customer_id": 1, "event_name": "purchase", "items": []}, "wrong_type"),
        ({"customer_id": 1, "event_name": "purchase", "items": [3]}, "wrong_type"),
        (BASIC | {"event_name": "danced"}, "unknown_event"),
        (BASIC | {"timestamp": "yesterday"}, "bad_timestamp"),
        (BASIC | {"timestamp": -1}, "bad_timestamp"),
        (BASIC | {"timestamp": [1]}, "bad_timestamp"),
        (BASIC | {"timestamp": SENT // 1_000_000 + 61}, "future_timestamp"),
        (BASIC | {"customer_id": "x" * 513}, "id_too_long"),
        (BASIC | {"product_id": "ü" * 257}, "id_too_long"),
        (BASIC | {"customer_id": 10**400}, "id_too_long"),
        ([BASIC] * 501, "too_many"),
        (
            {"customer_id": 1, "event_name": "purchase", "items": [{"item_id": 1}] * 201},
            "too_many",
        ),
    ],
)
def test_poison_has_one_reason(body: object, reason: str) -> None:
    with pytest.raises(MessageError) as caught:
        parse(body)
    assert caught.value.reason == reason
    assert len(str(caught.value)) < 500


def test_a_clock_that_is_a_minute_ahead_is_forgiven() -> None:
    assert parse(BASIC | {"timestamp": SENT // 1_000_000 + 60}).events


def test_one_bad_event_refuses_the_whole_message() -> None:
    with pytest.raises(MessageError, match="unknown_event"):
        parse([BASIC, BASIC | {"event_name": "danced"}])


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*BASIC, "items", "events", "timestamp", "event_id", "Type", "detail"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=12,
)


@given(json_values, st.sampled_from([*VOCABULARY.names, "purchase"]))
def test_hostile_input_is_parsed_or_refused_never_anything_else(value: Any, event: str) -> None:
    body = value if not isinstance(value, dict) else {"event_name": event, **value}
    try:
        parsed = parse(json.dumps(body))
    except MessageError as error:
        assert error.reason in REASONS
    else:
        for one in parsed.events:
            assert one.interaction.event in VOCABULARY.names
            assert 0 < len(one.customer_id.encode()) <= 512


def test_names_follow_the_events_of_other_weights() -> None:
    mine = VOCABULARY.with_aliases({"liked": "product_favorited"})
    fewer = mine.with_events({"product_purchased": 8.0, "refund": 1.0})
    assert fewer.canonical("purchase") == "product_purchased"
    assert fewer.canonical("refund") == "refund"  # these weights know it: no longer ignored
    assert fewer.canonical("view_item_list") is None
    with pytest.raises(KeyError):
        fewer.canonical("liked")
    assert mine.with_events(dict(mine.weights)) is mine
