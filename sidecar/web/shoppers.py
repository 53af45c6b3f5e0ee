"""A shopper as people want to see one: the history, named, with shares, and the vector's age."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from sidecar.contract.history import is_expired
from sidecar.contract.weights import F32
from sidecar.elastic.users import User
from sidecar.tower.load import Tower
from sidecar.updates.explain import (
    Explanation,
    Reason,
    ago,
    deed,
    explain,
    reasons,
)

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
    vectors : Mapping[str, float32 array of shape (D,)]
        Their vectors, of those that have one.
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
    vectors: Mapping[str, F32]
    evidence: float
    expired: bool
    current: bool
    now: float


class Why(NamedTuple):
    """Why a product is near a shopper.

    Parameters
    ----------
    similarity : float
        Cosine of the user vector and the product.
    because : list[Reason]
    """

    similarity: float
    because: list[Reason]


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
            vectors,
            sum(known.get(i.event, 0.0) for i in user.history),
            is_expired(user.history, int(now * 1e6), metadata.limits),
            user.weights == weights.fingerprint,
            now,
        )

    def why(self, portrait: Portrait, product_ids: Iterable[str]) -> dict[str, Why]:
        """Why these products are near the shopper or not; those without a vector are left out.

        Raises
        ------
        UnreachableError, RefusedError
        """
        weights = self._tower_of().weights
        space, floor = weights.product_space, weights.metadata.calibration.lo
        taste = portrait.explanation.vector
        found = self._vectors.get(product_ids, space) if taste is not None else {}
        return {
            name: Why(
                float(vector @ taste),
                reasons(portrait.explanation, portrait.vectors, vector, floor=floor),
            )
            for name, vector in found.items()
            if taste is not None
        }


def reason_in_words(
    reason: Reason, portrait: Portrait, *, when: bool = True, product_id: str = ""
) -> str:
    """``like Potato chips 11 oz, bought 11 minutes ago``.

    Parameters
    ----------
    reason : Reason
    portrait : Portrait
    when : bool
        Whether to say it.
    product_id : str
        The product in question: it is not "like" itself.
    """
    one = reason.interaction
    if one.product_id == product_id:
        return f"{deed(one.event)} already"
    name = name_of(portrait.products.get(one.product_id, {}), one.product_id)
    age = f" {ago(portrait.now - one.occurred_at / 1e6)}" if when else ""
    return f"like {name}, {deed(one.event)}{age}"


def name_of(source: Mapping[str, Any], product_id: str) -> str:
    """A product's name; its id where the catalogue has none."""
    for field in NAME_FIELDS:
        value = source.get(field)
        if isinstance(value, str) and value.strip():
            return value
    return product_id
