"""Messages that were received and are not finished: the buffer between receivers and writer."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence

from sidecar.updates.envelopes import Received


class InFlight:
    """Bounded by count and by bytes: receivers wait while the writer is behind.

    Parameters
    ----------
    most : int
        Messages.
    most_bytes : float
        Bytes of their bodies.
    hidden_s : float
        Seconds for which the queue hides a received message.
    """

    def __init__(self, most: int, most_bytes: float, hidden_s: float) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._extend_after_s = hidden_s / 2
        self._changed = threading.Condition()
        self._waiting: deque[Received] = deque()
        # Receipt to (message, when its visibility must be extended). By receipt, since the queue
        # may deliver one message twice.
        self._open: dict[str, tuple[Received, float]] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._open)

    def wait_for_room(self, stop: threading.Event, timeout_s: float = 0.2) -> bool:
        """Whether more may be received; waits up to ``timeout_s`` for it."""
        with self._changed:
            return (
                self._changed.wait_for(lambda: stop.is_set() or self._has_room(), timeout=timeout_s)
                and not stop.is_set()
            )

    def _has_room(self) -> bool:
        return len(self._open) < self._most and self._bytes < self._most_bytes

    def add(self, messages: Sequence[Received]) -> None:
        """Messages that were received just now."""
        due = time.monotonic() + self._extend_after_s
        with self._changed:
            for message in messages:
                self._open[message.receipt] = (message, due)
                self._bytes += len(message.body)
            self._waiting.extend(messages)
            self._changed.notify_all()

    def take(self, size: int, linger_s: float, timeout_s: float) -> list[Received]:
        """A batch: what is there once ``size`` messages are, or ``linger_s`` after the first.

        Returns nothing when nothing came within ``timeout_s``.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self._waiting), timeout=timeout_s):
                return []
            if linger_s > 0:
                self._changed.wait_for(lambda: len(self._waiting) >= size, timeout=linger_s)
            return [self._waiting.popleft() for _ in range(min(size, len(self._waiting)))]

    def finish(self, messages: Iterable[Received]) -> None:
        """These are deleted, or left to the queue."""
        with self._changed:
            for message in messages:
                if self._open.pop(message.receipt, None) is not None:
                    self._bytes -= len(message.body)
            self._changed.notify_all()

    def due(self) -> list[Received]:
        """Messages whose visibility must be extended now; they count as extended from here on."""
        now = time.monotonic()
        with self._changed:
            late = [message for message, due in self._open.values() if due <= now]
            for message in late:
                self._open[message.receipt] = (message, now + self._extend_after_s)
        return late

    def rest(self) -> list[Received]:
        """All that is not finished."""
        with self._changed:
            return [message for message, _ in self._open.values()]

    def wake(self) -> None:
        """Let everybody who waits look again."""
        with self._changed:
            self._changed.notify_all()
