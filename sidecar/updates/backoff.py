"""How long to wait after a fault: exponential, with full jitter.

After "Exponential Backoff and Jitter", AWS Architecture Blog, 2015: many consumers that lost the
same server must not all come back in the same moment.
"""

from __future__ import annotations

import random
import threading
import time

_TICK_S = 0.05


class Backoff:
    """Pauses that double with each fault in a row.

    Parameters
    ----------
    base_s, cap_s : float
        Seconds: the upper bound of the first pause, and of any.
    rng : random.Random, optional
        For tests.
    """

    def __init__(self, base_s: float, cap_s: float, rng: random.Random | None = None) -> None:
        self._base_s = base_s
        self._cap_s = cap_s
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, hides nothing
        self.faults = 0

    def next(self) -> float:
        """Seconds to wait now; at least a tenth of the bound, so that no loop spins."""
        bound = min(self._cap_s, self._base_s * 2.0 ** min(self.faults, 30))
        self.faults += 1
        return self._rng.uniform(0.1 * bound, bound)

    def reset(self) -> None:
        """It worked: the next fault is a first one."""
        self.faults = 0


def pause(seconds: float, *until: threading.Event) -> bool:
    """Sleep, or less when one of the events is set; whether one was.

    Not ``Event.wait``: a signal handler that sets an event while its own thread waits for it can
    meet the event's lock held, and hang.
    """
    end = time.monotonic() + seconds
    while not any(event.is_set() for event in until):
        left = end - time.monotonic()
        if left <= 0:
            return False
        time.sleep(min(left, _TICK_S))
    return True
