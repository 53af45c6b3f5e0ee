"""Products as documents, on a real server: no vectors, several indices, what aliases stand for."""

from __future__ import annotations

import pytest
from elasticsearch import Elasticsearch

from sidecar.contract.errors import RefusedError
from sidecar.contract.product_text import product_fields
from sidecar.elastic.documents import ProductDocuments

pytestmark = pytest.mark.servers


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def fill(client: Elasticsearch, index: str, *ids: str) -> None:
    properties = {
        "name": {"type": "text"},
        "detail": {"properties": {"story": {"type": "text"}}},
        "product_vector": {"type": "dense_vector", "dims": 3, "similarity": "cosine"},
    }
    client.indices.create(index=index, mappings={"properties": properties})
    for one in ids:
        source = {"name": f"name of {one}", "product_vector": [1, 0, 0]}
        client.index(index=index, id=one, document=source, refresh=True)


def test_sources_come_without_vectors_from_all_indices(client: Elasticsearch, unique: str) -> None:
    fill(client, f"{unique}-a", "1", "2")
    fill(client, f"{unique}-b", "3")
    documents = ProductDocuments(client, [f"{unique}-a", f"{unique}-b"])
    found = documents.get(["1", "3", "1", "unheard-of"])
    assert found == {"1": {"name": "name of 1"}, "3": {"name": "name of 3"}}
    hits = documents.search({"query": {"match_all": {}}})["hits"]["hits"]
    assert {hit["_id"] for hit in hits} == {"1", "2", "3"}
    assert all("product_vector" not in hit["_source"] for hit in hits)
    assert documents.get([]) == {}


def test_what_a_product_says_is_found_under_our_names(client: Elasticsearch, unique: str) -> None:
    client.index(index=unique, id="1", document={"title": "Boot", "brand": {"name": "A"}})
    client.indices.refresh(index=unique)
    fields = product_fields({"name": "title", "merchant": "brand.name"}, "X")
    documents = ProductDocuments(client, [unique], fields=fields)
    own = {"title": "Boot", "brand": {"name": "A"}}
    assert documents.get(["1"]) == {"1": own | {"name": "Boot", "merchant": "A"}}
    # What the shop searches for itself is the shop's.
    assert documents.search({"query": {"match_all": {}}})["hits"]["hits"][0]["_source"] == own


def test_text_fields_are_dotted_and_not_the_sidecars_own(
    client: Elasticsearch, unique: str
) -> None:
    fill(client, unique, "1")
    assert ProductDocuments(client, [unique]).text_fields() == ["detail.story", "name"]


def test_a_new_index_behind_a_wildcard_is_seen_in_time(client: Elasticsearch, unique: str) -> None:
    clock = Clock()
    fill(client, f"{unique}-a", "1")
    documents = ProductDocuments(client, [f"{unique}-*"], clock)
    assert documents.get(["2"]) == {}
    fill(client, f"{unique}-b", "2")
    clock.now += 61
    assert documents.get(["2"]) == {"2": {"name": "name of 2"}}


def test_no_index_is_said_in_one_line(client: Elasticsearch, unique: str) -> None:
    with pytest.raises(RefusedError, match="there is no index behind"):
        ProductDocuments(client, [f"{unique}-none"]).get(["1"])
