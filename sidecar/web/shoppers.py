"""A shopper as people want to see one: the history, named, with shares, and the vector's age."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from sidecar.contract.history import is_expired
from sidecar.contract.weights import F32
from sidecar.elastic.users import User
from sidecar.tower.load import Tower
from sidecar.updates.explain import Explanation, Influence, deed, explain, in_words

#: Where catalogues keep a product's name.
NAME_FIELDS = ("name", "title", "product_name", "label")


class UserSource(Protocol):
    """What is needed of :class:`sidecar.elastic.users.Users`."""

    def get(self, customer_id: str, timeout_s: float | None = None) -> User | None: ...


class DocumentSource(Protocol):
    """What is needed of :class:`sidecar.elastic.documents.ProductDocuments`."""

    def get(self, product_ids: Iterable[str]) -> dict[str, dict[str, Any]]: ...

    def search(self, body: Mapping[str, Any] | str) -> dict[str, Any]: ...


class VectorSource(Protocol):
    """What is needed of :class:`sidecar.elastic.products.ProductVectors`."""

    def get(self, product_ids: Iterable[str], space: str) -> dict[str, F32]: ...


@dataclass(frozen=True)
class Portrait:
    """A shopper, explained.

    Parameters
    ----------
    user : User
    explanation : Explanation
    products : Mapping[str, Mapping]
        Sources of the history's products, by id.
    evidence : float
        Sum of the event weights of the history.
    expired : bool
        Whether the newest interaction is too old for searches to use the vector.
    current : bool
        Whether the weights that are served made the stored vector.
    now : float
        When it was looked at, seconds since 1970-01-01 UTC.
    """

    user: User
    explanation: Explanation
    products: Mapping[str, Mapping[str, Any]]
    evidence: float
    expired: bool
    current: bool
    now: float


class Shoppers:
    """Looks shoppers up and explains them.

    Parameters
    ----------
    users : UserSource
    documents : DocumentSource
    vectors : VectorSource
    tower_of : Callable[[], Tower]
        The tower that is served now.
    clock : Callable[[], float]
        Seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        users: UserSource,
        documents: DocumentSource,
        vectors: VectorSource,
        tower_of: Callable[[], Tower],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._users = users
        self._documents = documents
        self._vectors = vectors
        self._tower_of = tower_of
        self._clock = clock

    def get(self, customer_id: str) -> User | None:
        """The shopper as stored, ``None`` for one without any trace but a tombstone."""
        user = self._users.get(customer_id)
        return user if user is not None and user.history else None

    def portrait(self, customer_id: str) -> Portrait | None:
        """The shopper, explained; ``None`` for one who is not known, or was forgotten.

        Raises
        ------
        UnreachableError, RefusedError
        """
        user = self.get(customer_id)
        if user is None:
            return None
        tower = self._tower_of()
        weights, metadata = tower.weights, tower.weights.metadata
        wanted = {i.product_id for i in user.history}
        vectors = self._vectors.get(wanted, weights.product_space)
        known: Any = metadata.vocabulary.weights
        now = self._clock()
        return Portrait(
            user,
            explain(user.history, vectors, tower),
            self._documents.get(wanted),
            sum(known.get(i.event, 0.0) for i in user.history),
            is_expired(user.history, int(now * 1e6), metadata.limits),
            user.weights == weights.fingerprint,
            now,
        )


def as_json(portrait: Portrait) -> dict[str, Any]:
    """The answer of ``GET /_sidecar/users/{id}``."""
    user, now = portrait.user, portrait.now
    return {
        "customer_id": user.customer_id,
        "history": [_entry(one, portrait) for one in portrait.explanation.influences],
        "vector": {
            "exists": user.vector is not None,
            "updated_at": iso(user.updated_at / 1e3),
            "age_seconds": round(max(0.0, now - user.updated_at / 1e3), 3),
            "expired": portrait.expired,
            "from_own_products": _rounded(portrait.explanation.from_products),
            "weights": user.weights,
            "made_by_served_weights": portrait.current,
            "product_space": user.product_space,
        },
        "evidence": round(portrait.evidence, 3),
        "merged_into": list(user.merged_into),
        "waiting_for": list(user.waiting_for),
    }


def _entry(influence: Influence, portrait: Portrait) -> dict[str, Any]:
    one = influence.interaction
    source = portrait.products.get(one.product_id)
    return {
        "product_id": one.product_id,
        "product": None if source is None else name_of(source, one.product_id),
        "event": one.event,
        "event_id": one.event_id,
        "occurred_at": iso(one.occurred_at / 1e6),
        "age_seconds": round(max(0.0, portrait.now - one.occurred_at / 1e6), 3),
        "share": _rounded(influence.share),
        "in_words": in_words(influence, portrait.now),
        "did": deed(one.event),
    }


def name_of(source: Mapping[str, Any], product_id: str) -> str:
    """A product's name; its id where the catalogue has none."""
    for field in NAME_FIELDS:
        value = source.get(field)
        if isinstance(value, str) and value.strip():
            return value
    return product_id


def iso(seconds: float) -> str:
    """A time as ``2026-01-31T12:00:00.000Z``."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
