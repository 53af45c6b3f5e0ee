"""The history rules: which interactions count, as a pure function of their set.

``merge`` is associative, commutative and idempotent, so that any order, duplication or batching
of the same messages ends in the same history. Two choices carry that property:

- of two copies of one ``event_id`` the one that occurred *later* is kept. Interactions only ever
  move up, so that nothing that was cut off before could have to come back;
- the window is measured from the newest interaction of the history, never from the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from sidecar.contract.errors import ConfigError

#: Microseconds in an hour.
HOUR = 3_600_000_000


class Interaction(NamedTuple):
    """One shopper did one thing with one product.

    Parameters
    ----------
    occurred_at : int
        When it happened; microseconds since 1970-01-01 UTC.
    event_id : str
        Identity: two interactions with one ``event_id`` are one.
    product_id : str
    event : str
        Canonical event name.
    received_at : int
        When the queue took the message; microseconds since 1970-01-01 UTC.
    """

    occurred_at: int
    event_id: str
    product_id: str
    event: str
    received_at: int


History = tuple[Interaction, ...]


@dataclass(frozen=True)
class HistoryLimits:
    """How much of the past counts. The values of a weights file are the ones that are served.

    Parameters
    ----------
    max_interactions : int
        L, the most interactions that a history holds (1 to 1000).
    window_hours : float
        Interactions must be less than this many hours older than the newest one.

    Raises
    ------
    ConfigError
    """

    max_interactions: int = 20
    window_hours: float = 48.0

    def __post_init__(self) -> None:
        if not 1 <= self.max_interactions <= 1000:
            raise ConfigError("max_interactions", self.max_interactions, "1 to 1000")
        if not 0.0 < self.window_hours <= 24 * 3650:
            raise ConfigError("window_hours", self.window_hours, "above 0, at most ten years")

    @property
    def window(self) -> int:
        """The window in microseconds."""
        return int(self.window_hours * HOUR)


DEFAULT_LIMITS = HistoryLimits()


def merge(*parts: Iterable[Interaction], limits: HistoryLimits = DEFAULT_LIMITS) -> History:
    """The history of all interactions in ``parts``, oldest to newest.

    Parameters
    ----------
    *parts : Iterable[Interaction]
        Stored histories and new interactions, in any order, with any duplicates.
    limits : HistoryLimits

    Returns
    -------
    History
        At most ``limits.max_interactions`` interactions, distinct by ``event_id``, ordered by
        ``(occurred_at, event_id)``, all less than the window older than the last.
    """
    latest: dict[str, Interaction] = {}
    for part in parts:
        for interaction in part:
            known = latest.get(interaction.event_id)
            # Tuples compare by occurred_at first; the rest only makes the choice total.
            if known is None or interaction > known:
                latest[interaction.event_id] = interaction
    newest_first = sorted(latest.values(), reverse=True)[: limits.max_interactions]
    if not newest_first:
        return ()
    oldest_allowed = newest_first[0].occurred_at - limits.window
    return tuple(i for i in reversed(newest_first) if i.occurred_at > oldest_allowed)


def is_expired(history: History, now: int, limits: HistoryLimits = DEFAULT_LIMITS) -> bool:
    """Whether the newest interaction is so old by the clock that search must not use it.

    Parameters
    ----------
    history : History
    now : int
        Microseconds since 1970-01-01 UTC.
    """
    return not history or now - history[-1].occurred_at > limits.window
