"""An index of events, read in the order in which they happened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from elasticsearch import Elasticsearch

from sidecar.contract.errors import RefusedError
from sidecar.contract.timestamps import to_iso
from sidecar.elastic.client import errors

_PAGE = 1000
#: How long the server keeps its view of the index between two pages.
_KEEP_ALIVE = "5m"


def events(
    client: Elasticsearch, index: str, *, since: int = 0, time_field: str = "timestamp"
) -> Iterator[dict[str, Any]]:
    """Documents as events, oldest first; one that has no ``event_id`` is known by its ``_id``.

    The index is seen as it is at the start: what is written meanwhile does not appear.

    Parameters
    ----------
    client : Elasticsearch
    index : str
        Name, alias or wildcard.
    since : int
        Only events from then on; microseconds since 1970-01-01 UTC.
    time_field : str
        A field of type ``date``: when it happened; becomes the event's ``timestamp``.

    Raises
    ------
    UnreachableError, RefusedError
    """
    with errors(f"opening {index}"):
        view = client.open_point_in_time(index=index, keep_alive=_KEEP_ALIVE)["id"]
    after: list[Any] | None = None
    try:
        while True:
            with errors(f"reading {index}"):
                answer = client.search(
                    pit={"id": view, "keep_alive": _KEEP_ALIVE},
                    query={"range": {time_field: {"gte": to_iso(since)}}},
                    sort=[{time_field: "asc"}],
                    search_after=after,
                    size=_PAGE,
                    track_total_hits=False,
                ).body
            view = answer.get("pit_id", view)
            hits = answer["hits"]["hits"]
            if not hits:
                return
            yield from (_event(hit, time_field) for hit in hits)
            after = hits[-1]["sort"]
    finally:
        with errors(f"closing {index}"):
            client.close_point_in_time(id=view)


def _event(hit: Mapping[str, Any], time_field: str) -> dict[str, Any]:
    source = hit.get("_source")
    if not isinstance(source, dict):
        raise RefusedError(f"reading {hit.get('_index')}: its documents have no _source")
    event = dict(source)
    event.setdefault("event_id", hit["_id"])
    if time_field != "timestamp":
        event["timestamp"] = event.pop(time_field, None)
    return event
