"""Keeping trouble small: calls with a deadline, a breaker, a cache that forgets."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Generic, TypeVar

T = TypeVar("T")
Clock = Callable[[], float]


class DeadlineExceeded(Exception):  # noqa: N818 - as in gRPC's vocabulary
    """A call took longer than there was time for."""


class Deadline:
    """A moment by which something must be done.

    Parameters
    ----------
    seconds : float
        From now.
    clock : Callable
        Monotonic seconds.
    """

    __slots__ = ("_clock", "_end")

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def left(self) -> float:
        """Seconds left.

        Raises
        ------
        DeadlineExceeded
            If there are none.
        """
        left = self._end - self._clock()
        if left <= 0:
            raise DeadlineExceeded
        return left


class Bounded:
    """Runs calls in threads of its own, so that one which hangs holds up nobody else.

    Parameters
    ----------
    threads : int
        Calls at one time, more than requests at one time. When all of them hang, further calls
        miss their deadline at once.
    """

    def __init__(self, threads: int = 128) -> None:
        self._threads = threads
        self._slots = threading.BoundedSemaphore(threads)
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def call(self, function: Callable[[float], T], deadline: Deadline) -> T:
        """``function(seconds left)``, or the deadline.

        Raises
        ------
        DeadlineExceeded
        """
        if not self._slots.acquire(blocking=False):
            raise DeadlineExceeded
        try:
            future = self._executor().submit(self._run, function, deadline.left())
        except BaseException:
            self._slots.release()
            raise
        try:
            return future.result(deadline.left())
        except FutureTimeout:
            raise DeadlineExceeded from None

    def _run(self, function: Callable[[float], T], seconds: float) -> T:
        try:
            return function(seconds)
        finally:
            self._slots.release()

    def _executor(self) -> ThreadPoolExecutor:
        # Made at the first call: threads do not survive the fork of a server's workers.
        if self._pool is None:
            with self._lock:
                if self._pool is None:
                    self._pool = ThreadPoolExecutor(self._threads, "sidecar-lookup")
        return self._pool


class Breaker:
    """Remembers for a while what failed.

    Parameters
    ----------
    seconds : float
        How long.
    clock : Callable
    """

    #: Most keys that are remembered; beyond it the oldest is forgotten.
    MOST = 10_000

    def __init__(self, seconds: float, clock: Clock = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def is_open(self, key: str) -> bool:
        """Whether that key failed a short while ago."""
        until = self._until.get(key)
        if until is None:
            return False
        if self._clock() < until:
            return True
        with self._lock:
            self._until.pop(key, None)
        return False

    def open(self, key: str) -> None:
        """Remember that key."""
        with self._lock:
            self._until[key] = self._clock() + self._seconds
            self._until.move_to_end(key)
            while len(self._until) > self.MOST:
                self._until.popitem(last=False)

    def count(self) -> int:
        """How many are open now."""
        now = self._clock()
        with self._lock:
            return sum(until > now for until in self._until.values())


class ShortCache(Generic[T]):
    """Values by key, for a short time, the least recently written going first.

    Parameters
    ----------
    seconds : float
        0 keeps nothing.
    most : int
    clock : Callable
    """

    def __init__(self, seconds: float, most: int = 2000, clock: Clock = time.monotonic) -> None:
        self._seconds = seconds
        self._most = most
        self._clock = clock
        self._values: OrderedDict[str, tuple[float, T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> tuple[T] | None:
        """The value in a tuple of one, so that ``None`` can be a value."""
        found = self._values.get(key)
        if found is None or self._clock() >= found[0]:
            return None
        return (found[1],)

    def put(self, key: str, value: T) -> None:
        if self._seconds <= 0:
            return
        now = self._clock()
        with self._lock:
            self._values[key] = (now + self._seconds, value)
            self._values.move_to_end(key)
            # The oldest come first: what has expired does not wait for the cache to be full.
            while len(self._values) > self._most or next(iter(self._values.values()))[0] <= now:
                self._values.popitem(last=False)
