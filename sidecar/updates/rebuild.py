"""All user vectors with the weights that are served now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.contract.errors import ConfigError, UnreachableError
from sidecar.contract.weights import Weights
from sidecar.tower.load import Tower
from sidecar.updates.backoff import Backoff, pause
from sidecar.updates.handler import VectorSource
from sidecar.updates.recompute import Recompute, Recomputed, UserScan, pages

PAGE = 200
#: Slower, and the server would have dropped its view of the index before the next page is asked
#: for.
SLOWEST = 5.0
_FAULTS = 8


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild did.

    Parameters
    ----------
    written : int
    current : int
        Shoppers that a consumer, or an earlier run, had made meanwhile.
    finished : bool
        ``False`` if it was stopped: run it again, it goes on where it was.
    """

    written: int
    current: int
    finished: bool


def outdated(weights: Weights) -> dict[str, Any]:
    """Query for the shoppers whose vectors other weights made."""
    made_by_these = [
        {"term": {"weights": weights.fingerprint}},
        {"term": {"product_space": weights.product_space}},
    ]
    return {
        "bool": {
            "filter": [{"exists": {"field": "newest_at"}}],
            "must_not": [{"bool": {"filter": made_by_these}}],
        }
    }


def written_before(moment_ms: int) -> dict[str, Any]:
    """Query for all shoppers but those who were written since; milliseconds since 1970 UTC."""
    return {
        "bool": {
            "filter": [
                {"exists": {"field": "newest_at"}},
                {"range": {"updated_at": {"lt": moment_ms}}},
            ]
        }
    }


def rebuild(
    users: UserScan,
    products: VectorSource,
    tower_of: Callable[[], Tower],
    *,
    rate: float = 500.0,
    stop: threading.Event | None = None,
    progress: Callable[[int], None] = lambda done: None,
    query: Mapping[str, Any] | None = None,
    always: bool = False,
) -> Rebuilt:
    """Make the vectors of all shoppers again that other weights made.

    What is done no longer matches the query, so that a run that was stopped, or killed, goes on
    where it was. Consumers may run at the same time. Weights that are exchanged meanwhile are
    followed.

    Parameters
    ----------
    users : UserScan
    products : VectorSource
    tower_of : Callable[[], Tower]
    rate : float
        Most shoppers in a second: search goes on meanwhile.
    stop : threading.Event, optional
    progress : Callable[[int], None]
        Called with the number of shoppers done so far.
    query : Mapping, optional
        Other shoppers than the outdated ones.
    always : bool
        Whether vectors of these weights are made again too, because products' vectors are others
        now; with a query that what is done no longer matches, such as :func:`written_before`.

    Raises
    ------
    ConfigError
        For a rate that is too low.
    UnreachableError, RefusedError
        When Elasticsearch stays away, or says no.
    """
    if not rate >= SLOWEST:
        raise ConfigError("rate", rate, f"{SLOWEST:g} shoppers in a second, or more")
    stop = stop or threading.Event()
    recompute = Recompute(users, products, tower_of, always=always)
    written = current = 0
    started = time.monotonic()
    weights = tower_of().weights
    while True:
        chosen = query or outdated(weights)
        ids = (user.customer_id for user in users.scan(chosen, fields=()))
        for page in pages(ids, PAGE):
            if stop.is_set():
                return Rebuilt(written, current, finished=False)
            result = with_patience(lambda page=page: recompute.run(page), stop)  # type: ignore[misc]
            written += result.written
            current += result.current
            progress(written + current)
            ahead = (written + current) / rate - (time.monotonic() - started)
            if ahead > 0:
                pause(ahead, stop)
        before, weights = weights, tower_of().weights
        if query is not None or weights.fingerprint == before.fingerprint:
            return Rebuilt(written, current, finished=True)
        # Weights were exchanged meanwhile: what was made before that is out of date again.


def with_patience(work: Callable[[], Recomputed], stop: threading.Event) -> Recomputed:
    """Try again, with growing pauses, while the server says "later".

    Raises
    ------
    UnreachableError
        After the last of eight attempts.
    """
    backoff = Backoff(0.2, 10.0)
    while True:
        try:
            return work()
        except UnreachableError:
            if backoff.faults >= _FAULTS or pause(backoff.next(), stop):
                raise
