"""The loop: receive, store, delete. Threads and queue here, decisions in the handler.

Receivers (threads) put messages into a bounded buffer; the writer (the thread that calls ``run``)
takes micro-batches from it and stores them; the disposer deletes what is stored and sends on what
is poison; the keeper extends the visibility of what takes long; and now and then somebody looks
for products that got their vectors after their events. A message is deleted only after
Elasticsearch said that it is stored, so that a kill at any moment loses nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from sidecar import tracing
from sidecar.contract.errors import ConfigError, SidecarError
from sidecar.contract.events import EventVocabulary
from sidecar.contract.messages import CustomerEvent
from sidecar.tower.load import Tower
from sidecar.updates.backoff import Backoff, pause
from sidecar.updates.catch_up import catch_up
from sidecar.updates.dead_letters import DeadLetters
from sidecar.updates.disposer import Disposer
from sidecar.updates.envelopes import Received
from sidecar.updates.handler import BatchHandler, Handled, VectorSource
from sidecar.updates.inflight import InFlight
from sidecar.updates.metrics import UpdateMetrics
from sidecar.updates.recompute import UserScan
from sidecar.updates.settings import UpdateSettings
from sidecar.updates.sqs import Queue
from sidecar.updates.status import Health, Status

log = logging.getLogger("sidecar.updates")

_DEAD_SETTING = "SIDECAR_SQS_DEAD_LETTER_URL"
#: How long a thread sleeps at most before it looks whether it is to stop, in seconds.
_TICK_S = 0.2


class Timing(NamedTuple):
    """When a message was where; microseconds since 1970-01-01 UTC."""

    sent_at: int
    received_at: int
    stored_at: int


class Consumer:
    """Turns messages into user vectors until it is told to stop.

    Parameters
    ----------
    queue : Queue
    users : UserScan
    products : VectorSource
    tower_of : Callable[[], Tower]
        The tower that is served now.
    vocabulary : EventVocabulary
        The weights' events with the operator's aliases.
    settings : UpdateSettings
    metrics : UpdateMetrics, optional
    on_stored : Callable[[Timing], None], optional
        Called by the writer for each stored message: must be quick.
    clock : Callable[[], float]
        Seconds since 1970-01-01 UTC.
    on_accepted : Callable, optional
        As :class:`sidecar.updates.handler.BatchHandler` takes it.

    Raises
    ------
    ConfigError
        If dead letters would come back by the same queue, for ever.
    """

    def __init__(
        self,
        queue: Queue,
        users: UserScan,
        products: VectorSource,
        tower_of: Callable[[], Tower],
        vocabulary: EventVocabulary,
        settings: UpdateSettings | None = None,
        *,
        metrics: UpdateMetrics | None = None,
        on_stored: Callable[[Timing], None] | None = None,
        clock: Callable[[], float] = time.time,
        on_accepted: Callable[[Sequence[CustomerEvent]], None] | None = None,
    ) -> None:
        self._queue = queue
        self._settings = settings = settings or UpdateSettings()
        self._metrics = metrics = metrics or UpdateMetrics()
        self._on_stored = on_stored
        self._clock = clock
        self._handler = BatchHandler(
            users,
            products,
            tower_of,
            vocabulary,
            conflict_attempts=settings.conflict_attempts,
            metrics=metrics,
            clock=clock,
            on_accepted=on_accepted,
        )
        dead = settings.dead_letter_url
        if dead and dead == queue.url:
            raise ConfigError(_DEAD_SETTING, dead, "another queue than that of the events")
        self._dead_letters = DeadLetters(queue.sibling(dead, _DEAD_SETTING)) if dead else None
        self._in_flight = InFlight(
            settings.max_in_flight, settings.max_in_flight_mb * 1e6, settings.visibility_s
        )
        self._health = Health(metrics)
        self._disposer = Disposer(
            queue, self._dead_letters, self._in_flight, metrics, self._health, self._backoff
        )
        self._catch_up = partial(catch_up, users, products, tower_of, clock)
        self._stop_seen: float | None = None
        self._crash: BaseException | None = None

    def status(self) -> Status:
        """Whether messages get through, and if not, why."""
        return self._health.status(len(self._in_flight))

    def check(self) -> None:
        """Ask for the queue, and for the one of dead letters, before anything starts.

        Raises
        ------
        UnreachableError, RefusedError
        """
        self._queue.check()
        if self._dead_letters is not None:
            self._dead_letters.queue.check()

    def run(self, stop: threading.Event) -> None:
        """Consume until ``stop`` is set; then finish the batch in hand, hand back the rest.

        Parameters
        ----------
        stop : threading.Event
            Set by a signal handler, or by another thread. ``run`` is back within
            ``settings.stop_s`` seconds.

        Raises
        ------
        UnreachableError, RefusedError
            If the queue cannot be used at the start. Later faults are waited out.
        """
        self.check()
        # Two steps: first nothing new is received, then what was stored is deleted.
        ending, halt = threading.Event(), threading.Event()
        receivers = [
            self._thread(f"receiver-{i}", self._receive, ending, halt)
            for i in range(self._settings.receivers)
        ]
        disposer = self._thread("disposer", self._disposer.run, halt, halt)
        self._thread("catch-up", self._look_back, ending, halt)
        keeper = self._thread("keeper", lambda until: self._keep(stop, until), halt, halt)
        try:
            self._write(stop, halt)
        finally:
            deadline = (self._stop_seen or time.monotonic()) + self._settings.stop_s
            ending.set()
            self._in_flight.wake()
            for thread in receivers:
                thread.join(max(0.0, deadline - 2 - time.monotonic()))
            self._disposer.close()
            disposer.join(max(0.0, deadline - 1 - time.monotonic()))
            halt.set()
            keeper.join(max(0.0, deadline - time.monotonic()))
            self._hand_back()
        if self._crash is not None:
            raise self._crash

    def _thread(
        self,
        name: str,
        work: Callable[[threading.Event], None],
        until: threading.Event,
        halt: threading.Event,
    ) -> threading.Thread:
        def guarded() -> None:
            try:
                work(until)
            except BaseException as error:
                # A bug, since servers' faults are handled: stop everything, and say so.
                log.exception("%s stopped", name)
                self._crash = error
                halt.set()
                self._in_flight.wake()

        thread = threading.Thread(target=guarded, name=f"sidecar-{name}", daemon=True)
        thread.start()
        return thread

    def _backoff(self) -> Backoff:
        s = self._settings
        return Backoff(s.backoff_base_ms / 1000, s.backoff_cap_ms / 1000)

    def _receive(self, stop: threading.Event) -> None:
        s = self._settings
        backoff = self._backoff()
        while not stop.is_set():
            if not self._in_flight.wait_for_room(stop, _TICK_S):
                continue
            try:
                messages = self._queue.receive(wait_s=s.wait_s, visibility_s=s.visibility_s)
            except SidecarError as error:
                self._metrics.faults.labels("receive").inc()
                self._health.fault("receiving", error)
                stop.wait(backoff.next())
                continue
            backoff.reset()
            self._health.works("receiving")
            self._metrics.received.inc(len(messages))
            self._in_flight.add(messages)

    def _write(self, stop: threading.Event, halt: threading.Event) -> None:
        s = self._settings
        while not stop.is_set() and not halt.is_set():
            batch = self._in_flight.take(s.batch_size, s.linger_ms / 1000, _TICK_S)
            if batch:
                self._metrics.batch.observe(len(batch))
                self._store(batch, stop, halt)

    def _store(self, batch: list[Received], stop: threading.Event, halt: threading.Event) -> None:
        """Hand a batch in until all of it is settled, or it is time to stop."""
        backoff = self._backoff()
        while batch:
            handled = self._handler.handle(batch)
            if handled.fault is None:
                self._health.works("storing")
                if len(handled.again) < len(batch):
                    backoff.reset()
            else:
                self._health.fault("storing", handled.fault)
            self._settle(handled)
            batch = handled.again
            if batch and pause(backoff.next(), stop, halt):
                return

    def _settle(self, handled: Handled) -> None:
        stored_at = int(self._clock() * 1e6)
        for message in handled.stored:
            timing = Timing(message.sent_at, message.received_at, stored_at)
            self._metrics.receive_to_stored.observe((stored_at - timing.received_at) / 1e6)
            self._metrics.sent_to_stored.observe((stored_at - timing.sent_at) / 1e6)
            if self._on_stored is not None:
                self._on_stored(timing)
        self._metrics.finished.labels("stored").inc(len(handled.stored))
        for message, error in handled.poison:
            self._metrics.poison.labels(error.reason).inc()
            with tracing.handling(message.attributes, message.body):
                log.warning("message %s can never be stored: %s", message.message_id, error)
        for message, reason in handled.refused:
            self._metrics.finished.labels("refused").inc()
            with tracing.handling(message.attributes, message.body):
                log.error("message %s: Elasticsearch refuses: %s", message.message_id, reason)
        # Neither deleted nor released: the queue's redrive policy decides.
        self._in_flight.finish(message for message, _ in handled.refused)
        self._disposer.put(handled.stored, handled.poison)

    def _keep(self, stop: threading.Event, halt: threading.Event) -> None:
        """Extend the visibility of what takes long; notes when stopping began."""
        while not halt.wait(_TICK_S):
            if stop.is_set() and self._stop_seen is None:
                self._stop_seen = time.monotonic()
            late = self._in_flight.due()
            if not late:
                continue
            try:
                lost = self._queue.hide(late, self._settings.visibility_s)
            except SidecarError as error:
                self._metrics.faults.labels("extend").inc()
                log.warning("visibility: %s", error)
            else:
                if lost:
                    log.info("%d messages were too late to keep, others have them", len(lost))

    def _look_back(self, ending: threading.Event) -> None:
        pause = self._settings.catch_up_s
        while pause and not ending.wait(pause):
            started = time.monotonic()
            try:
                written = self._catch_up()
            except SidecarError as error:
                self._metrics.faults.labels("catch_up").inc()
                # An idle consumer would not notice otherwise.
                self._health.fault("searching", error)
            else:
                self._health.works("searching")
                self._metrics.caught_up.inc(written)
            # Never more than a tenth of the time, however many wait for products that never come.
            pause = max(self._settings.catch_up_s, 9 * (time.monotonic() - started))

    def _hand_back(self) -> None:
        """Show what was received and not stored to other consumers at once."""
        rest = self._in_flight.rest()
        if not rest:
            return
        try:
            self._queue.hide(rest, 0)
        except SidecarError as error:
            log.warning("handing back %d messages: %s", len(rest), error)
        self._in_flight.finish(rest)
