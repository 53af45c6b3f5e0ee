"""Recommendations: the products nearest to a shopper's taste, or to a product."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sidecar.contract.history import is_expired
from sidecar.contract.weights import F32
from sidecar.elastic.indices import VECTOR_FIELD
from sidecar.elastic.users import User, encode_vector
from sidecar.search.script import in_space
from sidecar.tower.load import Tower
from sidecar.web.diversity import mmr
from sidecar.web.explore import explored_before, interleave, seed
from sidecar.web.shoppers import DocumentSource, UserSource, VectorSource
from sidecar.web.trending import Trends
from sidecar.web.wanted import MAX_DEPTH, Wanted

#: How many neighbours a shard looks at before it names the nearest.
_CANDIDATES = 500
BOUGHT = "product_purchased"


class Recommended(NamedTuple):
    """Hits in Elasticsearch's form.

    Parameters
    ----------
    answer : dict
        Elasticsearch's.
    action : str
        ``recommended`` or ``fallback``.
    reason : str
        ``taste``, ``similar``, ``trending``; of a fallback: ``no_vector``, ``expired``,
        ``other_space``.
    """

    answer: dict[str, Any]
    action: str
    reason: str


class Recommender:
    """Finds products by vectors.

    Parameters
    ----------
    users : UserSource
    documents : DocumentSource
    vectors : VectorSource
    tower_of : Callable[[], Tower]
        The tower that is served now.
    trends : Trends
    fallback_sort : str
        JSON of an Elasticsearch sort, for shoppers of whom nothing is known; empty: what is
        trending.
    clock : Callable[[], float]
        Seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        users: UserSource,
        documents: DocumentSource,
        vectors: VectorSource,
        tower_of: Callable[[], Tower],
        trends: Trends,
        fallback_sort: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._users = users
        self._documents = documents
        self._vectors = vectors
        self._tower_of = tower_of
        self._trends = trends
        self._fallback_sort = json.loads(fallback_sort) if fallback_sort else None
        self._clock = clock

    def for_shopper(self, customer_id: str, wanted: Wanted) -> Recommended:
        """The products nearest to the shopper's vector; what is popular for the unknown.

        Raises
        ------
        UnreachableError, RefusedError
        """
        user = self._users.get(customer_id)
        refused = self._unusable(user)
        excluded = _excluded(user, wanted)
        if refused or user is None or user.vector is None:
            return self._fallback(wanted, excluded, refused)
        answer = self._near(user.customer_id, user.vector, user.product_space, wanted, excluded)
        return Recommended(answer, "recommended", "taste")

    def similar(self, product_id: str, wanted: Wanted) -> Recommended | None:
        """The products nearest to a product; ``None`` if there is no such product.

        Raises
        ------
        UnreachableError, RefusedError
        """
        space = self._tower_of().weights.product_space
        vector = self._vectors.get([product_id], space).get(product_id)
        user = self._users.get(wanted.customer_id) if wanted.customer_id else None
        excluded = [*_excluded(user, wanted), product_id]
        if vector is not None:
            answer = self._near(product_id, vector, space, wanted, excluded)
            return Recommended(answer, "recommended", "similar")
        if product_id not in self._documents.get([product_id]):
            return None
        return self._fallback(wanted, excluded, "no_vector")

    def products(self, product_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Sources of those products that there are.

        Raises
        ------
        UnreachableError, RefusedError
        """
        return self._documents.get(product_ids)

    def trending(self, wanted: Wanted) -> Recommended:
        """What shoppers did most with in the last days.

        Raises
        ------
        UnreachableError, RefusedError
        """
        top = [product_id for product_id, _ in self._trends.top()]
        user = self._users.get(wanted.customer_id) if wanted.customer_id else None
        query = self._popular(wanted, _excluded(user, wanted))
        query["bool"].setdefault("filter", []).append({"ids": {"values": top}})
        return Recommended(
            self._documents.search(_page(wanted) | {"query": query}), "recommended", "trending"
        )

    def _unusable(self, user: User | None) -> str:
        """Why a shopper's vector cannot be used; empty if it can."""
        if user is None or user.vector is None or not np.any(user.vector):
            return "no_vector"
        weights = self._tower_of().weights
        if is_expired(user.history, int(self._clock() * 1e6), weights.metadata.limits):
            return "expired"
        return "" if user.product_space == weights.product_space else "other_space"

    def _near(
        self, name: str, vector: F32, space: str, wanted: Wanted, excluded: list[str]
    ) -> dict[str, Any]:
        if wanted.explore > 0:
            return self._exploring(name, vector, space, wanted, excluded)
        return self._nearest(vector, space, wanted, excluded)

    def _nearest(
        self, vector: F32, space: str, wanted: Wanted, excluded: list[str]
    ) -> dict[str, Any]:
        page = _page(wanted)
        if wanted.diversity > 0:
            # The same candidates for every page, so that the pages are cut from one order.
            page = _page(replace(wanted, start=0, size=MAX_DEPTH))
        depth = page["from"] + page["size"]
        knn: dict[str, Any] = {
            "field": VECTOR_FIELD,
            "query_vector": encode_vector(vector),
            "k": depth,
            "num_candidates": max(depth, _CANDIDATES),
        }
        conditions = _conditions(wanted, excluded)
        # While `trainer vectorize` exchanges vectors, those of another space mean nothing here.
        conditions["filter"] = [*conditions.get("filter", []), in_space(space)]
        knn["filter"] = {"bool": conditions}
        answer = self._documents.search(page | {"knn": knn})
        if wanted.diversity > 0:
            answer["hits"]["hits"] = self._diverse(answer["hits"]["hits"], vector, wanted)
        return answer

    def _diverse(self, hits: list[Any], vector: F32, wanted: Wanted) -> list[Any]:
        ids = [hit["_id"] for hit in hits]
        found = self._vectors.get(ids, self._tower_of().weights.product_space)
        nothing = np.zeros_like(vector)
        rows = np.stack([found.get(one, nothing) for one in ids]) if ids else nothing[None]
        relevance = (rows @ vector)[: len(hits)]
        order = mmr(relevance, rows[: len(hits)], wanted.diversity, wanted.start + wanted.size)
        return [hits[row] for row in order[wanted.start :]]

    def _exploring(
        self, name: str, vector: F32, space: str, wanted: Wanted, excluded: list[str]
    ) -> dict[str, Any]:
        """The nearest, with a share of slots for the rest of the shop, drawn anew each day for
        each shopper (or product)."""
        whole = replace(wanted, start=0, size=MAX_DEPTH)
        answer = self._nearest(vector, space, whole, excluded)
        near = answer["hits"]["hits"]
        drawn = {
            "query": {"bool": _conditions(wanted, [*excluded, *(hit["_id"] for hit in near)])},
            "random_score": {
                "seed": seed(name, int(self._clock() // 86_400)),
                "field": "_seq_no",
            },
            "boost_mode": "replace",
        }
        page = _page(replace(whole, size=explored_before(MAX_DEPTH, wanted.explore) + 1))
        others = self._documents.search(page | {"query": {"function_score": drawn}})
        answer["hits"]["hits"] = interleave(
            near, others["hits"]["hits"], wanted.explore, wanted.start, wanted.size
        )
        return answer

    def _fallback(self, wanted: Wanted, excluded: list[str], reason: str) -> Recommended:
        body = _page(wanted)
        if self._fallback_sort is not None:
            body |= {"query": {"bool": _conditions(wanted, excluded)}, "sort": self._fallback_sort}
        else:
            body |= {"query": self._popular(wanted, excluded)}
        return Recommended(self._documents.search(body), "fallback", reason)

    def _popular(self, wanted: Wanted, excluded: list[str]) -> dict[str, Any]:
        """All products that fit, those that are trending first."""
        top = self._trends.top()
        # Scores above that of all others, which is 1; only their order means something.
        boosted = [
            {"constant_score": {"filter": {"ids": {"values": [one]}}, "boost": 1.0 + score}}
            for one, score in top
        ]
        should = [{"match_all": {}}, *boosted]
        return {"bool": _conditions(wanted, excluded) | {"should": should}}


def _page(wanted: Wanted) -> dict[str, Any]:
    return {
        "from": wanted.start,
        "size": wanted.size,
        "_source": {"excludes": [VECTOR_FIELD]},
    }


def _conditions(wanted: Wanted, excluded: list[str]) -> dict[str, Any]:
    conditions: dict[str, Any] = {}
    if wanted.filter is not None:
        conditions["filter"] = [wanted.filter]
    if excluded:
        conditions["must_not"] = [{"ids": {"values": excluded}}]
    return conditions


def _excluded(user: User | None, wanted: Wanted) -> list[str]:
    if user is None or not wanted.exclude:
        return []
    whole = "seen" in wanted.exclude
    return sorted({i.product_id for i in user.history if whole or i.event == BOUGHT})
