"""Recommendations, similar products and what is trending, against real servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from sidecar.elastic.client import connect
from tests.web_api.http import Answer, ask
from tests.web_api.stack import EACH, Shop, event, kinds, open_shop, until

pytestmark = pytest.mark.servers


def recommend(shop: Shop, path: str, **parameters: object) -> Answer:
    # ``from`` is a keyword: ``from_`` here.
    query = urlencode({name.rstrip("_"): value for name, value in parameters.items()})
    return ask("GET", f"{shop.url}/_sidecar/{path}?{query}")


@pytest.fixture(scope="module")
def fan(shop: Shop) -> str:
    """A shopper who looked at lamps and bought one, and looked at one book."""
    shop.send(
        event("fan", "books-3", "view_item"),
        event("fan", "lamps-1", "select_item"),
        event("fan", "lamps-2", "purchase"),
    )
    shop.wait_for("fan", 3)
    return "fan"


def test_the_nearest_products_come_first(shop: Shop, fan: str) -> None:
    answer = recommend(shop, f"recommendations/{fan}", size=EACH)
    assert answer.status == 200
    assert set(kinds(answer.json["hits"]["hits"])) == {"lamps"}
    assert answer.headers["X-Sidecar-Action"] == "recommended"
    assert answer.headers["X-Sidecar-Reason"] == "taste"


def test_recommendations_have_a_name_for_events_to_refer_to(shop: Shop, fan: str) -> None:
    shop.client.indices.refresh(index=shop.users.index)
    for path in (f"recommendations/{fan}", "recommendations/nobody"):
        names = {recommend(shop, path).headers["X-Sidecar-Query-Id"] for _ in range(2)}
        assert len(names) == 2
    url = f"{shop.url}/_sidecar/recommendations/{fan}"
    told = ask("GET", url, headers={"X-Sidecar-Query-Id": "mine"})
    assert told.headers["X-Sidecar-Query-Id"] == "mine"
    assert ask("GET", url, headers={"X-Sidecar-Query-Id": "a b"}).status == 400
    assert "X-Sidecar-Query-Id" not in recommend(shop, "similar/tea-1").headers


def test_no_answer_holds_a_vector(shop: Shop, fan: str) -> None:
    shop.client.indices.refresh(index=shop.users.index)
    for path in (f"recommendations/{fan}", "recommendations/nobody", "similar/tea-1", "trending"):
        for more in ({}, {"diversity": 0.5}):
            answer = recommend(shop, path, **more)
            assert answer.status == 200
            assert answer.json["hits"]["hits"]
            assert "product_vector" not in answer.text
            assert "user_vector" not in answer.text


def test_seen_and_bought_products_are_left_out(shop: Shop, fan: str) -> None:
    def found(exclude: str) -> set[str]:
        hits = recommend(shop, f"recommendations/{fan}", size=48, exclude=exclude).json["hits"]
        return {hit["_id"] for hit in hits["hits"]}

    assert len(found("")) == 48
    assert found("") - found("bought") == {"lamps-2"}
    assert found("") - found("seen") == {"lamps-1", "lamps-2", "books-3"}


def test_filters_hold(shop: Shop, fan: str) -> None:
    cheap = json.dumps({"range": {"price": {"lt": 8}}})
    hits = recommend(shop, f"recommendations/{fan}", filter=cheap).json["hits"]["hits"]
    assert hits
    assert all(hit["_source"]["price"] < 8 for hit in hits)
    body = {"filter": {"term": {"category": "tea"}}, "size": 3}
    hits = ask("POST", f"{shop.url}/_sidecar/recommendations/{fan}", body).json["hits"]["hits"]
    assert kinds(hits) == ["tea"] * 3


def test_pages_are_cut_from_one_order(shop: Shop, fan: str) -> None:
    for diversity in (0, 0.4):
        path = f"recommendations/{fan}"
        whole = recommend(shop, path, size=20, diversity=diversity).json["hits"]["hits"]
        pages = [
            hit["_id"]
            for start in (0, 5, 10, 15)
            for hit in recommend(shop, path, size=5, from_=start, diversity=diversity).json["hits"][
                "hits"
            ]
        ]
        assert [hit["_id"] for hit in whole] == pages


def test_diversity_brings_other_kinds_in(shop: Shop, fan: str) -> None:
    alike = recommend(shop, f"recommendations/{fan}", size=8).json["hits"]["hits"]
    mixed = recommend(shop, f"recommendations/{fan}", size=8, diversity=0.7).json["hits"]["hits"]
    assert len(set(kinds(mixed))) > len(set(kinds(alike)))
    assert mixed[0]["_id"] == alike[0]["_id"]


def test_exploring_keeps_slots_for_the_rest_of_the_shop(
    shop: Shop, fan: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A shop of 48 products has no rest beyond the nearest 200.
    monkeypatch.setattr("sidecar.web.recommend.MAX_DEPTH", EACH)
    path = f"recommendations/{fan}"
    plain = [hit["_id"] for hit in recommend(shop, path, size=12).json["hits"]["hits"]]
    found = [
        hit["_id"] for hit in recommend(shop, path, size=12, explore=0.25).json["hits"]["hits"]
    ]
    assert len(found) == len(set(found)) == 12
    assert found[:3] == plain[:3]
    assert [place for place, one in enumerate(found) if one not in plain] == [3, 7, 11]
    pages = [
        hit["_id"]
        for start in (0, 4, 8)
        for hit in recommend(shop, path, size=4, from_=start, explore=0.25).json["hits"]["hits"]
    ]
    assert pages == found


def test_the_unknown_get_what_is_trending(shop: Shop, fan: str) -> None:
    shop.client.indices.refresh(index=shop.users.index)
    answer = recommend(shop, "recommendations/nobody", size=48)
    assert answer.headers["X-Sidecar-Action"] == "fallback"
    assert answer.headers["X-Sidecar-Reason"] == "no_vector"
    assert len(answer.json["hits"]["hits"]) == 48


def test_similar_products_are_of_one_kind_and_not_the_product_itself(shop: Shop) -> None:
    hits = recommend(shop, "similar/tea-4", size=EACH - 1).json["hits"]["hits"]
    assert kinds(hits) == ["tea"] * (EACH - 1)
    assert "tea-4" not in {hit["_id"] for hit in hits}


def test_similar_products_can_leave_out_a_shoppers_own(shop: Shop, fan: str) -> None:
    hits = recommend(shop, "similar/lamps-1", size=48, customer_id=fan, exclude="seen").json
    assert not {"lamps-1", "lamps-2", "books-3"} & {hit["_id"] for hit in hits["hits"]["hits"]}


def test_an_unknown_product_is_404(shop: Shop) -> None:
    assert recommend(shop, "similar/unheard-of").status == 404


@pytest.mark.parametrize(
    "parameters",
    [
        {"size": 0},
        {"size": 201},
        {"size": "x"},
        {"size": "nan"},
        {"size": "1e400"},
        {"from_": -1},
        {"from_": 195},
        {"diversity": 1.1},
        {"diversity": "nan"},
        {"explore": 2},
        {"exclude": "everything"},
        {"colour": "red"},
        {"filter": "not json"},
        {"filter": "[" * 50_000},
        {"filter": '{"script": {"script": "1 == 1"}}'},
        {"filter": '{"bool": {"filter": [{"script_score": {}}]}}'},
        {"filter": '{"terms": {"_id": {"index": "secrets", "id": "1", "path": "x"}}}'},
        {"filter": '{"term": {"a": 1}, "range": {}}'},
        {"filter": '{"bool": ' * 25 + "{}" + "}" * 25},
    ],
)
def test_what_cannot_be_meant_is_refused(shop: Shop, parameters: dict[str, object]) -> None:
    if len(str(parameters)) > 8000:  # longer than a request line
        answer = ask(
            "POST",
            f"{shop.url}/_sidecar/recommendations/fan",
            b'{"filter": ' + str(parameters["filter"]).encode(),
            {"Content-Type": "application/json"},
        )
    else:
        answer = recommend(shop, "recommendations/fan", **parameters)
    assert answer.status == 400, answer.text
    assert answer.json["detail"]


@pytest.fixture(scope="module")
def sorted_shop(elasticsearch_url: str, sqs_endpoint: str) -> Iterator[Shop]:
    prefix = "test-sorted-fallback"
    search = {"fallback_sort": '[{"popularity": "desc"}]'}
    with (
        connect(elasticsearch_url, timeout_s=30) as client,
        open_shop(client, sqs_endpoint, prefix, search=search) as running,
    ):
        yield running
        for index in client.indices.get_mapping(index=f"{prefix}*").body:
            client.indices.delete(index=index)


def test_a_configured_sort_is_the_fallback(sorted_shop: Shop) -> None:
    found = recommend(sorted_shop, "recommendations/nobody", size=3).json["hits"]["hits"]
    assert [hit["_source"]["popularity"] for hit in found] == [41, 40, 39]


def test_trending_counts_what_shoppers_did(sorted_shop: Shop) -> None:
    for one in range(3):
        sorted_shop.send(event(f"crowd-{one}", "tea-7", "purchase"))
    sorted_shop.send(*(event("loner", "books-1", "select_item") for _ in range(5)))
    for one in range(3):
        sorted_shop.wait_for(f"crowd-{one}", 1)
    sorted_shop.wait_for("loner", 5)
    until(lambda: sorted_shop.users.count({"exists": {"field": "newest_at"}}) == 4)
    found = recommend(sorted_shop, "trending", size=5).json["hits"]["hits"]
    assert [hit["_id"] for hit in found] == ["tea-7", "books-1"]
