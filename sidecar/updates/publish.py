"""Events onto the queue: what ``POST /_sidecar/events`` and the demo use."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sidecar.contract.errors import MessageError
from sidecar.contract.events import EventVocabulary
from sidecar.contract.messages import MAX_EVENTS, parse_message
from sidecar.tracing import TRACEPARENT
from sidecar.updates.envelopes import Outgoing
from sidecar.updates.sqs import Queue


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of one event.

    Parameters
    ----------
    message_id : str or None
        SQS's id; ``None`` if it was not sent.
    reason, detail : str
        Why not: a reason of ``messages.REASONS`` or ``not_sent``, and words.
    """

    message_id: str | None
    reason: str = ""
    detail: str = ""


def send_events(
    queue: Queue,
    events: Sequence[Mapping[str, Any]],
    vocabulary: EventVocabulary,
    traceparent: str = "",
) -> list[Sent]:
    """Send events, one message each; those that could never be stored are not sent.

    Parameters
    ----------
    queue : Queue
    events : Sequence[Mapping]
        As :func:`sidecar.contract.messages.parse_message` takes them.
    vocabulary : EventVocabulary
    traceparent : str
        The trace context that the messages carry on; empty for none.

    Returns
    -------
    list[Sent]
        One for each event, in their order.

    Raises
    ------
    MessageError
        ``too_many`` for more than 500 events at once.
    UnreachableError, RefusedError
        Some may have been sent; to send them again is safe if they carry an ``event_id``.
    """
    if len(events) > MAX_EVENTS:
        raise MessageError("too_many", f"{len(events)} events: expected at most {MAX_EVENTS}")
    now = time.time_ns() // 1000
    results: list[Sent | None] = []
    outgoing = []
    for event in events:
        try:
            # Whatever JSON cannot carry as it is, an app could not have sent either.
            body = json.dumps(event, allow_nan=False)
            parse_message(body, message_id="-", sent_at=now, vocabulary=vocabulary)
        except MessageError as error:
            results.append(Sent(None, error.reason, str(error)))
        except (TypeError, ValueError) as error:
            results.append(Sent(None, "not_json", f"not_json: {error}"))
        else:
            results.append(None)
            outgoing.append(_outgoing(event, body, traceparent))
    ids = iter(queue.send(outgoing))
    return [result if result is not None else _sent(next(ids)) for result in results]


def _sent(message_id: str | None) -> Sent:
    if message_id is None:
        return Sent(None, "not_sent", "not_sent: the queue did not take it, try again")
    return Sent(message_id)


def _outgoing(event: Mapping[str, Any], body: str, traceparent: str) -> Outgoing:
    """For FIFO queues: the shopper is the message group, the event's own id deduplicates."""
    shopper = event.get("previous_id", event.get("customer_id", ""))
    attributes = {TRACEPARENT: traceparent} if traceparent else {}
    return Outgoing(body, group_id(str(shopper)), uuid.uuid4().hex, attributes)


def group_id(customer_id: str) -> str:
    """A message group for a shopper: SQS takes 128 characters of a small alphabet."""
    if len(customer_id) <= 128 and customer_id.isascii() and customer_id.isalnum():
        return customer_id
    return uuid.uuid5(uuid.NAMESPACE_OID, customer_id).hex
