"""User vectors made again from stored histories: for other weights, and for products that got
their vectors later than their events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sidecar.contract.errors import UnreachableError
from sidecar.elastic.users import Outcome, User
from sidecar.tower.load import Tower
from sidecar.updates.batch import apply, is_current, missing, with_vectors
from sidecar.updates.handler import UserStore, VectorSource

_ATTEMPTS = 10


class UserScan(UserStore, Protocol):
    """What is needed of :class:`sidecar.elastic.users.Users`, searches included."""

    def scan(
        self, query: Mapping[str, Any] | None = None, *, fields: Sequence[str] | None = None
    ) -> Iterator[User]: ...


@dataclass(frozen=True, slots=True)
class Recomputed:
    """How many shoppers were written, and how many were right already (or gone)."""

    written: int
    current: int


class Recompute:
    """Makes vectors again, without any new interaction.

    Parameters
    ----------
    users : UserStore
    products : VectorSource
    tower_of : Callable[[], Tower]
    clock : Callable[[], float]
        Seconds since 1970-01-01 UTC.
    always : bool
        Whether vectors of these weights are made again too.
    """

    def __init__(
        self,
        users: UserStore,
        products: VectorSource,
        tower_of: Callable[[], Tower],
        clock: Callable[[], float] = time.time,
        *,
        always: bool = False,
    ) -> None:
        self._always = always
        self._users = users
        self._products = products
        self._tower_of = tower_of
        self._clock = clock

    def run(self, customer_ids: Sequence[str]) -> Recomputed:
        """Read, compute and write these shoppers; a consumer may write them at the same time.

        Raises
        ------
        UnreachableError, RefusedError
        """
        written = 0
        tower = self._tower_of()
        left = list(customer_ids)
        for _ in range(_ATTEMPTS):
            if not left:
                break
            left, stored = self._attempt(left, tower)
            written += stored
        return Recomputed(written, len(customer_ids) - written - len(left))

    def _attempt(self, customer_ids: list[str], tower: Tower) -> tuple[list[str], int]:
        metadata = tower.weights.metadata
        stored = self._users.get_many(customer_ids, vectors=False)
        after = {
            one: apply(user, (), links=user.merged_into, limits=metadata.limits)
            for one, user in stored.items()
        }
        wanted = (i.product_id for user in after.values() for i in user.history)
        vectors = self._products.get(wanted, tower.weights.product_space)
        changed = [
            user
            for one, user in after.items()
            if user.history
            and (self._always or not is_current(stored[one], user, tower, missing(user, vectors)))
        ]
        now = int(self._clock() * 1000)
        outcomes = self._users.put_many(
            with_vectors(changed, vectors, tower, metadata.vocabulary, now)
        )
        for one in outcomes.values():
            if one.outcome is Outcome.RETRY:
                raise UnreachableError(f"writing shoppers: Elasticsearch says {one.reason}")
        conflicts = [name for name, one in outcomes.items() if one.outcome is Outcome.CONFLICT]
        done = sum(one.outcome is Outcome.STORED for one in outcomes.values())
        return conflicts, done


def pages(ids: Iterator[str], size: int) -> Iterator[list[str]]:
    """Lists of at most ``size``."""
    page: list[str] = []
    for one in ids:
        page.append(one)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
