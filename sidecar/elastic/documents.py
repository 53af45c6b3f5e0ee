"""Products as documents: read by id, searched, and never with their vectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from elasticsearch import Elasticsearch

from sidecar.contract.product_text import DEFAULT_FIELDS, in_our_words
from sidecar.elastic.client import errors
from sidecar.elastic.indices import VECTOR_FIELD, concrete_indices, properties
from sidecar.elastic.products import RESOLVE_EVERY_S

_JSON = {"accept": "application/json", "content-type": "application/json"}
#: Fields that the sidecar added: nobody searches in them.
_OWN_FIELDS = frozenset({VECTOR_FIELD, "product_text_hash", "embedding_model"})


class ProductDocuments:
    """The catalogue's documents.

    Parameters
    ----------
    client : Elasticsearch
    expressions : Sequence[str]
        Indices, aliases or wildcards that hold the products.
    clock : Callable[[], float]
        Seconds; for tests.
    fields : Mapping[str, str]
        Our names of what a product says about itself, to the catalogue's.
    """

    def __init__(
        self,
        client: Elasticsearch,
        expressions: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        fields: Mapping[str, str] = DEFAULT_FIELDS,
    ) -> None:
        self.fields = fields
        self._client = client
        self._expressions = list(expressions)
        self._clock = clock
        self._indices: tuple[float, list[str]] | None = None

    def get(self, product_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The sources of those products that there are, in one request, with our names beside.

        Raises
        ------
        UnreachableError, RefusedError
        """
        wanted = list(dict.fromkeys(product_ids))
        if not wanted:
            return {}
        docs = [
            {"_index": index, "_id": one, "_source": {"excludes": [VECTOR_FIELD]}}
            for index in self._concrete()
            for one in wanted
        ]
        with errors("reading products"):
            answer = self._client.perform_request(
                "POST", "/_mget", headers=_JSON, body={"docs": docs}
            )
        found = (doc for doc in answer.body["docs"] if doc.get("found"))
        return {
            doc["_id"]: in_our_words(_without_vector(doc.get("_source") or {}), self.fields)
            for doc in found
        }

    def search(self, body: Mapping[str, Any] | str) -> dict[str, Any]:
        """Search the catalogue.

        Parameters
        ----------
        body : Mapping or str
            A search, or its JSON.

        Returns
        -------
        dict
            Elasticsearch's answer; no hit holds a vector.

        Raises
        ------
        UnreachableError, RefusedError
        """
        path = f"/{quote(','.join(self._expressions), safe=',*-_.')}/_search"
        with errors("searching products"):
            answer = self._client.perform_request("POST", path, headers=_JSON, body=body)
        found: dict[str, Any] = dict(answer.body)
        for hit in found.get("hits", {}).get("hits", ()):
            if "_source" in hit:
                hit["_source"] = _without_vector(hit["_source"])
        return found

    def text_fields(self) -> list[str]:
        """Fields that hold analyzed text, dotted; those of keywords where there are none.

        Raises
        ------
        UnreachableError, RefusedError
        """
        kinds: dict[str, str] = {}
        for index in self._concrete():
            kinds |= dict(_leaves(properties(self._client, index), ""))
        for wanted in ("text", "keyword"):
            names = [name for name, kind in kinds.items() if kind == wanted]
            if names:
                return sorted(names)
        return []

    def _concrete(self) -> list[str]:
        now = self._clock()
        if self._indices is None or self._indices[0] <= now:
            found = concrete_indices(self._client, self._expressions)
            self._indices = (now + RESOLVE_EVERY_S, found)
        return self._indices[1]


def _without_vector(source: Mapping[str, Any]) -> dict[str, Any]:
    """Excluded in the request already; a stored vector must not slip through a proxy's habit."""
    return {name: value for name, value in source.items() if name != VECTOR_FIELD}


def _leaves(fields: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, str]]:
    for name, field in fields.items():
        if not prefix and name in _OWN_FIELDS:
            continue
        if "properties" in field and field.get("type", "object") == "object":
            yield from _leaves(field["properties"], f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(field.get("type", ""))
