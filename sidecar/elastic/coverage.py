"""How much of the catalogue, and of the shoppers, has vectors, and of which weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from elasticsearch import Elasticsearch

from sidecar.elastic.client import errors
from sidecar.elastic.indices import VECTOR_FIELD

#: More spaces or weights than this in one index: something is badly wrong anyway.
_MOST = 20
_EVERYTHING: Mapping[str, Any] = MappingProxyType({"match_all": {}})


@dataclass(frozen=True)
class Coverage:
    """Documents, those with a vector, and how many vectors each maker made.

    Parameters
    ----------
    documents : int
    with_vector : int
    by_maker : Mapping[str, int]
        For products by space, for shoppers by the weights' fingerprint.
    """

    documents: int
    with_vector: int
    by_maker: Mapping[str, int]

    def is_of(self, maker: str) -> bool:
        """Whether that one made all vectors there are, or all but a few that are being made."""
        return self.by_maker.get(maker, 0) > 0.99 * max(1, self.with_vector)


def product_coverage(client: Elasticsearch, expressions: Sequence[str]) -> Coverage:
    """Of the indices of products.

    Raises
    ------
    UnreachableError, RefusedError
    """
    return _coverage(client, ",".join(expressions), VECTOR_FIELD, "embedding_model")


def user_coverage(client: Elasticsearch, index: str) -> Coverage:
    """Of the index of shoppers.

    Raises
    ------
    UnreachableError, RefusedError
    """
    # A vector is not searchable there; a shopper with weights has one, or had no product with one.
    # Who was forgotten leaves a document without a history: nobody to count.
    return _coverage(client, index, "weights", "weights", {"exists": {"field": "newest_at"}})


def _coverage(
    client: Elasticsearch,
    index: str,
    field: str,
    maker: str,
    among: Mapping[str, Any] = _EVERYTHING,
) -> Coverage:
    with errors(f"counting in {index}"):
        documents = int(client.count(index=index, query=dict(among))["count"])
        answer = client.search(
            index=index,
            size=0,
            track_total_hits=True,
            query={"bool": {"filter": [dict(among), {"exists": {"field": field}}]}},
            aggs={"makers": {"terms": {"field": maker, "size": _MOST}}},
        )
    buckets = answer["aggregations"]["makers"]["buckets"]
    with_vector = int(answer["hits"]["total"]["value"])
    return Coverage(documents, with_vector, {b["key"]: int(b["doc_count"]) for b in buckets})
