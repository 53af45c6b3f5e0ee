"""Handing Elasticsearch's answers on: as they come, with headers that say what was done.

Two things may be done on the way. The log of queries keeps a copy of the answer to a search that
it will note down, and reads it later, elsewhere. A search that asks for explanations waits for
them. All other answers are neither read nor kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from sidecar.search.answer import Answer
from sidecar.search.decision import ACTION_HEADER, EXPLAIN_HEADER, QUERY_ID_HEADER, REASON_HEADER
from sidecar.search.explained import Explanations
from sidecar.search.guard import guarded
from sidecar.search.observe import Observer
from sidecar.search.pieces import Pieces
from sidecar.search.planned import Plan
from sidecar.search.ports import Answered, QueryLog
from sidecar.search.wsgi import API, STARTED, UPSTREAM, Environ, StartResponse, status_line
from sidecar.tracing import REQUEST_ID, REQUEST_ID_HEADER

#: Bytes of an answer that are kept for the log of queries; of a longer one, no hits are noted.
LOGGED_BYTES = 4 << 20


class Delivery:
    """Hands answers on.

    Parameters
    ----------
    observer : Observer
        Told what was done; counts and logs.
    query_log : QueryLog, optional
    explanations : Explanations, optional
    clock : Callable[[], float]
        Seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        observer: Observer,
        query_log: QueryLog | None = None,
        explanations: Explanations | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._observer = observer
        self._query_log = query_log
        self._explanations = explanations
        self._clock = clock

    def hand_on(
        self,
        answer: Answer,
        environ: Environ,
        start_response: StartResponse,
        plan: Plan | None,
        pieces: Pieces | None = None,
    ) -> Iterable[bytes]:
        """The answer as it comes.

        Parameters
        ----------
        plan : Plan, optional
            ``None`` for what is no search.
        pieces : Pieces, optional
            Of the answer, of which some were read already.
        """
        headers = answer.head.headers
        headers.append((REQUEST_ID_HEADER, environ[REQUEST_ID]))
        if plan is not None:
            headers += [
                (ACTION_HEADER, plan.decision.action),
                (REASON_HEADER, plan.decision.reason),
            ]
            if plan.query_id:
                headers.append((QUERY_ID_HEADER, plan.query_id))
        pieces = pieces or Pieces(answer)
        self._count(answer, environ, plan)
        if plan is not None and plan.explain:
            body, outcome = self._explained(answer, environ, plan, pieces)
            headers.append((EXPLAIN_HEADER, outcome))
            if body is not None:
                headers = [one for one in headers if one[0].lower() != "content-length"]
                start_response(status_line(answer), [*headers, ("Content-Length", str(len(body)))])
                return [body]
        log = self._query_log
        copy = None
        if log is not None and plan is not None and plan.query_id and answer.head.status == 200:
            copy = _Copy(plan, answer, environ[REQUEST_ID], self._clock(), log)
        if answer.is_here():
            # Nothing to wait for: the connection goes back before the head is sent.
            body = b"".join(pieces)
            if copy is not None:
                copy.keep(body)
                copy.note(whole=True)
            start_response(status_line(answer), headers)
            return [body] if body else []
        start_response(status_line(answer), headers)
        return pieces if copy is None else _Copied(pieces, copy)

    def _count(self, answer: Answer, environ: Environ, plan: Plan | None) -> None:
        upstream_s = environ[UPSTREAM]
        added_s = time.perf_counter() - environ[STARTED] - upstream_s
        status, decision = answer.head.status, None if plan is None else plan.decision
        guarded(
            "counting a request",
            lambda: self._observer.answered(environ[API], status, decision, upstream_s, added_s),
            None,
        )

    def _explained(
        self, answer: Answer, environ: Environ, plan: Plan, pieces: Pieces
    ) -> tuple[bytes | None, str]:
        """The answer with explanations, ``None`` where it stays as it is; and what became of it."""
        explanations = self._explanations
        if explanations is None or answer.head.status != 200:
            return None, "not_personalised"
        fault: tuple[bytes | None, str] = (None, "failed")
        body, outcome = guarded(
            "explaining an answer", lambda: explanations.of(plan, environ, pieces.peek), fault
        )
        if body is None:
            return None, outcome
        if self._query_log is not None:
            copy = _Copy(plan, answer, environ[REQUEST_ID], self._clock(), self._query_log)
            for piece in pieces:
                copy.keep(piece)
            copy.note(whole=True)
        pieces.close()
        return body, outcome


class _Copy:
    """What the log of queries gets of one answer."""

    __slots__ = ("_answered", "_kept", "_log", "_size")

    def __init__(
        self, plan: Plan, answer: Answer, request_id: str, at: float, log: QueryLog
    ) -> None:
        encoding = next(
            (v for k, v in answer.head.headers if k.lower() == "content-encoding"), ""
        ).lower()
        self._answered = Answered(plan, None, encoding, request_id, at)
        self._log = log
        self._kept: list[bytes] = []
        self._size = 0

    def keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size <= LOGGED_BYTES:
            self._kept.append(piece)

    def note(self, whole: bool) -> None:
        """Hand it to the log; without its body where that is cut off, or too long."""
        fits = whole and self._size <= LOGGED_BYTES
        answered = self._answered._replace(body=b"".join(self._kept) if fits else None)
        guarded("noting a query down", lambda: self._log.put(answered), None)


class _Copied:
    """An answer's body that is copied while it is sent."""

    def __init__(self, pieces: Pieces, copy: _Copy) -> None:
        self._pieces = pieces
        self._copy: _Copy | None = copy

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if self._copy is not None:
                self._copy.keep(piece)
            yield piece
        self._note(whole=True)

    def close(self) -> None:
        """WSGI calls it at the end, also when the client has gone."""
        self._note(whole=False)
        self._pieces.close()

    def _note(self, whole: bool) -> None:
        if self._copy is not None:
            self._copy.note(whole)
            self._copy = None
