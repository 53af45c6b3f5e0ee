"""Dead letters: to look at, and to send again once their reason is gone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from sidecar.contract.errors import MessageError
from sidecar.contract.events import EventVocabulary
from sidecar.contract.messages import parse_message
from sidecar.updates.envelopes import DETAIL, REASON, Outgoing, Received
from sidecar.updates.sqs import Queue

#: Seconds for which letters are hidden while somebody looks at them.
_LOOK_S = 60


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter.

    Parameters
    ----------
    message_id : str
        Of the message as it was first sent.
    sent_at : int
        When the queue first took it; microseconds since 1970-01-01 UTC.
    reason : str
        One of ``messages.REASONS``, or ``redrive_policy`` where the queue itself gave up on a
        message: it was received often, and never stored.
    detail : str
    body : str
    """

    message_id: str
    sent_at: int
    reason: str
    detail: str
    body: str


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did: letters sent again, and letters left where they were."""

    sent: int
    left: int


def show(dead: Queue, limit: int = 100) -> list[Letter]:
    """Up to ``limit`` dead letters; they stay where they are.

    Raises
    ------
    UnreachableError, RefusedError
    """
    seen: list[Received] = []
    try:
        for message in _look(dead, limit):
            seen.append(message)  # noqa: PERF402 - kept even if the next receive fails
    finally:
        dead.hide(seen, 0)
    return [_letter(message) for message in seen]


def replay(
    dead: Queue,
    queue: Queue,
    vocabulary: EventVocabulary,
    *,
    reasons: Collection[str] | None = None,
    limit: int = 100_000,
    progress: Callable[[int], None] = lambda done: None,
) -> Replayed:
    """Send dead letters to the queue again, and delete them from the dead letters.

    Letters that would be refused again are left. A letter keeps the identity and the time of
    the message it was: if it had been stored after all, it does not count twice.

    Parameters
    ----------
    dead, queue : Queue
    vocabulary : EventVocabulary
        Of the consumers now.
    reasons : Collection[str], optional
        Only letters with one of these reasons.
    limit : int
        Most letters to look at.
    progress : Callable[[int], None]
        Called with the number of letters looked at so far.

    Raises
    ------
    UnreachableError, RefusedError
        Letters that were sent and not deleted are sent again the next time: harmless.
    """
    left: list[Received] = []
    sent = 0
    batch: list[Received] = []
    try:
        for message in _look(dead, limit):
            wanted = reasons is None or _letter(message).reason in reasons
            if wanted and _acceptable(message, vocabulary):
                batch.append(message)
            else:
                left.append(message)
            if len(batch) == 10:
                sent += _send(dead, queue, batch)
                batch = []
            progress(sent + len(left))
        sent += _send(dead, queue, batch)
        batch = []
    finally:
        dead.hide([*left, *batch], 0)
    return Replayed(sent, len(left))


def _send(dead: Queue, queue: Queue, messages: list[Received]) -> int:
    ids = queue.send(
        Outgoing(
            message.body,
            group=message.message_id,
            dedup=message.message_id,
            attributes=message.identity,
        )
        for message in messages
    )
    taken = [message for message, sent in zip(messages, ids, strict=True) if sent]
    dead.delete(taken)
    return len(taken)


def _look(dead: Queue, limit: int) -> Iterator[Received]:
    """Each letter once, even if consumers put new ones in at the same time."""
    seen: set[str] = set()
    while len(seen) < limit:
        fresh = [
            message
            for message in dead.receive(
                wait_s=1, visibility_s=_LOOK_S, limit=min(10, limit - len(seen))
            )
            if message.message_id not in seen
        ]
        if not fresh:
            return
        seen.update(message.message_id for message in fresh)
        yield from fresh


def _acceptable(message: Received, vocabulary: EventVocabulary) -> bool:
    try:
        parse_message(
            message.body,
            message_id=message.message_id,
            sent_at=message.sent_at,
            vocabulary=vocabulary,
        )
    except MessageError:
        return False
    return True


def _letter(message: Received) -> Letter:
    return Letter(
        message.message_id,
        message.sent_at,
        message.attributes.get(REASON, "redrive_policy"),
        message.attributes.get(DETAIL, f"received {message.receives} times, never stored"),
        message.body,
    )
