"""One module turns a message into interactions, live and in training.

Accepted: ``{"customer_id", "product_id", "event_name"}`` with optional ``timestamp``,
``event_id``, ``query_id`` and ``position``; ``items`` (GA4 style: several products) in the place of
``product_id``; a list of such events, or ``{"events": [...]}``; each of them inside an SNS or an
EventBridge envelope. Whatever a message does not say comes from SQS itself. One event is about
shoppers alone: ``{"event_name": "user_merged", "customer_id", "previous_id"}``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.contract.errors import MessageError
from sidecar.contract.events import EventVocabulary
from sidecar.contract.history import Interaction
from sidecar.contract.timestamps import to_microseconds

#: Every reason for which a message can be refused, in words.
REASONS: Mapping[str, str] = {
    "not_json": "the body is not JSON",
    "wrong_type": "a key is missing or has a value of the wrong type",
    "unknown_event": "the event name is neither in the vocabulary nor mapped",
    "bad_timestamp": "the timestamp has no known form",
    "future_timestamp": "the event happened more than a minute after the queue took it",
    "id_too_long": "an id is longer than Elasticsearch's 512 bytes",
    "too_many": "more events or items than one message may carry",
}

#: Elasticsearch's own limit on an ``_id``, in bytes of UTF-8.
MAX_ID_BYTES = 512
MAX_EVENTS = 500
MAX_ITEMS = 200
#: A shopper who was known by another id (anonymous, mostly) turned out to be ``customer_id``.
MERGE_EVENT = "user_merged"
#: How far ahead of the queue's clock an app's clock may run: one minute, in microseconds.
CLOCK_SKEW = 60_000_000
_MAX_ENVELOPES = 3


@dataclass(frozen=True, slots=True)
class CustomerEvent:
    """An interaction, with its shopper and what joins it to a search.

    Parameters
    ----------
    customer_id : str
    interaction : Interaction
    query_id : str or None
        The personalised search that showed the product.
    position : int or None
        The product's rank there, from 1.
    """

    customer_id: str
    interaction: Interaction
    query_id: str | None = None
    position: int | None = None


@dataclass(frozen=True, slots=True)
class CustomerMerge:
    """What ``previous_id`` did, before and after, counts for ``customer_id`` too.

    Parameters
    ----------
    customer_id : str
    previous_id : str
    received_at : int
        When the queue took the message; microseconds since 1970-01-01 UTC.
    """

    customer_id: str
    previous_id: str
    received_at: int


@dataclass(frozen=True, slots=True)
class ParsedMessage:
    """What one message holds.

    Parameters
    ----------
    events : tuple[CustomerEvent, ...]
    ignored : tuple[str, ...]
        Names of events that the vocabulary maps to nothing, and merges of a shopper with itself.
    merges : tuple[CustomerMerge, ...]
    """

    events: tuple[CustomerEvent, ...]
    ignored: tuple[str, ...] = ()
    merges: tuple[CustomerMerge, ...] = ()


def parse_message(
    body: str | bytes, *, message_id: str, sent_at: int, vocabulary: EventVocabulary
) -> ParsedMessage:
    """The interactions of one queue message; a pure function of its arguments.

    Parameters
    ----------
    body : str or bytes
    message_id : str
        SQS ``MessageId``: the ``event_id`` of events that name none.
    sent_at : int
        SQS ``SentTimestamp`` in microseconds: when the queue took the message, and the
        ``timestamp`` of events that name none. The same for every redelivery, so that a
        redelivered message is the same interaction.
    vocabulary : EventVocabulary

    Raises
    ------
    MessageError
        With one of :data:`REASONS`. A message is accepted or refused as a whole.
    """
    value = _unwrap(_load(body))
    events: list[CustomerEvent] = []
    ignored: list[str] = []
    merges: list[CustomerMerge] = []
    raw_events = list(_each(value))
    for position, raw in enumerate(raw_events):
        own_id = message_id if len(raw_events) == 1 else f"{message_id}:{position}"
        name = _event_name(raw)
        if name == MERGE_EVENT:
            merge = CustomerMerge(_id(raw, "customer_id"), _id(raw, "previous_id"), sent_at)
            if merge.customer_id == merge.previous_id:
                ignored.append(name)
            else:
                merges.append(merge)
            continue
        try:
            event = vocabulary.canonical(name)
        except KeyError:
            raise MessageError(
                "unknown_event",
                f"event_name={name[:80]!r}: expected one of {', '.join(vocabulary.names)}, "
                "or a name that SIDECAR_EVENT_ALIASES maps",
            ) from None
        if event is None:
            ignored.append(name)
            continue
        events.extend(_events_of(raw, event, own_id, sent_at))
    return ParsedMessage(tuple(events), tuple(ignored), tuple(merges))


def _load(body: str | bytes) -> object:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise MessageError("not_json", f"{error}"[:200]) from None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _unwrap(value: object) -> object:
    """The event inside an SNS notification or an EventBridge event."""
    for _ in range(_MAX_ENVELOPES):
        if not isinstance(value, dict):
            return value
        if value.get("Type") == "Notification" and isinstance(value.get("Message"), str):
            value = _load(value["Message"])
        elif "detail-type" in value and "detail" in value:
            value = value["detail"]
        else:
            return value
    return value


def _each(value: object) -> Iterator[Mapping[str, Any]]:
    if isinstance(value, dict) and isinstance(value.get("events"), list):
        value = value["events"]
    if isinstance(value, list):
        if len(value) > MAX_EVENTS:
            raise MessageError("too_many", f"{len(value)} events: expected at most {MAX_EVENTS}")
    else:
        value = [value]
    for one in value:
        if not isinstance(one, dict):
            kind = type(one).__name__
            raise MessageError("wrong_type", f"the event is of type {kind}: expected an object")
        yield one


def _event_name(raw: Mapping[str, Any]) -> str:
    name = raw.get("event_name")
    if not isinstance(name, str) or not name:
        raise MessageError("wrong_type", f"event_name={_short(name)}: expected a name")
    return name


def _events_of(
    raw: Mapping[str, Any], event: str, own_id: str, sent_at: int
) -> Iterator[CustomerEvent]:
    customer_id = _id(raw, "customer_id")
    occurred_at = _occurred_at(raw.get("timestamp"), sent_at)
    named = raw.get("event_id") is not None
    event_id = _id(raw, "event_id") if named else own_id
    query_id = raw.get("query_id")
    if query_id is not None and not isinstance(query_id, str):
        raise MessageError("wrong_type", f"query_id={_short(query_id)}: expected text")
    for product_id, suffix, position in _products(raw):
        identity = f"{event_id}/{suffix}" if suffix else event_id
        interaction = Interaction(occurred_at, identity, product_id, event, sent_at)
        yield CustomerEvent(customer_id, interaction, query_id, position)


def _products(raw: Mapping[str, Any]) -> Iterator[tuple[str, str, int | None]]:
    """Each product of an event: its id, what tells it apart within the event, its position."""
    items = raw.get("items")
    if items is None or raw.get("product_id") is not None:
        yield _id(raw, "product_id"), "", _position(raw, "position")
        return
    if not isinstance(items, list) or not items:
        raise MessageError("wrong_type", f"items={_short(items)}: expected a list with products")
    if len(items) > MAX_ITEMS:
        raise MessageError("too_many", f"{len(items)} items: expected at most {MAX_ITEMS}")
    seen = set()
    for item in items:
        if not isinstance(item, dict):
            raise MessageError("wrong_type", f"items holds {_short(item)}: expected objects")
        key = "product_id" if item.get("product_id") is not None else "item_id"
        product_id = _id(item, key)
        # A product that is listed twice in one event (two sizes, say) is one interaction.
        if product_id not in seen:
            seen.add(product_id)
            yield product_id, product_id, _position(item, "index")


def _id(raw: Mapping[str, Any], key: str) -> str:
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise MessageError("wrong_type", f"{key}={_short(value)}: expected text or a whole number")
    text = str(value) if isinstance(value, int) and abs(value) < 1 << 64 else value
    if not isinstance(text, str):
        raise MessageError("id_too_long", f"{key}: expected a number of at most 64 bits")
    if not text.strip():
        raise MessageError(
            "wrong_type", f"{key}={text[:80]!r}: expected something other than space"
        )
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise MessageError("wrong_type", f"{key}={text[:80]!r}: expected valid Unicode") from None
    if size > MAX_ID_BYTES:
        raise MessageError(
            "id_too_long", f"{key} has {size} bytes: expected at most {MAX_ID_BYTES}"
        )
    return text


def _position(raw: Mapping[str, Any], key: str) -> int | None:
    value = raw.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1_000_000:
        raise MessageError("wrong_type", f"{key}={_short(value)}: expected a rank from 0")
    return value


def _occurred_at(value: object, sent_at: int) -> int:
    if value is None:
        return sent_at
    try:
        occurred_at = to_microseconds(value)
    except ValueError as error:
        raise MessageError("bad_timestamp", str(error)) from None
    if occurred_at > sent_at + CLOCK_SKEW:
        ahead = (occurred_at - sent_at) / 1e6
        raise MessageError(
            "future_timestamp",
            f"timestamp={_short(value)} is {ahead:.0f} s ahead of the queue: expected at most 60 s",
        )
    return occurred_at


def _short(value: object) -> str:
    try:
        text = repr(value)
    except RecursionError:  # written from deeper in the stack than it was read
        return "something that is nested too deeply"
    return text if len(text) <= 80 else f"{text[:80]}..."
