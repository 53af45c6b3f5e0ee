"""An answer on its way to the client, and what its first bytes tell about a rewritten search."""

from __future__ import annotations

import re
from collections.abc import Iterator

from sidecar.search.answer import Answer
from sidecar.search.answers import GLANCE, failed_items, has_failed_shards, unpack_start
from sidecar.search.planned import Plan

_TYPE = re.compile(rb'"type"\s*:\s*"([a-z_]{1,100})"')
#: Bytes of a multi-search's answer that are looked through for items that failed.
_MULTI_LIMIT = 8 << 20


class Pieces:
    """An answer's body as WSGI wants it: iterated, and closed whatever happens."""

    __slots__ = ("_answer", "_chunks", "_read")

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._chunks = answer.chunks()
        self._read: list[bytes] = []

    def peek(self, size: int) -> bytes:
        """The first bytes, at least that many if there are so many; they come again later."""
        have = sum(map(len, self._read))
        while have < size:
            piece = next(self._chunks, b"")
            if not piece:
                break
            self._read.append(piece)
            have += len(piece)
        return b"".join(self._read)

    def __iter__(self) -> Iterator[bytes]:
        while self._read:
            yield self._read.pop(0)
        yield from self._chunks

    def close(self) -> None:
        """WSGI calls it at the end, also when the client has gone."""
        self._answer.close()


def changed(plan: Plan) -> list[Plan]:
    """The plans of all searches in a request that were changed."""
    return [one for one in plan.singles if one.altered]


def failures(plan: Plan, answer: Answer, pieces: Pieces) -> list[Plan]:
    """Which changed searches must be repaired: errors (but "later"), and failed shards."""
    head = answer.head
    if head.status >= 400:
        return changed(plan) if head.status != 429 else []
    encoding = next((v for k, v in head.headers if k.lower() == "content-encoding"), "").lower()
    if plan.items:
        body = pieces.peek(_MULTI_LIMIT)
        numbers = failed_items(body, encoding, len(plan.items), _MULTI_LIMIT)
        return [one for i, one in enumerate(plan.items) if one.altered and i in numbers]
    return [plan] if has_failed_shards(unpack_start(pieces.peek(GLANCE), encoding)) else []


def why(answer: Answer, pieces: Pieces) -> str:
    """Why a changed search failed, in a few words for the log: never the query itself."""
    if answer.head.status < 400:
        return "failed shards, or items of a multi-search"
    encoding = next((v for k, v in answer.head.headers if k.lower() == "content-encoding"), "")
    found = _TYPE.search(unpack_start(pieces.peek(GLANCE), encoding.lower()) or b"")
    kind = found[1].decode() if found else "no error that could be read"
    return f"status {answer.head.status}, {kind}"
