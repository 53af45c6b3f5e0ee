"""``/_sidecar/users`` and ``/_sidecar/events`` against real servers."""

from __future__ import annotations

import time
from urllib.parse import quote

import pytest

from tests.web_api.http import ask
from tests.web_api.stack import Shop, event

pytestmark = pytest.mark.servers


def test_the_history_is_explained_newest_first(shop: Shop) -> None:
    now = time.time()
    shop.send(
        event("ann", "tea-1", "product_clicked", timestamp=now - 7300),
        event("ann", "tea-2", "add_to_cart", timestamp=now - 730),
    )
    shop.wait_for("ann", 2)
    answer = ask("GET", f"{shop.url}/_sidecar/users/ann")
    assert answer.status == 200
    found = answer.json
    newest, older = found["history"]
    assert newest["product_id"] == "tea-2"
    assert newest["product"] == "tea <b>number</b> 2"
    # The untrained tower: weight x rank decay x age decay, so the shares are known.
    cart, click = 5.0, 2.0 * 0.8 * 0.5 ** ((7300 - 730) / 86_400)
    assert newest["share"] == pytest.approx(cart / (cart + click), abs=1e-3)
    assert older["share"] == pytest.approx(click / (cart + click), abs=1e-3)
    assert newest["in_words"] == f"added to the cart 12 minutes ago: {newest['share']:.0%}".replace(
        "%", " %"
    )
    assert found["vector"]["exists"] is True
    assert found["vector"]["made_by_served_weights"] is True
    assert found["vector"]["from_own_products"] == pytest.approx(1.0, abs=1e-4)
    assert "user_vector" not in answer.text


def test_a_product_without_a_vector_is_said_not_to_count(shop: Shop) -> None:
    shop.send(event("bob", "tea-1", "view_item"), event("bob", "unheard-of", "purchase"))
    shop.wait_for("bob", 2)
    found = ask("GET", f"{shop.url}/_sidecar/users/bob").json
    strange = next(one for one in found["history"] if one["product_id"] == "unheard-of")
    assert strange["share"] is None
    assert "does not count" in strange["in_words"]
    assert found["waiting_for"] == ["unheard-of"]


def test_an_unknown_shopper_is_404(shop: Shop) -> None:
    answer = ask("GET", f"{shop.url}/_sidecar/users/nobody")
    assert answer.status == 404
    assert answer.json["error"] == "unknown_shopper"


@pytest.mark.parametrize("customer_id", ["a/b", "ä ö", "<script>", "a//b", "100%", "?x=1#y"])
def test_any_id_can_be_asked_for(shop: Shop, customer_id: str) -> None:
    shop.send(event(customer_id, "tea-1", "view_item"))
    shop.wait_for(customer_id, 1)
    answer = ask("GET", f"{shop.url}/_sidecar/users/{quote(customer_id, safe='')}")
    assert answer.status == 200, answer.text
    assert answer.json["customer_id"] == customer_id


def test_forgetting_lasts(shop: Shop) -> None:
    shop.send(event("gone", "tea-1", "purchase"))
    shop.wait_for("gone", 1)
    assert ask("DELETE", f"{shop.url}/_sidecar/users/gone").json == {
        "forgotten": True,
        "was_known": True,
    }
    assert ask("GET", f"{shop.url}/_sidecar/users/gone").status == 404
    assert ask("DELETE", f"{shop.url}/_sidecar/users/gone").json["was_known"] is False
    assert "purchase" not in shop.client.get(index=shop.users.index, id="gone").body["_source"]


def test_events_reach_the_vector_through_the_queue(shop: Shop) -> None:
    answer = ask("POST", f"{shop.url}/_sidecar/events", event("eve", "shoes-1", "purchase"))
    assert answer.status == 202
    assert answer.json["accepted"] == 1
    shop.wait_for("eve", 1)


def test_each_event_has_its_own_answer(shop: Shop) -> None:
    events = [
        event("eve2", "shoes-1", "purchase"),
        event("eve2", "shoes-1", "danced_around"),
        {"customer_id": "eve2"},
    ]
    answer = ask("POST", f"{shop.url}/_sidecar/events", {"events": events})
    assert answer.status == 207
    assert answer.json["accepted"] == 1
    results = answer.json["events"]
    assert [one["status"] for one in results] == ["accepted", "refused", "refused"]
    assert "danced_around" in results[1]["detail"]
    assert all(one["reason"] for one in results[1:])


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b"[1]", b'"text"', b"{}"])
def test_what_is_no_event_is_400(shop: Shop, body: bytes) -> None:
    answer = ask("POST", f"{shop.url}/_sidecar/events", body, {"Content-Type": "application/json"})
    assert answer.status == 400, answer.text


def test_a_huge_body_is_refused(shop: Shop) -> None:
    body = b'{"x": "' + b"x" * (1 << 20) + b'"}'
    headers = {"Content-Type": "application/json"}
    assert ask("POST", f"{shop.url}/_sidecar/events", body, headers).status in (400, 413)


def test_more_than_500_events_are_refused(shop: Shop) -> None:
    events = [event("eve3", "shoes-1", "purchase")] * 501
    answer = ask("POST", f"{shop.url}/_sidecar/events", events)
    assert answer.status == 400
    assert answer.json["error"] == "too_many"


def test_a_product_is_explained_by_the_shoppers_own(shop: Shop) -> None:
    shop.send(event("why", "tea-1", "purchase"), event("why", "lamps-1", "select_item"))
    shop.wait_for("why", 2)
    body = {"customer_id": "why", "product_ids": ["tea-5", "lamps-4", "books-1", "unheard-of"]}
    answer = ask("POST", f"{shop.url}/_sidecar/explain", body)
    tea, lamp, book, unheard = answer.json["products"]
    assert tea["because"][0]["product_id"] == "tea-1"
    assert tea["because"][0]["in_words"] == "like tea <b>number</b> 1, bought just now"
    assert lamp["because"][0]["product_id"] == "lamps-1"
    assert tea["similarity"] > lamp["similarity"] > book["similarity"]
    assert unheard == {"product_id": "unheard-of", "similarity": None, "because": []}
    assert 0.9 < tea["because"][0]["part"] <= 1


@pytest.mark.parametrize(
    "body",
    [{}, [], {"customer_id": "why", "product_ids": []}, {"customer_id": "why", "product_ids": "x"},
     {"customer_id": "why", "product_ids": ["x"] * 101}, {"customer_id": "", "product_ids": ["x"]},
     {"customer_id": "why", "product_ids": [True]}],
)  # fmt: skip
def test_what_cannot_be_explained_is_400(shop: Shop, body: object) -> None:
    assert ask("POST", f"{shop.url}/_sidecar/explain", body).status == 400


def test_an_id_that_no_message_could_have_named_is_400(shop: Shop) -> None:
    url = f"{shop.url}/_sidecar/users/{'x' * 513}"
    assert ask("DELETE", url).status == 400
    assert ask("GET", url).status == 404
