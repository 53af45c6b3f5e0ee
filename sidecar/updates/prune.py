"""Deleting shoppers whose history is expired, and tombstones that nothing can wake any more."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from sidecar.contract.errors import ConfigError, UnreachableError
from sidecar.contract.history import HistoryLimits
from sidecar.elastic.users import Outcome, User, Written

#: The longest that SQS can keep a message: so long may an event be on its way.
KEEP_DAYS = 14.0
PAGE = 500


class UserPrune(Protocol):
    """What is needed of :class:`sidecar.elastic.users.Users`."""

    def scan(
        self, query: Mapping[str, Any] | None = None, *, fields: Sequence[str] | None = None
    ) -> Iterator[User]: ...

    def delete_many(self, users: Sequence[User]) -> dict[str, Written]: ...


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did.

    Parameters
    ----------
    deleted : int
    kept : int
        Shoppers who did something between the look and the deletion.
    finished : bool
    """

    deleted: int
    kept: int
    finished: bool


def prunable(limits: HistoryLimits, now_ms: int, keep_days: float = KEEP_DAYS) -> dict[str, Any]:
    """Query for what may go.

    Expired shoppers at once; tombstones, and shoppers that were merged into others, only when no
    event from before can be on its way any more.
    """
    expired = {"range": {"newest_at": {"lt": now_ms - limits.window // 1000}}}
    no_history = {"bool": {"must_not": [{"exists": {"field": "newest_at"}}]}}
    marks = [{"exists": {"field": name}} for name in ("forgotten_at", "merged_into")]
    unmarked = {"bool": {"must_not": marks}}
    old = {"range": {"updated_at": {"lt": now_ms - int(keep_days * 86_400_000)}}}
    return {
        "bool": {
            "filter": [
                {"bool": {"should": [expired, no_history], "minimum_should_match": 1}},
                {"bool": {"should": [unmarked, old], "minimum_should_match": 1}},
            ]
        }
    }


def prune(
    users: UserPrune,
    limits: HistoryLimits,
    *,
    keep_days: float = KEEP_DAYS,
    stop: threading.Event | None = None,
    progress: Callable[[int], None] = lambda done: None,
    clock: Callable[[], float] = time.time,
) -> Pruned:
    """Delete what may go. Consumers may run at the same time.

    Parameters
    ----------
    users : UserPrune
    limits : HistoryLimits
        Of the weights that are served.
    keep_days : float
        How long tombstones stay.
    stop : threading.Event, optional
    progress : Callable[[int], None]
        Called with the number of shoppers looked at so far.
    clock : Callable[[], float]
        Seconds since 1970-01-01 UTC.

    Raises
    ------
    ConfigError
        If tombstones are to go while events from before can still arrive.
    UnreachableError, RefusedError
        Run it again: what is deleted is deleted.
    """
    if not keep_days >= KEEP_DAYS:
        raise ConfigError("keep_days", keep_days, f"{KEEP_DAYS:g} (SQS keeps messages so long)")
    found = users.scan(prunable(limits, int(clock() * 1000), keep_days), fields=())
    deleted = kept = 0
    while page := list(islice(found, PAGE)):
        if stop is not None and stop.is_set():
            return Pruned(deleted, kept, finished=False)
        for written in users.delete_many(page).values():
            if written.outcome is Outcome.RETRY:
                raise UnreachableError(f"deleting shoppers: Elasticsearch says {written.reason}")
            deleted += written.outcome is Outcome.STORED
            kept += written.outcome is not Outcome.STORED
        progress(deleted + kept)
    return Pruned(deleted, kept, finished=True)
