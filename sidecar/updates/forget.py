"""Forgetting a shopper, for good.

Events that are still on their way when somebody asks to be forgotten must not bring the shopper
back: a tombstone stays, and interactions that the queue took up to then no longer count.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from sidecar.contract.errors import UnreachableError
from sidecar.elastic.users import Outcome, User
from sidecar.updates.recompute import UserScan

_ATTEMPTS = 20


class UserForget(UserScan, Protocol):
    """What is needed of :class:`sidecar.elastic.users.Users`."""

    def refresh(self) -> None: ...


def forget(
    users: UserForget,
    customer_id: str,
    clock: Callable[[], float] = time.time,
    also: Callable[[str], None] = lambda customer_id: None,
) -> bool:
    """Forget a shopper, and the earlier ids that were merged into this one.

    Parameters
    ----------
    users : UserForget
    customer_id : str
    clock : Callable[[], float]
        Seconds since 1970-01-01 UTC.
    also : Callable[[str], None]
        Called with each id that is forgotten, for what others keep about it.

    Returns
    -------
    bool
        Whether anything was known. A tombstone is left in any case: the first event may be on
        its way.

    Raises
    ------
    UnreachableError, RefusedError
        Nothing, or not all, is forgotten: ask again.
    """
    known = _bury(users, customer_id, clock)
    # Merges of the last second are not searchable yet.
    users.refresh()
    seen = {customer_id}
    frontier = [customer_id]
    while frontier:
        earlier = {
            user.customer_id for user in users.scan({"terms": {"merged_into": frontier}}, fields=())
        } - seen
        for one in sorted(earlier):
            known = _bury(users, one, clock) or known
        seen |= earlier
        frontier = sorted(earlier)
    for one in sorted(seen):
        also(one)
    return known


def _bury(users: UserForget, customer_id: str, clock: Callable[[], float]) -> bool:
    for _ in range(_ATTEMPTS):
        user = users.get_many([customer_id], vectors=False).get(customer_id, User(customer_id))
        now = int(clock() * 1000)
        # The queue's clock may run ahead of ours: all that is stored now is forgotten.
        newest = max((i.received_at // 1000 for i in user.history), default=0)
        tombstone = User(
            customer_id,
            updated_at=now,
            forgotten_at=max(now, newest, user.forgotten_at or 0),
            seq_no=user.seq_no,
            primary_term=user.primary_term,
        )
        written = users.put_many([tombstone])[customer_id]
        if written.outcome is Outcome.STORED:
            return bool(user.history or user.merged_into)
        if written.outcome is not Outcome.CONFLICT:
            raise UnreachableError(f"forgetting a shopper: Elasticsearch says {written.reason}")
    raise UnreachableError("forgetting a shopper: somebody else keeps writing, ask again")
