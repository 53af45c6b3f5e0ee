"""The log of events in the form of User Behavior Insights 1.3 (https://github.com/o19s/ubi).

Pure: interactions to rows of the index of events, and back for the report on an experiment.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from sidecar.contract.messages import CustomerEvent
from sidecar.contract.timestamps import to_iso
from sidecar.search.ubi import Row, UbiSettings

#: UBI's own names where it has one, else GA4's; other events keep theirs.
ACTIONS: Mapping[str, str] = MappingProxyType(
    {
        "product_viewed": "view",
        "product_clicked": "click",
        "product_added_to_cart": "add_to_cart",
        "product_favorited": "add_to_wishlist",
        "product_shared": "share",
        "product_checkout_started": "begin_checkout",
        "product_purchased": "purchase",
    }
)
_EVENTS = {action: event for event, action in ACTIONS.items()}
#: UBI's limit on a query id; a longer one would join with nothing.
_MOST_QUERY_ID = 100


def event_rows(events: Iterable[CustomerEvent], ubi: UbiSettings) -> Iterator[Row]:
    """Rows of the index of events, each with its ``_id``.

    The ``_id`` follows from shopper and event alone: an event is one row, however often it is
    delivered, and by whomever it is written.
    """
    for one in events:
        interaction = one.interaction
        # UBI wants a position with every object; one that is not known is not made up.
        attributes: dict[str, Any] = {
            "object": {"object_id": interaction.product_id, "object_id_field": "_id"}
        }
        if one.position is not None:
            attributes["position"] = {"ordinal": one.position}
        row: dict[str, Any] = {
            "action_name": ACTIONS.get(interaction.event, interaction.event),
            "timestamp": to_iso(interaction.occurred_at),
            "event_attributes": attributes,
        }
        if one.query_id and len(one.query_id) <= _MOST_QUERY_ID:
            row["query_id"] = one.query_id
        client_id = ubi.client_of(one.customer_id)
        if client_id is not None:
            row["client_id"] = client_id
        yield row_id(one), row


def row_id(event: CustomerEvent) -> str:
    """The ``_id`` of an event's row."""
    name = f"{event.customer_id}\0{event.interaction.event_id}"
    return hashlib.sha256(name.encode()).hexdigest()[:40]


def as_message(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the message that it came from; its ``_id`` is in ``event_id``."""
    attributes = row.get("event_attributes") or {}
    action = row.get("action_name")
    return {
        "customer_id": row.get("client_id"),
        "product_id": (attributes.get("object") or {}).get("object_id"),
        "event_name": _EVENTS.get(str(action), action),
        "timestamp": row.get("timestamp"),
        "event_id": row.get("event_id"),
    }
