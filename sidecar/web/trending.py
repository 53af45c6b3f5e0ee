"""What is popular these days, from the histories of the shoppers who were active last."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from sidecar.elastic.activity import Active

#: How many shoppers are looked at: bounds the cost, whatever the shop's size.
SAMPLE = 500
#: How many products are kept.
TOP = 200
#: After a day an interaction counts half.
HALF_LIFE_S = 86_400.0
#: The event stream of the last days.
DAYS = 3
CACHE_S = 60.0


def trending(
    active: Sequence[Active], weights: Mapping[str, float], now: float
) -> list[tuple[str, float]]:
    """Products by the weight of what shoppers did with them lately, most popular first.

    Parameters
    ----------
    active : Sequence[Active]
    weights : Mapping[str, float]
        Event name to business weight; other events do not count.
    now : float
        Seconds since 1970-01-01 UTC.

    Returns
    -------
    list[tuple[str, float]]
        Product and score. One shopper's deeds with one product count once, by the strongest:
        nobody makes a trend alone.
    """
    totals: dict[str, float] = defaultdict(float)
    for shopper in active:
        strongest: dict[str, float] = {}
        for product_id, event, occurred_at in shopper.interactions:
            age = max(0.0, now - occurred_at / 1e6)
            if age <= DAYS * 86_400:
                score = weights.get(event, 0.0) * 0.5 ** (age / HALF_LIFE_S)
                strongest[product_id] = max(score, strongest.get(product_id, 0.0))
        for product_id, score in strongest.items():
            totals[product_id] += score
    ranked = sorted(totals.items(), key=lambda one: (-one[1], one[0]))
    return [one for one in ranked if one[1] > 0][:TOP]


class Trends:
    """Trending products, read anew at most once a minute.

    Parameters
    ----------
    recent : Callable[[int], Sequence[Active]]
        The shoppers that were written last, so many of them.
    weights : Callable[[], Mapping[str, float]]
        Of the events, as the served weights have them.
    clock : Callable[[], float]
        Seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        recent: Callable[[int], Sequence[Active]],
        weights: Callable[[], Mapping[str, float]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._recent = recent
        self._weights = weights
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: tuple[float, list[tuple[str, float]]] | None = None

    def top(self) -> list[tuple[str, float]]:
        """Product and score, most popular first.

        Raises
        ------
        UnreachableError, RefusedError
        """
        now = self._clock()
        with self._lock:
            if self._kept is None or not 0 <= now - self._kept[0] < CACHE_S:
                self._kept = (now, trending(self._recent(SAMPLE), self._weights(), now))
            return self._kept[1]
