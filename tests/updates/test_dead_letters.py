"""Dead letters that the queue does not take: alone, and without harm to the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sidecar.contract.errors import MessageError, RefusedError
from sidecar.updates.dead_letters import DeadLetters
from sidecar.updates.envelopes import DETAIL, REASON, Outgoing, Received

LIMIT = 262_144


class Narrow:
    """A queue that counts attributes as SQS does: a request that is too large fails as a whole."""

    def __init__(self) -> None:
        self.letters: list[Outgoing] = []

    def send(self, messages: Iterable[Outgoing]) -> list[str | None]:
        wanted = list(messages)
        for one in wanted:
            said = sum(len(k.encode()) + len(v.encode()) for k, v in one.attributes.items())
            if len(one.body.encode()) + said > LIMIT:
                raise RefusedError("sending to dead: BatchRequestTooLong")
        self.letters += wanted
        return [str(i) for i, _ in enumerate(wanted)]


def received(name: str, body: str) -> Received:
    return Received(
        message_id=name,
        body=body,
        receipt=name,
        sent_at=1,
        received_at=2,
        receives=1,
        attributes={},
    )


def test_a_letter_that_is_too_large_holds_up_no_other() -> None:
    queue: Any = Narrow()
    bodies = {
        "small": "x",
        "large": "x" * (LIMIT - 400),  # too large with the whole of what is wrong beside it
        "full": "x" * LIMIT,  # too large with anything beside it
        "wide": "é" * (LIMIT // 2 - 200),
        "last": "y",
    }
    poison = [(received(k, b), MessageError("not_json", "z" * 5000)) for k, b in bodies.items()]
    taken = DeadLetters(queue).add(poison)
    assert sorted(one.message_id for one in taken) == ["large", "last", "small", "wide"]
    attributes = {letter.group: letter.attributes for letter in queue.letters}
    assert all(found[REASON] == "not_json" for found in attributes.values())
    assert len(attributes["small"][DETAIL]) == 1000
    assert DETAIL not in attributes["large"]
