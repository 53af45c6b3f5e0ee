"""Messages that can never be stored, kept with the reason beside them."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sidecar.contract.errors import MessageError, RefusedError
from sidecar.updates.envelopes import DETAIL, MAX_BATCH_BYTES, REASON, Outgoing, Received
from sidecar.updates.sqs import Queue

log = logging.getLogger("sidecar.updates")

#: Characters; in UTF-8 each is up to four bytes.
_LARGE = MAX_BATCH_BYTES // 4 - 2000


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
        letters = [(message, _letter(message, error)) for message, error in poison]
        small = [(message, letter) for message, letter in letters if len(letter.body) < _LARGE]
        ids = self.queue.send(letter for _, letter in small)
        taken = [message for (message, _), sent in zip(small, ids, strict=True) if sent]
        # With what is said beside it a letter may be more than the queue takes. Alone, it fails
        # alone: the redrive policy decides about it.
        for message, letter in letters:
            if len(letter.body) >= _LARGE:
                try:
                    taken += [message] if self.queue.send([letter])[0] else []
                except RefusedError as error:
                    log.warning("dead letter %s: %s", message.message_id, error)
        return taken


def _letter(message: Received, error: MessageError) -> Outgoing:
    return Outgoing(
        message.body,
        group=message.message_id,
        dedup=message.message_id,
        attributes={
            REASON: error.reason,
            # SQS refuses most control characters, and an empty value. Large ones get no more than
            # the reason: all of it counts as the message's size.
            **({} if len(message.body) >= _LARGE else {DETAIL: _printable(str(error))[:1000]}),
            **message.identity,
        },
    )


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)
