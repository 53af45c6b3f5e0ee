"""Insights batches of Algolia's documented form, through the real queue."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from sidecar.contract.errors import ConfigError
from sidecar.web.algolia import canonical, to_messages
from tests.web_api.http import Answer, ask
from tests.web_api.stack import Shop

PAGE = (Path(__file__).parents[2] / "docs/migration-algolia.md").read_text(encoding="utf-8")


def post(shop: Shop, events: Any) -> Answer:
    return ask("POST", f"{shop.url}/_sidecar/algolia/1/events", {"events": events})


def insight(kind: str, shopper: str, *products: str, **more: Any) -> dict[str, Any]:
    return {
        "eventType": kind,
        "eventName": "a name",
        "index": "products",
        "userToken": shopper,
        "objectIDs": list(products),
        **more,
    }


@pytest.mark.servers
def test_a_batch_becomes_a_history_and_counts_once(shop: Shop) -> None:
    now = int(time.time() * 1000) - 5000
    batch = [
        insight("view", "al", "tea-1", timestamp=now),
        insight("click", "al", "tea-2", "tea-3", timestamp=now + 1, positions=[1, 2], queryID="q"),
        insight("conversion", "al", "tea-4", timestamp=now + 2, eventSubtype="purchase"),
        insight("view", "al", timestamp=now, filters=["category:tea"]),
    ]
    for _ in range(2):
        answer = post(shop, batch)
        assert (answer.status, answer.json) == (200, {"status": 200, "message": "OK"})
    post(shop, [insight("view", "al", "tea-9", timestamp=now + 3)])
    shop.wait_for("al", 5)
    user = shop.users.get("al")
    assert user is not None
    assert {i.product_id: i.event for i in user.history} == {
        "tea-1": "product_viewed",
        "tea-2": "product_clicked",
        "tea-3": "product_clicked",
        "tea-4": "product_purchased",
        "tea-9": "product_viewed",
    }
    assert len(user.history) == 5


@pytest.mark.servers
def test_a_batch_as_large_as_theirs_is_taken(shop: Shop) -> None:
    now = int(time.time() * 1000) - 90_000
    batch = [
        insight("view", f"al-{number}", "tea-1", "tea-2", timestamp=now + number)
        for number in range(1000)
    ]
    answer = post(shop, batch)
    assert (answer.status, answer.json["message"]) == (200, "OK")
    for number in (0, 499, 999):
        shop.wait_for(f"al-{number}", 2)


@pytest.mark.servers
def test_what_can_never_be_stored_is_422(shop: Shop) -> None:
    answer = post(shop, [insight("click", "al2", "tea-1", timestamp="yesterday")])
    assert answer.status == 422
    assert answer.json["status"] == 422


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"eventType": "view"}, "product_viewed"),
        ({"eventType": "click"}, "product_clicked"),
        ({"eventType": "conversion", "eventSubtype": "addToCart"}, "product_added_to_cart"),
        ({"eventType": "conversion", "eventSubtype": "purchase"}, "product_purchased"),
        ({"eventType": "conversion", "eventName": "Added To Cart"}, "product_added_to_cart"),
        ({"eventType": "conversion", "eventName": "in den basket"}, "product_added_to_cart"),
        ({"eventType": "conversion", "eventName": "Order Completed"}, "product_purchased"),
        ({"eventType": "conversion", "eventName": "wishlist"}, "product_favorited"),
        ({"eventType": "conversion", "eventName": "signup"}, "product_checkout_started"),
    ],
)
def test_what_counts_as_what(event: dict[str, str], expected: str) -> None:
    assert canonical(event) == expected


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"events": {}},
        {"events": [1]},
        {"events": [{"eventType": "dance", "objectIDs": ["1"], "userToken": "x"}]},
        {"events": [{"eventType": "view", "objectIDs": ["1"]}]},
        {"events": [{"eventType": "view", "objectIDs": "1", "userToken": "x"}]},
    ],
)
def test_what_is_no_batch_is_refused(body: Any) -> None:
    with pytest.raises(ConfigError):
        to_messages(body)


def test_signed_in_shoppers_count_before_anonymous_ones() -> None:
    event = insight("view", "anonymous", "1", authenticatedUserToken="known")
    assert to_messages({"events": [event]})[0]["customer_id"] == "known"


def test_the_pages_example_is_a_batch() -> None:
    body = re.search(r"-d '\n(.*?)'", PAGE, re.S)
    assert body is not None
    (message,) = to_messages(json.loads(body[1]))
    assert message == {
        "customer_id": "12345",
        "product_id": "5678",
        "event_name": "product_clicked",
    }
