"""Whether messages get through: what readiness asks, and what the log says about it."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from sidecar.contract.errors import SidecarError
from sidecar.updates.metrics import UpdateMetrics

log = logging.getLogger("sidecar.updates")


@dataclass(frozen=True, slots=True)
class Status:
    """A consumer's readiness.

    Parameters
    ----------
    ready : bool
    why : str
        Empty while ready; else one line.
    in_flight : int
        Messages received and not finished.
    """

    ready: bool
    why: str
    in_flight: int


class Health:
    """The faults that last, by what fails (receiving, storing, deleting, searching). Logged when
    they come and when they go, not in between."""

    def __init__(self, metrics: UpdateMetrics) -> None:
        self._lock = threading.Lock()
        self._faults: dict[str, str] = {}
        self._metrics = metrics
        metrics.ready.set(1)

    def fault(self, what: str, error: SidecarError) -> None:
        """It failed."""
        text = str(error)
        with self._lock:
            is_news = self._faults.get(what) != text
            self._faults[what] = text
            self._metrics.ready.set(0)
        if is_news:
            log.warning("%s (messages are kept, trying again)", text)

    def works(self, what: str) -> None:
        """It passed."""
        if what not in self._faults:
            return
        with self._lock:
            was = self._faults.pop(what, None)
            self._metrics.ready.set(0 if self._faults else 1)
        if was is not None:
            log.info("%s works again", what)

    def status(self, in_flight: int) -> Status:
        """Readiness now."""
        with self._lock:
            return Status(not self._faults, "; ".join(self._faults.values()), in_flight)
