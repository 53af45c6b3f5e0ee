"""A batch of messages in, what became of each out. Knows no queue.

One read of shoppers, one read of the product vectors that the cache lacks, one call of the
tower, one bulk write; a shopper that somebody else wrote in between is read and merged again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from sidecar.contract.errors import MessageError, RefusedError, SidecarError, UnreachableError
from sidecar.contract.events import EventVocabulary
from sidecar.contract.messages import CustomerEvent, ParsedMessage, parse_message
from sidecar.contract.weights import F32
from sidecar.elastic.users import Outcome, User, Written
from sidecar.tower.load import Tower
from sidecar.updates.batch import (
    Change,
    apply,
    forgotten_until,
    group,
    is_current,
    links_of,
    missing,
    spread,
    with_vectors,
)
from sidecar.updates.envelopes import Received
from sidecar.updates.metrics import UpdateMetrics

#: Shoppers in one request: a few messages can name tens of thousands, at 8 kB each.
MAX_USERS = 500


class UserStore(Protocol):
    """What is needed of :class:`sidecar.elastic.users.Users`."""

    def get_many(self, customer_ids: Sequence[str], *, vectors: bool = True) -> dict[str, User]: ...

    def put_many(self, users: Sequence[User]) -> dict[str, Written]: ...


class VectorSource(Protocol):
    """What is needed of :class:`sidecar.elastic.products.ProductVectors`."""

    def get(self, product_ids: Iterable[str], space: str) -> dict[str, F32]: ...


@dataclass
class Handled:
    """What became of each message of a batch.

    Parameters
    ----------
    stored : list[Received]
        Delete them.
    poison : list[tuple[Received, MessageError]]
        They can never be stored.
    refused : list[tuple[Received, str]]
        Elasticsearch cannot take the document that they make; with its reason.
    again : list[Received]
        Nothing is wrong with them: hand them in again.
    fault : SidecarError, optional
        Why, where a server failed.
    """

    stored: list[Received] = field(default_factory=list)
    poison: list[tuple[Received, MessageError]] = field(default_factory=list)
    refused: list[tuple[Received, str]] = field(default_factory=list)
    again: list[Received] = field(default_factory=list)
    fault: SidecarError | None = None


@dataclass
class _Batch:
    """One batch on its way: what it is computed with, and what came out beside what was stored.

    Parameters
    ----------
    tower : Tower
        Taken once: weights are exchanged between two batches.
    refused : dict[int, str]
        What Elasticsearch refuses, by message; with its reason.
    forgotten : dict[str, int]
        Until when shoppers are forgotten, in microseconds.
    """

    tower: Tower
    refused: dict[int, str] = field(default_factory=dict)
    forgotten: dict[str, int] = field(default_factory=dict)


class BatchHandler:
    """Stores batches. Keeps nothing between two of them.

    Parameters
    ----------
    users : UserStore
    products : VectorSource
    tower_of : Callable[[], Tower]
        The tower that is served now; asked once for each batch.
    vocabulary : EventVocabulary
        The weights' events with the operator's aliases.
    conflict_attempts : int
        How often shoppers that others write at the same time are read again.
    metrics : UpdateMetrics
    clock : Callable[[], float]
        Seconds since 1970-01-01 UTC.
    on_accepted : Callable[[Sequence[CustomerEvent]], None], optional
        Told of stored events, again for each redelivery; those of a shopper who was forgotten
        since are not among them. Must neither wait nor raise.
    """

    def __init__(
        self,
        users: UserStore,
        products: VectorSource,
        tower_of: Callable[[], Tower],
        vocabulary: EventVocabulary,
        *,
        conflict_attempts: int = 10,
        metrics: UpdateMetrics | None = None,
        clock: Callable[[], float] = time.time,
        on_accepted: Callable[[Sequence[CustomerEvent]], None] | None = None,
    ) -> None:
        self._users = users
        self._products = products
        self._tower_of = tower_of
        self._vocabulary = vocabulary
        self._conflict_attempts = conflict_attempts
        self._metrics = metrics or UpdateMetrics()
        self._clock = clock
        self._on_accepted = on_accepted

    def handle(self, messages: Sequence[Received]) -> Handled:
        """Store what can be stored. Raises nothing that a message or a server could cause."""
        handled = Handled()
        batch = _Batch(self._tower_of())
        parsed = self._parse(messages, batch.tower, handled)
        changes = group(parsed)
        open_: set[int] = set().union(*(change.owners for change in changes.values()))
        try:
            changes = self._store(changes, batch)
        except (UnreachableError, RefusedError) as error:
            handled.fault = error
            self._metrics.faults.labels("elasticsearch").inc()
        left = {position for change in changes.values() for position in change.owners}
        done: list[ParsedMessage] = []
        for position, message in enumerate(messages):
            if position in batch.refused:
                handled.refused.append((message, batch.refused[position]))
            elif position in open_ and position in left:
                handled.again.append(message)
            elif position in parsed:
                handled.stored.append(message)
                done.append(parsed[position])
        self._count(done)
        if self._on_accepted is not None:
            accepted = [
                event
                for message in done
                for event in message.events
                if event.interaction.received_at > batch.forgotten.get(event.customer_id, -1)
            ]
            if accepted:
                self._on_accepted(accepted)
        return handled

    def _parse(
        self, messages: Sequence[Received], tower: Tower, handled: Handled
    ) -> dict[int, ParsedMessage]:
        parsed = {}
        # Weights that were dropped in meanwhile may know other events.
        vocabulary = self._vocabulary.with_events(tower.weights.metadata.vocabulary.weights)
        for position, message in enumerate(messages):
            try:
                parsed[position] = parse_message(
                    message.body,
                    message_id=message.message_id,
                    sent_at=message.sent_at,
                    vocabulary=vocabulary,
                )
            except MessageError as error:
                handled.poison.append((message, error))
        return parsed

    def _store(self, changes: dict[str, Change], batch: _Batch) -> dict[str, Change]:
        """Write all changes; returns those that are still to be written.

        A failed request leaves ``changes`` as they are: messages then count as not stored, and
        handing them in again is safe. That is why this raises instead of returning.

        Raises
        ------
        UnreachableError, RefusedError
        """
        left: dict[str, Change] = {}
        for some in _portions(changes, MAX_USERS):
            for _ in range(self._conflict_attempts):
                if not some:
                    break
                some = self._attempt(some, batch)
            left |= some
        return left

    def _attempt(self, changes: dict[str, Change], batch: _Batch) -> dict[str, Change]:
        tower = batch.tower
        stored = self._read(changes)
        batch.forgotten.update(
            (one, forgotten_until(user)) for one, user in stored.items() if user.forgotten_at
        )
        changes = spread(changes, stored)
        limits = tower.weights.metadata.limits
        after = {
            one: apply(
                stored.get(one),
                change.interactions,
                customer_id=one,
                links=links_of(stored.get(one), change),
                limits=limits,
            )
            for one, change in changes.items()
        }
        wanted = (i.product_id for user in after.values() for i in user.history)
        vectors = self._products.get(wanted, tower.weights.product_space)
        changed = [
            user
            for one, user in after.items()
            if not (one not in stored and _is_empty(user))
            and not is_current(stored.get(one), user, tower, missing(user, vectors))
        ]
        now = int(self._clock() * 1000)
        names = tower.weights.metadata.vocabulary
        outcomes = self._users.put_many(with_vectors(changed, vectors, tower, names, now))
        self._metrics.users_written.inc(len(changed))
        self._metrics.users_unchanged.inc(len(changes) - len(changed))
        if len(outcomes) < len(changed):
            raise UnreachableError("writing shoppers: the answer does not speak of all of them")
        left: dict[str, Change] = {}
        for one, written in outcomes.items():
            if written.outcome is Outcome.CONFLICT:
                self._metrics.conflicts.inc()
                left[one] = changes[one]
            elif written.outcome is Outcome.RETRY:
                raise UnreachableError(f"writing shoppers: Elasticsearch says {written.reason}")
            elif written.outcome is Outcome.REFUSED:
                batch.refused.update(dict.fromkeys(changes[one].owners, written.reason))
        return left

    def _read(self, changes: Mapping[str, Change]) -> dict[str, User]:
        """The shoppers of these changes, and all that are reachable from them by links."""
        known: dict[str, User] = {}
        asked: set[str] = set()
        empty = Change()
        frontier = set(changes)
        while frontier:
            known |= self._users.get_many(sorted(frontier), vectors=False)
            asked |= frontier
            links = [links_of(known.get(one), changes.get(one, empty)) for one in frontier]
            frontier = set().union(*links) - asked
        return known

    def _count(self, done: Sequence[ParsedMessage]) -> None:
        self._metrics.interactions.inc(sum(len(one.events) for one in done))
        self._metrics.ignored.inc(sum(len(one.ignored) for one in done))
        self._metrics.merges.inc(sum(len(one.merges) for one in done))


def _portions(changes: dict[str, Change], size: int) -> Iterator[dict[str, Change]]:
    names = list(changes)
    for start in range(0, len(names), size):
        yield {one: changes[one] for one in names[start : start + size]}


def _is_empty(user: User) -> bool:
    """Nothing that would be worth a document: every interaction was dropped."""
    return not user.history and not user.merged_into
