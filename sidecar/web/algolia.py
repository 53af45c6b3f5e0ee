"""``POST /_sidecar/algolia/1/events``: batches of Algolia's Insights API, onto the queue.

For shops that come from there: their Insights clients go on as they are. The mapping is in
docs/migration-algolia.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, jsonify

from sidecar.contract.errors import ConfigError
from sidecar.contract.messages import MAX_EVENTS
from sidecar.web.bodies import read_json
from sidecar.web.events import MAX_BYTES, SendEvents
from sidecar.web.problems import answer_errors

#: Words in the name of a conversion, and what it then is; the first that is found counts.
_CONVERSIONS = (
    (("purchase", "order", "bought"), "product_purchased"),
    (("cart", "basket"), "product_added_to_cart"),
    (("wish", "favo"), "product_favorited"),
)
_KINDS = {"view": "product_viewed", "click": "product_clicked"}
_OTHER_CONVERSION = "product_checkout_started"
_SUBTYPES = {"addtocart": "product_added_to_cart", "purchase": "product_purchased"}


def algolia_blueprint(send: SendEvents) -> Blueprint:
    """The route.

    Parameters
    ----------
    send : Callable
    """
    routes = Blueprint("algolia", __name__, url_prefix="/_sidecar/algolia")
    answer_errors(routes)

    @routes.post("/1/events")
    def events() -> tuple[Response, int]:
        messages = to_messages(read_json(MAX_BYTES))
        # Their batches hold up to 1,000 events of up to 20 products each; ours take fewer.
        pieces = (messages[i : i + MAX_EVENTS] for i in range(0, len(messages), MAX_EVENTS))
        refused = [one for piece in pieces for one in send(piece) if one.message_id is None]
        if refused:
            # Their form: one status for the batch. To send it again is safe, ids are the same.
            status = 503 if any(one.reason == "not_sent" for one in refused) else 422
            return jsonify(status=status, message=refused[0].detail), status
        return jsonify(status=200, message="OK"), 200

    return routes


def to_messages(body: Any) -> list[dict[str, Any]]:
    """The sidecar's messages: one for each product of each event. Pure.

    Raises
    ------
    ConfigError
        For what is no batch; an event that names no product is left out.
    """
    events = body.get("events") if isinstance(body, dict) else None
    if not isinstance(events, list) or not all(isinstance(one, dict) for one in events):
        raise ConfigError("events", type(events).__name__, "a list of Insights events")
    return [message for event in events for message in _messages(event)]


def _messages(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    products = event.get("objectIDs") or []
    shopper = event.get("authenticatedUserToken") or event.get("userToken")
    if not isinstance(products, list):
        raise ConfigError("objectIDs", products, "a list of product ids")
    if not products:
        return []
    if not shopper:
        raise ConfigError("userToken", shopper, "the shopper's id")
    kind = canonical(event)
    positions = event.get("positions")
    found = []
    for place, product in enumerate(products):
        message: dict[str, Any] = {
            "customer_id": shopper,
            "product_id": product,
            "event_name": kind,
        }
        if event.get("timestamp") is not None:
            message["timestamp"] = event["timestamp"]
            # Insights events have no id: the same event sent again must count once.
            message["event_id"] = _id(event, product)
        if isinstance(event.get("queryID"), str):
            message["query_id"] = event["queryID"]
        if isinstance(positions, list) and place < len(positions):
            message["position"] = positions[place]
        found.append(message)
    return found


def canonical(event: Mapping[str, Any]) -> str:
    """Which of the sidecar's events an Insights event is.

    Raises
    ------
    ConfigError
    """
    kind, name = event.get("eventType"), str(event.get("eventName", "")).lower()
    # Not everything that JSON can hold can be looked up.
    if isinstance(kind, str) and kind in _KINDS:
        return _KINDS[kind]
    if kind != "conversion":
        raise ConfigError("eventType", kind, "view, click or conversion")
    subtype = _SUBTYPES.get(str(event.get("eventSubtype", "")).lower())
    if subtype:
        return subtype
    for words, found in _CONVERSIONS:
        if any(word in name for word in words):
            return found
    return _OTHER_CONVERSION


def _id(event: Mapping[str, Any], product: Any) -> str:
    keys = ("eventType", "eventName", "index", "userToken", "authenticatedUserToken", "timestamp")
    text = json.dumps([str(event.get(key)) for key in keys] + [str(product)])
    return f"algolia-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
