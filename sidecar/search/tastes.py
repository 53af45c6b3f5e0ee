"""Whose taste a search is ranked by: the shopper looked up in time, or the pin of page 1."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from sidecar.contract.errors import SidecarError
from sidecar.search.limits import Bounded, Breaker, Deadline, DeadlineExceeded, ShortCache
from sidecar.search.ports import ModelSource, Pin, PinStore, Shopper, ShopperLookup
from sidecar.search.script import encode_vector
from sidecar.search.settings import SearchSettings

#: After so many failed lookups in a row, searches stop waiting for them for a while.
_FAILURES = 5
_PAUSE_S = 2.0


class Known(NamedTuple):
    """What is known of a shopper's taste.

    Parameters
    ----------
    pin : Pin, optional
        What to rank by; ``None`` when there is nothing.
    reason : str
        Why there is nothing; empty otherwise.
    failed : bool
        Whether there may be something that could not be had.
    """

    pin: Pin | None
    reason: str = ""
    failed: bool = False


class Tastes:
    """Looks shoppers up, within a deadline.

    Parameters
    ----------
    lookup : ShopperLookup
    model : ModelSource
    settings : SearchSettings
    pins : PinStore, optional
        ``None``: every page uses the newest vector.
    observe : Callable, optional
        Told the outcome of each lookup: hit, found, unknown, timeout, error, paused.
    clock : Callable
        Seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        lookup: ShopperLookup,
        model: ModelSource,
        settings: SearchSettings,
        pins: PinStore | None = None,
        observe: Callable[[str], None] = lambda outcome: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lookup = lookup
        self._model = model
        self._pins = pins if settings.page_ttl_s > 0 else None
        self._observe = observe
        self._clock = clock
        self._bounded = Bounded()
        self._paused = Breaker(_PAUSE_S)
        self._failures = 0
        # The encoded vector is kept beside the shopper: it is the dearest part of a rewrite.
        self._cache: ShortCache[tuple[Shopper, str] | None] = ShortCache(settings.shopper_cache_s)

    def newest(self, customer_id: str, deadline: Deadline) -> Known:
        """The shopper's newest taste."""
        model = self._model()
        if model is None:
            return Known(None, "no_weights", failed=True)
        try:
            found = self._shopper(customer_id, deadline)
        except DeadlineExceeded:
            self._failed("timeout")
            return Known(None, "deadline", failed=True)
        except SidecarError:
            self._failed("error")
            return Known(None, "lookup_failed", failed=True)
        if found is None or not found[1]:
            return Known(None, "no_vector")
        shopper, vector_json = found
        if shopper.expires_at <= self._clock() * 1e6:
            return Known(None, "expired")
        if shopper.product_space != model.product_space:
            return Known(None, "other_space")
        return Known(Pin(vector_json, shopper.evidence, model.calibration, model.product_space))

    def pinned(self, key: str, customer_id: str, deadline: Deadline) -> Known:
        """What page 1 used; the newest taste where that is not known."""
        if self._pins is not None:
            pins = self._pins
            try:
                pin = self._bounded.call(lambda seconds: pins.get(key, seconds), deadline)
            except (DeadlineExceeded, SidecarError):
                pin = None
                self._observe("pin_failed")
            if pin is not None:
                return Known(pin) if pin.vector_json else Known(None, "page_one")
        return self.newest(customer_id, deadline)

    def pin(self, key: str, customer_id: str, pin: Pin | None) -> None:
        """Remember what page 1 used; ``None``: it was not personalised."""
        model = self._model()
        if self._pins is not None and model is not None:
            nothing = Pin("", 0.0, model.calibration, model.product_space)
            self._pins.put(key, customer_id, pin or nothing)

    def _shopper(self, customer_id: str, deadline: Deadline) -> tuple[Shopper, str] | None:
        cached = self._cache.get(customer_id)
        if cached is not None:
            self._observe("hit")
            return cached[0]
        if self._paused.is_open(""):
            self._observe("paused")
            raise DeadlineExceeded
        shopper = self._bounded.call(lambda seconds: self._lookup(customer_id, seconds), deadline)
        self._failures = 0
        self._observe("unknown" if shopper is None else "found")
        found = None if shopper is None else (shopper, _encoded(shopper))
        self._cache.put(customer_id, found)
        return found

    def _failed(self, outcome: str) -> None:
        if self._paused.is_open(""):
            return
        self._observe(outcome)
        self._failures += 1
        if self._failures >= _FAILURES:
            self._failures = 0
            self._paused.open("")


def _encoded(shopper: Shopper) -> str:
    """JSON of the vector; empty where there is none that could be sent."""
    vector = shopper.vector
    if vector is None or not vector.any():
        return ""
    text = encode_vector(vector)
    return "" if "n" in text else text  # nan, inf
