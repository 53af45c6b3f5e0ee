"""What happens to messages that are settled: deleted, sent to the dead letters, or left."""

from __future__ import annotations

import logging
import queue as queues
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sidecar.contract.errors import MessageError, SidecarError
from sidecar.updates.backoff import Backoff
from sidecar.updates.dead_letters import DeadLetters
from sidecar.updates.envelopes import Received
from sidecar.updates.inflight import InFlight
from sidecar.updates.metrics import UpdateMetrics
from sidecar.updates.sqs import Queue
from sidecar.updates.status import Health

log = logging.getLogger("sidecar.updates")

Poison = tuple[Received, MessageError]
#: How often a deletion is tried: what stays is delivered again, and then changes nothing.
_ATTEMPTS = 5
#: Messages that are deleted in one go, ten to a request.
_MANY = 200


class _Settled(NamedTuple):
    stored: Sequence[Received]
    poison: Sequence[Poison]


class Disposer:
    """Works through settled messages in a thread of its own, so that the writer need not wait.

    Parameters
    ----------
    queue : Queue
    dead_letters : DeadLetters, optional
        Without it poison is left to the queue's redrive policy.
    in_flight : InFlight
    metrics : UpdateMetrics
    health : Health
    backoff : Callable[[], Backoff]
        A new one for each deletion.
    """

    def __init__(
        self,
        queue: Queue,
        dead_letters: DeadLetters | None,
        in_flight: InFlight,
        metrics: UpdateMetrics,
        health: Health,
        backoff: Callable[[], Backoff],
    ) -> None:
        self._queue = queue
        self._dead_letters = dead_letters
        self._in_flight = in_flight
        self._metrics = metrics
        self._health = health
        self._backoff = backoff
        self._settled: queues.SimpleQueue[_Settled | None] = queues.SimpleQueue()

    def put(self, stored: Sequence[Received], poison: Sequence[Poison]) -> None:
        """Hand over settled messages."""
        if stored or poison:
            self._settled.put(_Settled(stored, poison))

    def close(self) -> None:
        """:meth:`run` returns once it is through with all that was handed over."""
        self._settled.put(None)

    def run(self, halt: threading.Event) -> None:
        """Until :meth:`close`; ``halt`` ends pauses early."""
        closed = False
        while not closed:
            stored: list[Received] = []
            poison: list[Poison] = []
            # What piled up meanwhile goes into the same requests.
            while not closed and len(stored) + len(poison) < _MANY:
                settled = self._settled.get()
                if settled is None:
                    closed = True
                else:
                    stored += settled.stored
                    poison += settled.poison
                if self._settled.empty():
                    break
            self._delete(stored + self._bury(poison), halt)
            self._metrics.in_flight.set(len(self._in_flight))

    def _bury(self, poison: list[Poison]) -> list[Received]:
        """The poison that was sent to the dead letters, and is to be deleted."""
        if not poison:
            return []
        buried: list[Received] = []
        if self._dead_letters is not None:
            try:
                buried = self._dead_letters.add(poison)
            except SidecarError as error:
                self._metrics.faults.labels("dead_letters").inc()
                log.error("%s (left to the redrive policy)", error)
        gone = {message.receipt for message in buried}
        left = [message for message, _ in poison if message.receipt not in gone]
        self._metrics.finished.labels("dead_letter").inc(len(buried))
        self._metrics.finished.labels("left").inc(len(left))
        self._in_flight.finish(left)
        return buried

    def _delete(self, messages: list[Received], halt: threading.Event) -> None:
        backoff = self._backoff()
        left = messages
        while left and backoff.faults < _ATTEMPTS:
            try:
                left = self._queue.delete(left)
            except SidecarError as error:
                self._metrics.faults.labels("delete").inc()
                self._health.fault("deleting", error)
            else:
                self._health.works("deleting")
            if left and halt.wait(backoff.next()):
                break
        self._in_flight.finish(messages)
