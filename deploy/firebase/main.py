"""Cloud Function: a shopper's GA4 events from the app, signed in with Firebase, onto SQS.

    gcloud functions deploy shop-events --gen2 --runtime python312 --region europe-west1 \
        --source deploy/firebase --entry-point shop_events --trigger-http --allow-unauthenticated \
        --set-env-vars AWS_DEFAULT_REGION=eu-west-1,QUEUE_URL=https://sqs.eu-west-1.amazonaws.com/1234/shop-events

"Unauthenticated" is for Google's own gate; every request must carry the shopper's Firebase ID
token. AWS credentials come from the environment (--set-secrets), of a user that may only send.
"""

from __future__ import annotations

import json
import os
import time
from functools import cache
from typing import Any

import boto3
from flask import Request

#: One SQS batch, and what an app sends at a time.
MOST = 10
#: What the sidecar understands; others are not worth a message.
EVENTS = {
    "view_item",
    "select_item",
    "add_to_cart",
    "add_to_wishlist",
    "share",
    "begin_checkout",
    "purchase",
}
#: A web shop is another origin than the function. Any may ask: the token says who the shopper is,
#: and no cookie goes along.
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type",
    "Access-Control-Max-Age": "3600",
}


def shop_events(request: Request) -> tuple[str, int, dict[str, str]]:
    """Take ``{"events": [{"name", "params": {"items": [{"item_id"}]}, "event_id"}]}``."""
    if request.method == "OPTIONS":  # what a browser asks first
        return "", 204, CORS
    return *take(request), CORS


def take(request: Request) -> tuple[str, int]:
    """Answer to a request that carries events, and its status."""
    shopper = shopper_of(request.headers.get("Authorization", ""))
    if shopper is None:
        return "sign in first", 401
    body: Any = request.get_json(silent=True)
    events = body.get("events") if isinstance(body, dict) else None
    entries = [
        {"Id": str(position), "MessageBody": json.dumps(message)}
        for position, one in enumerate((events if isinstance(events, list) else [])[:MOST])
        if (message := to_message(shopper, one)) is not None
    ]
    if not entries:
        return "no event of interest", 200
    answer = queue().send_message_batch(QueueUrl=os.environ["QUEUE_URL"], Entries=entries)
    # The app sends the batch again; events with an event_id still count once.
    return ("try again", 503) if answer.get("Failed") else ("accepted", 202)


def to_message(shopper: str, event: Any) -> dict[str, Any] | None:
    """A GA4 event as the sidecar's message; the shopper is never taken from the body."""
    params = event.get("params") if isinstance(event, dict) else None
    found = params.get("items") if isinstance(params, dict) else None
    items = [item for item in map(_item, found if isinstance(found, list) else ()) if item]
    name = event.get("name") if items else None
    if not isinstance(name, str) or name not in EVENTS:
        return None
    message: dict[str, Any] = {
        "customer_id": shopper,
        "event_name": name,
        "items": items,
        "timestamp": event.get("timestamp") or time.time(),
    }
    if event.get("event_id"):
        message["event_id"] = f"{shopper}:{event['event_id']}"
    # The search that showed the product: X-Sidecar-Query-Id of its answer.
    query_id = event.get("query_id") or params.get("query_id")
    if isinstance(query_id, str) and query_id:
        message["query_id"] = query_id
    return message


def _item(item: Any) -> dict[str, Any] | None:
    if not isinstance(item, dict) or type(item.get("item_id")) not in (str, int):
        return None
    found: dict[str, Any] = {"item_id": str(item["item_id"])}
    if type(item.get("index")) is int:
        found["index"] = item["index"]
    return found


def shopper_of(authorization: str) -> str | None:
    """The Firebase user id of a request, ``None`` without a valid token."""
    from firebase_admin import auth, initialize_app

    try:
        _once(initialize_app)
        return str(auth.verify_id_token(authorization.removeprefix("Bearer "))["uid"])
    except (ValueError, auth.InvalidIdTokenError, auth.CertificateFetchError):
        return None


@cache
def _once(initialize: Any) -> None:
    initialize()


@cache
def queue() -> Any:
    """The connection, kept while the instance lives."""
    return boto3.client("sqs")
