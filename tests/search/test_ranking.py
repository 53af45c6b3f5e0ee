"""The whole path against a server: shoppers and products in indices, pages, scores."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk

from sidecar import resources
from sidecar.contract.errors import RefusedError
from sidecar.contract.events import BUSINESS_WEIGHTS
from sidecar.contract.history import HistoryLimits, Interaction
from sidecar.contract.schema import Calibration
from sidecar.elastic.indices import setup_users
from sidecar.elastic.pages import Pages
from sidecar.elastic.resolve import Resolver
from sidecar.elastic.users import User, Users
from sidecar.search.proxy import Proxy
from sidecar.search.settings import SearchSettings
from sidecar.search.upstream import Upstream
from sidecar.web.lookup import ShopperReader, authorization
from sidecar.web.model import ServedModel
from sidecar.web.pins import StoredPins
from sidecar.web.search import search_proxy, shopper_lookup

from .fakes import unit
from .wsgi import call

pytestmark = pytest.mark.servers
MODEL = ServedModel("", "space", Calibration(-0.2, 0.4), BUSINESS_WEIGHTS, HistoryLimits())
COUNT = 40


class Shop:
    """A catalogue, shoppers, and any number of replicas of the sidecar."""

    def __init__(self, url: str, client: Elasticsearch, prefix: str) -> None:
        self.url, self.client = url, client
        self.index, self.pages_index = f"{prefix}-products", f"{prefix}-pages"
        self.stores: list[Pages] = []
        self.users = Users(client, f"{prefix}-users")
        setup_users(client, self.users.index, resources.mapping("users"))
        vector = {"type": "dense_vector", "dims": 384, "index": True, "similarity": "cosine"}
        # Exact vectors: the embedded server's default index type rounds scores.
        vector["index_options"] = {"type": "hnsw"}
        properties = {
            "name": {"type": "text"},
            "popularity": {"type": "integer"},
            "product_vector": vector,
        }
        client.indices.create(index=self.index, mappings={"properties": properties})
        actions: list[dict[str, Any]] = []
        for i in range(COUNT):
            source: dict[str, Any] = {"name": f"shoe {i}", "popularity": i}
            if i % 8 != 7:
                source["product_vector"] = unit(i).tolist()
            actions.append({"_index": self.index, "_id": str(i), "_source": source})
        bulk(client, actions, refresh=True)

    def likes(
        self, customer: str, seed: int, event: str = "product_purchased", age_s: float = 0
    ) -> None:
        now = int((time.time() - age_s) * 1e6)
        history = (Interaction(now, f"e{seed}", str(seed), event, now),)
        stored = self.users.get(customer)
        user = User(customer, history, unit(seed), "w", "space", now // 1000)
        if stored is not None:
            user = replace(user, seq_no=stored.seq_no, primary_term=stored.primary_term)
        self.users.put_many([user])

    def replica(
        self, api_key: str | None = "", browse_limit: int = 100_000, **settings: Any
    ) -> Proxy:
        told = SearchSettings(
            product_indices=(self.index,), shopper_cache_s=0, deadline_ms=5000, **settings
        )
        pages = Pages(self.client, self.pages_index, resources.mapping("pages"), 60)
        self.stores.append(pages)
        return search_proxy(
            self.url,
            self.users,
            Resolver(self.client, "product_vector", 384),
            lambda: MODEL,
            told,
            version=lambda: (8, 15),
            pins=StoredPins(pages),
            api_key=api_key,
            browse_limit=browse_limit,
        )

    def search(self, proxy: Proxy, body: dict[str, Any], customer: str = "c1") -> Any:
        raw = json.dumps(body)
        got = call(proxy, "POST", f"/{self.index}/_search", raw, x_customer_id=customer)
        assert got.status == 200, got.body
        return got

    def hits(
        self, proxy: Proxy, body: dict[str, Any], customer: str = "c1"
    ) -> list[tuple[str, float]]:
        found = self.search(proxy, body, customer).json()["hits"]["hits"]
        return [(hit["_id"], hit["_score"]) for hit in found]


@pytest.fixture
def shop(elasticsearch_url: str, client: Elasticsearch, unique: str) -> Iterator[Shop]:
    yield Shop(elasticsearch_url, client, unique)
    client.options(ignore_status=404).indices.delete(index=f"{unique}-pages")


@pytest.mark.parametrize("api_key", ["", None])
def test_the_score_is_the_formula(shop: Shop, api_key: str | None) -> None:
    shop.likes("c1", 5)
    a = 2.0 * 0.5 * 8 / (8 + 2)
    proxy = shop.replica(api_key)
    for product, score in shop.hits(proxy, {"size": COUNT}):
        cosine = float(unit(5) @ unit(int(product)))
        u = min(max((cosine + 0.2) / 0.6, 0.0), 1.0)
        expected = 1 + a / 2 if int(product) % 8 == 7 else 1 + a * u
        assert score == pytest.approx(expected, abs=1e-4), product
    plain = dict(shop.hits(proxy, {"query": {"match": {"name": "shoe"}}, "size": COUNT}, "nobody"))
    ranked = shop.hits(proxy, {"query": {"match": {"name": "shoe"}}, "size": COUNT})
    assert ranked[0][0] == "5"
    assert dict(ranked)["5"] == pytest.approx(plain["5"] * (1 + a), rel=1e-4)


def test_formula_cosine_is_the_articles(shop: Shop) -> None:
    shop.likes("c1", 5)
    found = dict(shop.hits(shop.replica(formula="cosine"), {"size": COUNT}))
    for product, score in found.items():
        expected = 1.0 if int(product) % 8 == 7 else float(unit(5) @ unit(int(product))) + 1.0
        assert score == pytest.approx(expected, abs=1e-4)


def test_in_a_large_catalogue_the_nearest_come_first(shop: Shop) -> None:
    shop.likes("c1", 5)
    proxy = shop.replica(browse_limit=COUNT - 1, window=10)
    query = {"bool": {"filter": [{"range": {"popularity": {"lt": 30}}}]}}
    plain = [i for i, _ in shop.hits(proxy, {"query": query, "size": COUNT}, "nobody")]
    got = shop.search(proxy, {"query": query, "size": COUNT})
    assert got.decision == ("rewritten", "nearest")
    ranked = [hit["_id"] for hit in got.json()["hits"]["hits"]]
    assert sorted(ranked) == sorted(plain)
    with_vector = [i for i in range(30) if i % 8 != 7]
    nearest = sorted(with_vector, key=lambda i: -float(unit(5) @ unit(i)))[:10]
    assert ranked[:10] == [str(i) for i in nearest]
    pages = [
        i
        for start in range(0, 30, 7)
        for i, _ in shop.hits(proxy, {"query": query, "from": start, "size": 7})
    ]
    assert pages == ranked


def test_products_of_another_space_count_as_without_a_vector(shop: Shop) -> None:
    """While `trainer vectorize` exchanges the vectors, half of them are of other weights."""
    shop.likes("c1", 5)
    shop.client.indices.put_mapping(
        index=shop.index, properties={"embedding_model": {"type": "keyword"}}
    )
    for product, space in (("5", "space+5f0c"), ("6", "space")):
        shop.client.update(index=shop.index, id=product, doc={"embedding_model": space})
    shop.client.indices.refresh(index=shop.index)
    cosine = float(unit(5) @ unit(6))
    a = 2.0 * 0.5 * 8 / (8 + 2)
    browsed = dict(shop.hits(shop.replica(), {"size": COUNT}))
    assert browsed["5"] == browsed["7"] == pytest.approx(1 + a / 2, abs=1e-4)
    u = min(max((cosine + 0.2) / 0.6, 0.0), 1.0)
    assert browsed["6"] == pytest.approx(1 + a * u, abs=1e-4)
    text = {"query": {"match": {"name": "shoe"}}, "size": COUNT}
    plain = dict(shop.hits(shop.replica(), text, "nobody"))
    found = dict(shop.hits(shop.replica(), text))
    assert found["5"] == pytest.approx(plain["5"] * (1 + a / 2), rel=1e-4)
    found = dict(shop.hits(shop.replica(formula="cosine"), {"size": COUNT}))
    assert found["5"] == 1.0
    assert found["6"] == pytest.approx(cosine + 1.0, abs=1e-4)
    nearest = shop.hits(shop.replica(browse_limit=COUNT - 1, window=10), {"size": COUNT})
    with_vector = [i for i in range(COUNT) if i % 8 != 7 and i != 5]
    expected = sorted(with_vector, key=lambda i: -float(unit(5) @ unit(i)))[:10]
    assert [i for i, _ in nearest[:10]] == [str(i) for i in expected]


def test_the_fallback(shop: Shop) -> None:
    shop.likes("old", 5, age_s=49 * 3600)
    proxy = shop.replica(fallback_sort='[{"popularity":"desc"}]')
    for customer in ("nobody", "old"):
        got = shop.search(proxy, {"size": 3}, customer)
        hits = got.json()["hits"]["hits"]
        assert [hit["_id"] for hit in hits] == ["39", "38", "37"]
        assert [hit["_score"] for hit in hits] == [1.0, 1.0, 1.0]
        assert got.decision[0] == "fallback"
    asked = shop.search(proxy, {"sort": [{"popularity": "asc"}], "size": 2}, "nobody")
    assert [hit["_id"] for hit in asked.json()["hits"]["hits"]] == ["0", "1"]


def test_pages_agree_while_the_shopper_clicks_and_replicas_change(shop: Shop) -> None:
    shop.likes("c1", 5)
    replicas = [shop.replica(), shop.replica()]
    for query in ({"match_all": {}}, {"match": {"name": "shoe"}}):
        whole = [i for i, _ in shop.hits(replicas[0], {"query": query, "size": COUNT})]
        seen = []
        for page, start in enumerate(range(0, COUNT, 9)):
            body = {"query": query, "from": start, "size": 9}
            seen += [i for i, _ in shop.hits(replicas[page % 2], body)]
            shop.likes("c1", 10 + page)
            assert all(store.flush() for store in shop.stores)
        assert seen == whole
        assert sorted(seen, key=int) == [str(i) for i in range(COUNT)]
        fresh = [i for i, _ in shop.hits(replicas[1], {"query": query, "size": COUNT})]
        assert fresh[0] == "14"
        shop.likes("c1", 5)


def test_what_expressions_stand_for(shop: Shop, unique: str) -> None:
    client = shop.client
    vector = {"type": "dense_vector", "dims": 8, "index": True, "similarity": "cosine"}
    client.indices.create(
        index=f"{unique}-small", mappings={"properties": {"product_vector": vector}}
    )
    client.indices.create(index=f"{unique}-plain", mappings={"properties": {"n": {"type": "text"}}})
    client.indices.put_alias(index=f"{unique}-products,{unique}-plain", name=f"{unique}-good")
    client.indices.put_alias(index=f"{unique}-products,{unique}-small", name=f"{unique}-bad")
    resolve = Resolver(client, "product_vector", 384)
    assert resolve(shop.index, 10).fits
    assert resolve(f"{unique}-good", 10).fits
    assert shop.index in resolve(f"{unique}-good", 10).indices
    assert resolve(f"{unique}-p*", 10).fits
    for expression in (f"{unique}-bad", f"{unique}-small", f"{unique}-plain", f"{unique}-*"):
        assert not resolve(expression, 10).fits, expression
    for expression in (f"{unique}-none", f"{unique}-none*"):
        assert resolve(expression, 10) == ((), False, 0)
    assert not Resolver(client, "a.b", 384)(shop.index, 10).fits


def test_both_lookups_agree(shop: Shop) -> None:
    shop.likes("c/1 é", 5)
    fast = ShopperReader(Upstream(shop.url), shop.users.index, "", lambda: MODEL)
    slow = shopper_lookup(shop.users, lambda: MODEL)
    one, other = fast("c/1 é", 5), slow("c/1 é", 5)
    assert one is not None
    assert other is not None
    assert np.array_equal(one.vector, other.vector)  # type: ignore[arg-type]
    assert (one.evidence, one.product_space, one.expires_at) == (8.0, "space", other.expires_at)
    assert fast("nobody", 5) is None
    assert slow("nobody", 5) is None
    missing = ShopperReader(Upstream(shop.url), "test-no-such-index", "", lambda: MODEL)
    with pytest.raises(RefusedError):
        missing("c1", 5)


def test_whose_credentials_lookups_use() -> None:
    assert authorization("http://es:9200", "") == ""
    assert authorization("http://es:9200", "abc==") == "ApiKey abc=="
    assert authorization("https://elastic:p%40ss@es:9200", "") == "Basic ZWxhc3RpYzpwQHNz"
