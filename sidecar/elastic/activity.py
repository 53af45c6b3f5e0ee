"""Who was active lately: what the inspector's first page lists, and what trending counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch

from sidecar.elastic.client import errors


@dataclass(frozen=True)
class Active:
    """A shopper who was written lately.

    Parameters
    ----------
    customer_id : str
    updated_at : int
        Milliseconds since 1970-01-01 UTC.
    interactions : tuple[tuple[str, str, int], ...]
        Product, event, and when, in microseconds since 1970-01-01 UTC.
    """

    customer_id: str
    updated_at: int
    interactions: tuple[tuple[str, str, int], ...]


def recent(client: Elasticsearch, index: str, size: int) -> list[Active]:
    """The shoppers that were written last, newest first; as of the index's last refresh.

    Raises
    ------
    UnreachableError, RefusedError
    """
    with errors("listing shoppers"):
        answer = client.search(
            index=index,
            query={"exists": {"field": "newest_at"}},
            sort=[{"updated_at": {"order": "desc", "unmapped_type": "date"}}],
            source_includes=["updated_at", "interactions"],
            size=size,
        ).body
    return [_active(hit) for hit in answer["hits"]["hits"]]


def _active(hit: Mapping[str, Any]) -> Active:
    source = hit["_source"]
    done = source.get("interactions", ())
    return Active(
        hit["_id"],
        source.get("updated_at", 0),
        tuple((i["product_id"], i["event"], i["occurred_at"]) for i in done),
    )
