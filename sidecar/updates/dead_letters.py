"""Messages that can never be stored, kept with the reason beside them."""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.contract.errors import MessageError
from sidecar.updates.envelopes import DETAIL, REASON, Outgoing, Received
from sidecar.updates.sqs import Queue


class DeadLetters:
    """A queue of dead letters.

    Parameters
    ----------
    queue : Queue
    """

    def __init__(self, queue: Queue) -> None:
        self.queue = queue

    def add(self, poison: Sequence[tuple[Received, MessageError]]) -> list[Received]:
        """Send messages with their reasons; those that were taken.

        Raises
        ------
        UnreachableError, RefusedError
        """
        ids = self.queue.send(_letter(message, error) for message, error in poison)
        return [message for (message, _), sent in zip(poison, ids, strict=True) if sent]


def _letter(message: Received, error: MessageError) -> Outgoing:
    return Outgoing(
        message.body,
        group=message.message_id,
        dedup=message.message_id,
        attributes={
            REASON: error.reason,
            # SQS refuses most control characters, and an empty value.
            DETAIL: "".join(c if c.isprintable() else "?" for c in str(error))[:1000],
            **message.identity,
        },
    )
