"""Messages as they come and go, and the attributes that the sidecar gives them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.tracing import TRACEPARENT

#: SQS's own limits on one batch request.
MAX_BATCH = 10
MAX_BATCH_BYTES = 262_144
#: Message attributes that keep a message's identity and time when it is sent again.
MESSAGE_ID = "sidecar-message-id"
SENT_AT = "sidecar-sent-at"
#: Characters of SQS's own message ids at most.
_LONGEST_ID = 100
#: Message attributes that say why a message is a dead letter.
REASON = "sidecar-reason"
DETAIL = "sidecar-detail"


@dataclass(frozen=True, slots=True)
class Received:
    """A message as received.

    Parameters
    ----------
    message_id : str
    body : str
    receipt : str
        What deletes it, or hides it for longer.
    sent_at : int
        When the queue took it; microseconds since 1970-01-01 UTC.
    received_at : int
        When this process got it; microseconds since 1970-01-01 UTC.
    receives : int
        How often it was received, this time included.
    attributes : Mapping[str, str]
        Message attributes of type String.
    """

    message_id: str
    body: str
    receipt: str
    sent_at: int
    received_at: int
    receives: int = 1
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def identity(self) -> dict[str, str]:
        """The attributes by which it is known, and traced, when it is sent again."""
        kept = {MESSAGE_ID: self.message_id, SENT_AT: str(self.sent_at)}
        trace = self.attributes.get(TRACEPARENT)
        return {**kept, TRACEPARENT: trace} if trace else kept


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send.

    Parameters
    ----------
    body : str
    group : str
        Message group, and
    dedup : str
        deduplication id, for FIFO queues.
    attributes : Mapping[str, str]
    """

    body: str
    group: str = ""
    dedup: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)


def received(raw: Mapping[str, Any], now: int) -> Received:
    """A message of SQS's answer; ``now`` in microseconds since 1970-01-01 UTC."""
    attributes = raw.get("Attributes", {})
    extra = {
        key: value["StringValue"]
        for key, value in raw.get("MessageAttributes", {}).items()
        if "StringValue" in value
    }
    sent_at = int(attributes.get("SentTimestamp", now // 1000)) * 1000
    # A dead letter that was replayed keeps its identity: if it was stored the first time after
    # all, it must not count twice. Never a later time than the queue's own.
    first = extra.get(SENT_AT, "")
    # Anybody may send an attribute: Python refuses to read a number of thousands of digits.
    if first.isascii() and first.isdecimal() and len(first) < 20:
        sent_at = min(sent_at, int(first))
    own = extra.get(MESSAGE_ID, "")
    return Received(
        message_id=own if 0 < len(own) <= _LONGEST_ID else raw["MessageId"],
        body=raw["Body"],
        receipt=raw["ReceiptHandle"],
        sent_at=sent_at,
        received_at=now,
        receives=int(attributes.get("ApproximateReceiveCount", 1)),
        attributes=extra,
    )


def chunks(messages: Iterable[Outgoing]) -> Iterator[list[Outgoing]]:
    """At most ten messages, and no more bytes than one request may have."""
    chunk: list[Outgoing] = []
    size = 0
    for message in messages:
        own = len(message.body.encode()) + sum(
            len(k.encode()) + len(v.encode()) + 6 for k, v in message.attributes.items()
        )
        if chunk and (len(chunk) == MAX_BATCH or size + own > MAX_BATCH_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(message)
        size += own
    if chunk:
        yield chunk
