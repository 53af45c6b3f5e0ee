"""Shoppers whose vector other weights made, recomputed because somebody reads them.

The search that finds one goes on with the vector it found: it lives in the same product space,
and waiting would cost more than it brings. The next one finds the new vector.
"""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence

from sidecar.contract.errors import SidecarError

log = logging.getLogger(__name__)

#: Shoppers that may wait; beyond it they are left for their next read or event.
MOST = 1000
_BATCH = 50


class Refresher:
    """Recomputes shoppers one after another, from one thread for each process.

    Parameters
    ----------
    recompute : Callable[[Sequence[str]], object]
        Reads, computes and writes these shoppers; see :class:`sidecar.updates.recompute.Recompute`.
    """

    def __init__(self, recompute: Callable[[Sequence[str]], object]) -> None:
        self._recompute = recompute
        self._waiting: dict[str, None] = {}
        self._busy = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        _reset_after_fork(self)

    def __call__(self, customer_id: str) -> None:
        """Recompute this shopper soon. Does not wait, and does not raise."""
        with self._changed:
            if len(self._waiting) >= MOST:
                return
            self._waiting[customer_id] = None
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="refresher", daemon=True)
                self._thread.start()
            self._changed.notify()

    def idle(self, timeout_s: float) -> bool:
        """Wait until nothing is left to do; whether that came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._waiting))
                batch = list(self._waiting)[:_BATCH]
                for one in batch:
                    del self._waiting[one]
                self._busy = True
            try:
                self._recompute(batch)
            except SidecarError as error:
                log.warning("recomputing shoppers: %s", error)
            except Exception:
                log.exception("recomputing shoppers failed")

    def _reset(self) -> None:
        # Threads do not survive a fork, and a lock that one of them held would stay locked.
        self._waiting, self._busy = {}, False
        self._changed, self._thread = threading.Condition(), None


def _reset_after_fork(refresher: Refresher) -> None:
    reference = weakref.ref(refresher)

    def reset() -> None:
        if (alive := reference()) is not None:
            alive._reset()

    os.register_at_fork(after_in_child=reset)
