"""One search twice: as it comes, and as the sidecar would send it for a shopper."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from sidecar.contract.weights import F32
from sidecar.elastic.indices import VECTOR_FIELD
from sidecar.search.classify import classify
from sidecar.search.jsontext import parse_object
from sidecar.search.rewrite import Taste, personalise
from sidecar.search.script import encode_vector
from sidecar.search.settings import SearchSettings
from sidecar.search.strength import boost
from sidecar.tower.load import Tower

#: More hits than are shown, so that rank changes are known.
DEPTH = 100
Hits = Sequence[Mapping[str, Any]]


class SearchSource(Protocol):
    """What is needed of :class:`sidecar.elastic.documents.ProductDocuments`."""

    def search(self, body: Mapping[str, Any] | str) -> dict[str, Any]: ...

    def text_fields(self) -> list[str]: ...


class Compared(NamedTuple):
    """Hits in both orders.

    Parameters
    ----------
    plain : Sequence[Mapping]
    personal : Sequence[Mapping], optional
        ``None`` where there was nothing to rank by.
    total : int
        How many products match.
    """

    plain: Hits
    personal: Hits | None
    total: int


class Comparison:
    """Runs a search in both forms, by the same rewriting that the proxy does.

    Parameters
    ----------
    documents : SearchSource
    tower_of : Callable[[], Tower]
        The tower that is served now.
    settings : SearchSettings
    """

    def __init__(
        self, documents: SearchSource, tower_of: Callable[[], Tower], settings: SearchSettings
    ) -> None:
        self._documents = documents
        self._tower_of = tower_of
        self._settings = settings

    @property
    def impact(self) -> float:
        """The impact that is configured."""
        return self._settings.impact

    def run(self, text: str, vector: F32 | None, evidence: float, impact: float) -> Compared:
        """Search for a text, or browse everything where it is empty.

        Parameters
        ----------
        text : str
        vector : float32 array of shape (D,), optional
            The shopper's.
        evidence : float
            Sum of the event weights of the shopper's history.
        impact : float
            0 to 100.

        Raises
        ------
        UnreachableError, RefusedError
        """
        body = json.dumps(self._body(text))
        plain = self._documents.search(body)["hits"]
        total = plain.get("total", {}).get("value", len(plain["hits"]))
        personal = None
        if vector is not None and impact > 0:
            personal = self._documents.search(self._rewritten(body, vector, evidence, impact))
        return Compared(
            plain["hits"], None if personal is None else personal["hits"]["hits"], total
        )

    def _rewritten(self, body: str, vector: F32, evidence: float, impact: float) -> str:
        parsed = parse_object(body.encode())
        kind = classify({}, parsed, self._settings).kind
        weights = self._tower_of().weights
        taste = Taste(
            encode_vector(vector),
            boost(impact, evidence, self._settings),
            weights.metadata.calibration,
            weights.product_space,
        )
        return personalise(parsed, kind, taste, self._settings)

    def _body(self, text: str) -> dict[str, Any]:
        query: dict[str, Any] = {"match_all": {}}
        if text.strip():
            query = {"multi_match": {"query": text, "fields": self._documents.text_fields()}}
        return {"query": query, "size": DEPTH, "_source": {"excludes": [VECTOR_FIELD]}}
