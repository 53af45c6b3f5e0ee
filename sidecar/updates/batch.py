"""The pure core: what a set of messages makes of a set of shoppers. No I/O, no clock.

Everything here is a function of sets. Interactions only join a history
(:func:`sidecar.contract.history.merge`), links only join ``merged_into``, so that any order, any
duplication and any batching of the same messages ends in the same shoppers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sidecar.contract.events import EventVocabulary
from sidecar.contract.history import HistoryLimits, Interaction, merge
from sidecar.contract.messages import ParsedMessage
from sidecar.contract.weights import F32
from sidecar.elastic.users import User
from sidecar.tower.histories import to_batch
from sidecar.tower.load import Tower
from sidecar.tower.served import served_tower

#: Shoppers that one shopper's interactions may count for. An id that "was" more people than that
#: is a shared device, not a person: what it did so far is copied, what it does later is not.
MAX_LINKS = 20


@dataclass(slots=True)
class Change:
    """What messages add to one shopper.

    Parameters
    ----------
    interactions : list[Interaction]
    links : dict[str, int]
        Shoppers to whom this one's interactions go, and when the queue took the message that
        said so, in microseconds.
    owners : set[int]
        Positions of the messages that are done when this change is stored.
    """

    interactions: list[Interaction] = field(default_factory=list)
    links: dict[str, int] = field(default_factory=dict)
    owners: set[int] = field(default_factory=set)


def group(parsed: Mapping[int, ParsedMessage]) -> dict[str, Change]:
    """Changes by shopper, of messages by their position in the batch."""
    changes: dict[str, Change] = {}
    for position, message in parsed.items():
        for event in message.events:
            change = changes.setdefault(event.customer_id, Change())
            change.interactions.append(event.interaction)
            change.owners.add(position)
        for merged in message.merges:
            change = changes.setdefault(merged.previous_id, Change())
            earlier = change.links.get(merged.customer_id, 0)
            change.links[merged.customer_id] = max(earlier, merged.received_at)
            change.owners.add(position)
    return changes


def links_of(user: User | None, change: Change) -> frozenset[str]:
    """Shoppers for whom this one's interactions count, with this change."""
    stored = user.merged_into if user is not None else ()
    if not change.links:  # nearly always
        return frozenset(stored)
    since = forgotten_until(user)
    return frozenset(stored) | {to for to, at in change.links.items() if at > since}


def spread(changes: Mapping[str, Change], users: Mapping[str, User]) -> dict[str, Change]:
    """Changes with what merged shoppers hand on: all that they did goes to all that they became.

    Parameters
    ----------
    changes : Mapping[str, Change]
    users : Mapping[str, User]
        The shoppers named in ``changes`` and all that are reachable from them by links, as far
        as they are known.

    Returns
    -------
    dict[str, Change]
        New objects where anything was added.
    """
    empty = Change()
    result = dict(changes)
    for source, change in changes.items():
        reached = _reachable(source, changes, users, empty)
        if not reached:
            continue
        user = users.get(source)
        handed_on = [*change.interactions, *(user.history if user else ())]
        for target in reached:
            own = result.get(target, empty)
            result[target] = Change(
                [*own.interactions, *handed_on], own.links, own.owners | change.owners
            )
    return result


def _reachable(
    source: str, changes: Mapping[str, Change], users: Mapping[str, User], empty: Change
) -> set[str]:
    seen = {source}
    frontier = [source]
    while frontier:
        one = frontier.pop()
        for target in links_of(users.get(one), changes.get(one, empty)):
            if target not in seen:
                seen.add(target)
                frontier.append(target)
    return seen - {source}


def apply(
    user: User | None,
    interactions: Iterable[Interaction],
    *,
    customer_id: str = "",
    links: Collection[str] = (),
    limits: HistoryLimits,
) -> User:
    """A shopper with more interactions; the vector is made by :func:`with_vectors`.

    Parameters
    ----------
    user : User or None
        As stored; ``None`` for a new one.
    interactions : Iterable[Interaction]
        In any order, with any duplicates. Those received before the shopper was forgotten are
        dropped.
    customer_id : str
        Needed for a new shopper.
    links : Collection[str]
        As :func:`links_of` says.
    limits : HistoryLimits
        Of the weights that are served.
    """
    before = user if user is not None else User(customer_id)
    since = forgotten_until(user)
    fresh = [i for i in interactions if i.received_at > since]
    history = merge(before.history, fresh, limits=limits)
    merged_into = tuple(sorted(links)) if len(links) <= MAX_LINKS else before.merged_into
    return replace(before, history=history, merged_into=merged_into)


def with_vectors(
    users: Sequence[User],
    vectors: Mapping[str, F32],
    tower: Tower,
    vocabulary: EventVocabulary,
    now: int,
) -> list[User]:
    """The same shoppers with the vectors of their histories, in one call of the tower.

    Parameters
    ----------
    users : Sequence[User]
    vectors : Mapping[str, float32 array of shape (D,)]
        Unit vectors of those products that have one.
    tower : Tower
    vocabulary : EventVocabulary
        Of the tower's weights.
    now : int
        Milliseconds since 1970-01-01 UTC, for ``updated_at``.
    """
    if not users:
        return []
    weights = tower.weights
    metadata = weights.metadata
    batch = to_batch(
        [user.history for user in users],
        vectors,
        vocabulary,
        metadata.architecture.dimension,
        metadata.limits.max_interactions,
    )
    made, _ = served_tower(tower.folded, batch.products, batch.events, batch.ages, batch.lengths)
    usable = np.any(made, axis=1).tolist()  # a row of zeros means "no vector"
    return [
        replace(
            user,
            vector=made[row] if usable[row] else None,
            weights=weights.fingerprint,
            product_space=weights.product_space,
            waiting_for=missing(user, vectors),
            updated_at=now,
        )
        for row, user in enumerate(users)
    ]


def missing(user: User, vectors: Mapping[str, F32]) -> tuple[str, ...]:
    """Products of the history that have no vector now."""
    return tuple(sorted({i.product_id for i in user.history if i.product_id not in vectors}))


def is_current(
    stored: User | None, after: User, tower: Tower, without_vector: tuple[str, ...]
) -> bool:
    """Whether writing ``after`` would change nothing but the time of the write."""
    return (
        stored is not None
        and stored.history == after.history
        and stored.merged_into == after.merged_into
        and stored.forgotten_at == after.forgotten_at
        and stored.weights == tower.weights.fingerprint
        and stored.product_space == tower.weights.product_space
        and stored.waiting_for == without_vector
    )


def forgotten_until(user: User | None) -> int:
    """Microseconds; interactions received up to then do not count."""
    if user is None or user.forgotten_at is None:
        return -1
    return user.forgotten_at * 1000 + 999
