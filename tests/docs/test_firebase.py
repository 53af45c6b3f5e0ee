"""The Cloud Function of docs/firebase.md, with a real SQS, read by the sidecar's own parser."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask import Flask, request

from sidecar.contract.events import GA4_ALIASES, EventVocabulary
from sidecar.contract.messages import parse_message
from sidecar.embedded.queue import create_queue
from sidecar.updates.sqs import Queue

pytestmark = pytest.mark.servers
ROOT = Path(__file__).parents[2]


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch, sqs_endpoint: str, unique: str) -> ModuleType:
    url = create_queue(sqs_endpoint, f"{unique}-firebase")
    monkeypatch.setenv("QUEUE_URL", url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_SQS", sqs_endpoint)
    spec = importlib.util.spec_from_file_location("shop_events", ROOT / "deploy/firebase/main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shop_events", module)
    spec.loader.exec_module(module)
    # Firebase itself cannot be asked here.
    names = {"Bearer good": "uid-1"}
    monkeypatch.setattr(module, "shopper_of", names.get)
    return module


def call(function: ModuleType, body: Any, authorization: str = "Bearer good") -> tuple[str, int]:
    with Flask(__name__).test_request_context(
        method="POST", json=body, headers={"Authorization": authorization}
    ):
        text, status, headers = function.shop_events(request)
        assert headers["Access-Control-Allow-Origin"] == "*"
        return text, status


def received(function: ModuleType) -> Iterator[dict[str, Any]]:
    queue = Queue(os.environ["QUEUE_URL"])
    for message in queue.receive(wait_s=1, visibility_s=10):
        parsed = parse_message(
            message.body,
            message_id=message.message_id,
            sent_at=message.sent_at,
            vocabulary=EventVocabulary(),
        )
        for one in parsed.events:
            yield {"customer_id": one.customer_id, **one.interaction._asdict()}


def test_ga4_events_become_interactions_of_the_signed_in_shopper(function: ModuleType) -> None:
    event = {
        "name": "purchase",
        "params": {"items": [{"item_id": 5678}, {"item_id": "77"}]},
        "event_id": "e1",
        "customer_id": "somebody else",
    }
    assert call(function, {"events": [event]})[1] == 202
    found = list(received(function))
    assert {one["product_id"] for one in found} == {"5678", "77"}
    assert {one["customer_id"] for one in found} == {"uid-1"}
    assert {one["event"] for one in found} == {"product_purchased"}
    assert all(one["event_id"].startswith("uid-1:e1") for one in found)


def test_a_click_says_which_search_it_belongs_to(function: ModuleType) -> None:
    event = {
        "name": "select_item",
        "params": {"items": [{"item_id": "77", "index": 3}, {"item_id": "78", "index": "no"}]},
        "query_id": "q-1",
    }
    assert call(function, {"events": [event]})[1] == 202
    (message,) = Queue(os.environ["QUEUE_URL"]).receive(wait_s=1, visibility_s=10)
    parsed = parse_message(
        message.body, message_id="m", sent_at=message.sent_at, vocabulary=EventVocabulary()
    )
    told = {one.interaction.product_id: (one.query_id, one.position) for one in parsed.events}
    assert told == {"77": ("q-1", 3), "78": ("q-1", None)}


@pytest.mark.parametrize(
    "body",
    [
        {}, [], "x", 1, {"events": []}, {"events": {"name": "share"}},
        *({"events": [one]} for one in (
            "x", [], {"name": "scroll"}, {"name": "share"}, {"name": "share", "params": []},
            {"name": "share", "params": {"items": {}}},
            {"name": "share", "params": {"items": ["x", {}, {"item_id": None}, {"item_id": True}]}},
            {"name": ["share"], "params": {"items": [{"item_id": 1}]}},
        )),
    ],
)  # fmt: skip
def test_what_is_of_no_interest_is_not_sent(function: ModuleType, body: Any) -> None:
    assert call(function, body)[1] == 200
    assert list(received(function)) == []


def test_nobody_sends_for_others(function: ModuleType) -> None:
    assert call(function, {"events": []}, authorization="Bearer forged")[1] == 401


def test_a_browser_of_another_origin_may_ask(function: ModuleType) -> None:
    with Flask(__name__).test_request_context(method="OPTIONS"):
        _, status, headers = function.shop_events(request)
    assert status == 204
    assert headers["Access-Control-Allow-Headers"] == "Authorization, Content-Type"


def test_the_command_that_deploys_says_where_the_queue_is(function: ModuleType) -> None:
    page = (ROOT / "docs/firebase.md").read_text(encoding="utf-8")
    for text in (page, str(function.__doc__)):
        assert "AWS_DEFAULT_REGION=eu-west-1,QUEUE_URL=https://sqs.eu-west-1." in text


def test_the_function_and_the_page_know_the_same_events(function: ModuleType) -> None:
    assert set(GA4_ALIASES) == function.EVENTS
    page = (ROOT / "docs/firebase.md").read_text(encoding="utf-8")
    weights = EventVocabulary().weights
    for alias, name in GA4_ALIASES.items():
        assert f"| `{alias}` | `{name}` | {weights[name]:g} |" in page
    block = page.partition("```json\n")[2].partition("```")[0]
    assert json.loads(block)["event_name"] == "user_merged"
