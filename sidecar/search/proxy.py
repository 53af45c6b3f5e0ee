"""The data plane: a WSGI callable that hands every request on to Elasticsearch.

Raw path bytes matter here (``//``, ``..``, ``%2F``), so no framework routes these requests: the
server's ``RAW_URI`` goes on as it came.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable

from sidecar.contract.errors import UnreachableError
from sidecar.search import sniff
from sidecar.search.answer import Answer
from sidecar.search.bodies import ClientGone, Incoming, gunzip
from sidecar.search.classify import media_reason
from sidecar.search.decision import Decision
from sidecar.search.delivery import Delivery
from sidecar.search.explained import Explanations
from sidecar.search.guard import guarded
from sidecar.search.headers import forwarded
from sidecar.search.multi import plan_multi
from sidecar.search.observe import Observer
from sidecar.search.pieces import Pieces, changed, failures, why
from sidecar.search.plan import Planner
from sidecar.search.planned import Plan, Search
from sidecar.search.ports import QueryLog
from sidecar.search.target import OTHER, Target, parse_target
from sidecar.search.upstream import Upstream, UpstreamTimeout
from sidecar.search.wsgi import (
    API,
    STARTED,
    UPSTREAM,
    Environ,
    StartResponse,
    content_type,
    own_error,
    request_uri,
    status_line,
)
from sidecar.tracing import REQUEST_ID, REQUEST_ID_HEADER, begin

log = logging.getLogger(__name__)

_NONE: list[Plan] = []
_FAULT = Plan(Decision("bypassed", "fault"))
_UNREAD = {
    "template": Plan(Decision("untouched", "template")),
    "scroll": Plan(Decision("untouched", "scroll_page")),
}
_REWRITTEN_BODY = frozenset({"HTTP_CONTENT_ENCODING"})
#: The key is for the sidecar; and an answer that is to be changed must come unpacked.
_EXPLAINED = _REWRITTEN_BODY | {"HTTP_X_API_KEY", "HTTP_ACCEPT_ENCODING"}


class Proxy:
    """Passes requests through; searches as planned.

    Parameters
    ----------
    upstream : Upstream
    planner : Planner
    observer : Observer, optional
        Told what was done; counts and logs.
    query_log : QueryLog, optional
        Where searches of named shoppers are noted down.
    explanations : Explanations, optional
        For ``ext.sidecar.explain``.
    """

    def __init__(
        self,
        upstream: Upstream,
        planner: Planner,
        observer: Observer | None = None,
        query_log: QueryLog | None = None,
        explanations: Explanations | None = None,
    ) -> None:
        self._upstream = upstream
        self._planner = planner
        self._settings = planner.settings
        self._observer = observer or Observer()
        self._hand_on = Delivery(self._observer, query_log, explanations).hand_on

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """WSGI."""
        environ[STARTED] = time.perf_counter()
        environ[UPSTREAM] = 0.0
        begin(environ)
        target = guarded("understanding a request line", lambda: _target(environ), OTHER)
        environ[API] = target.api
        incoming = Incoming(environ)
        try:
            if target.api in ("search", "async_search", "msearch"):
                return self._search(target, environ, incoming, start_response)
            if target.api == "nodes":
                return self._nodes(environ, incoming, start_response)
            answer = self._send(environ, incoming)
            return self._hand_on(answer, environ, start_response, _UNREAD.get(target.api))
        except ClientGone:
            return own_error(
                environ, start_response, 400, "client_gone", "the body ended too early"
            )
        except UpstreamTimeout as error:
            self._observer.upstream_failed("timeout")
            return own_error(environ, start_response, 504, "upstream_timeout", str(error))
        except UnreachableError as error:
            self._observer.upstream_failed("unreachable")
            log.warning("%s", error)
            return own_error(environ, start_response, 502, "upstream_unreachable", str(error))

    def _send(
        self,
        environ: Environ,
        incoming: Incoming,
        repeatable: bool = False,
        without: frozenset[str] = frozenset(),
    ) -> Answer:
        """The request as it came."""
        headers = forwarded(environ, self._upstream.host_header, without)
        headers += incoming.header()
        body = incoming.framed()
        repeatable = repeatable or environ["REQUEST_METHOD"] in ("GET", "HEAD")
        return self._request(environ, headers, body, repeatable)

    def _search(
        self,
        target: Target,
        environ: Environ,
        incoming: Incoming,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        plan = guarded("planning a search", lambda: self._plan(target, environ, incoming), _FAULT)
        if not plan.altered:
            answer = self._send_search(environ, incoming, plan.body, plan.explain)
            return self._hand_on(answer, environ, start_response, plan)
        try:
            answer = self._send_search(environ, incoming, plan.body, plan.explain)
            pieces = Pieces(answer)
            # An answer that cannot be judged counts as whole.
            failed = guarded("judging an answer", lambda: failures(plan, answer, pieces), _NONE)
            if not failed:
                return self._hand_on(answer, environ, start_response, plan, pieces)
            failure = guarded("reading an error", lambda: why(answer, pieces), "")
            answer.close()
        except UnreachableError as error:
            failed, failure = changed(plan), str(error)
        return self._repair(plan, failed, failure, environ, incoming, start_response)

    def _repair(
        self,
        plan: Plan,
        failed: list[Plan],
        failure: str,
        environ: Environ,
        incoming: Incoming,
        start_response: StartResponse,
    ) -> Iterable[bytes]:
        """The original, once. Where it fares better, the index is left alone for a while."""
        answer = self._send_search(environ, incoming, plan.original, plan.explain)
        pieces = Pieces(answer)
        still = guarded("judging an answer", lambda: failures(plan, answer, pieces), _NONE)
        guarded("remembering a failure", lambda: self._remember(plan, failed, still, failure), None)
        return self._hand_on(answer, environ, start_response, plan.gone_out_plain(), pieces)

    def _remember(self, plan: Plan, failed: list[Plan], still: list[Plan], failure: str) -> None:
        for one in failed:
            if one not in still:
                # Once in a while only: from here on the breaker is open.
                log.warning("a changed search failed where its original did not: %s", failure)
                self._planner.breaker.open(one.breaker_key)
                self._observer.repaired()
        self._planner.unpin(plan)

    def _plan(self, target: Target, environ: Environ, incoming: Incoming) -> Plan:
        """What to do; leaves the body either read or still to be streamed."""
        body = incoming.read(self._settings.max_body_bytes)
        if body is None:
            return Plan(Decision("untouched", "body_too_large"))
        multi = target.api == "msearch"
        reason = media_reason(
            environ.get("CONTENT_TYPE"), environ.get("HTTP_ACCEPT"), bool(body), multi
        )
        if reason == "not_json":
            return Plan(Decision("untouched", reason))
        leave = "unknown_parameter" if target.odd else reason or ""
        encoding = environ.get("HTTP_CONTENT_ENCODING", "").lower()
        if body and encoding not in ("", "identity"):
            unpacked = gunzip(body, self._settings.max_body_bytes) if encoding == "gzip" else None
            if unpacked is None:
                return Plan(Decision("untouched", "not_json"))
            body = unpacked
        started = time.perf_counter()
        search = Search(target.expression, target.parameters, environ, body)
        if multi:
            plan = plan_multi(self._planner, search, leave)
        else:
            plan = self._planner.plan(search, leave=leave)
        self._observer.planned(time.perf_counter() - started)
        return plan

    def _send_search(
        self, environ: Environ, incoming: Incoming, body: bytes | None, explain: bool
    ) -> Answer:
        """A search with a body of ours; ``None``: as it came."""
        if body is None:
            return self._send(environ, incoming, repeatable=True)
        without = _EXPLAINED if explain else _REWRITTEN_BODY
        headers = forwarded(environ, self._upstream.host_header, without)
        if not environ.get("CONTENT_TYPE"):
            headers.append(("Content-Type", content_type(environ.get("HTTP_ACCEPT"))))
        headers.append(("Content-Length", str(len(body))))
        return self._request(environ, headers, body, True)

    def _request(
        self,
        environ: Environ,
        headers: list[tuple[str, str]],
        body: bytes | Iterable[bytes],
        repeatable: bool,
    ) -> Answer:
        started = time.perf_counter()
        try:
            return self._upstream.request(
                environ["REQUEST_METHOD"],
                request_uri(environ),
                headers,
                body,
                repeatable=repeatable,
            )
        finally:
            environ[UPSTREAM] += time.perf_counter() - started

    def _nodes(
        self, environ: Environ, incoming: Incoming, start_response: StartResponse
    ) -> Iterable[bytes]:
        """Clients that sniff learn the nodes' own addresses here, and would bypass us."""
        answer = self._send(environ, incoming, without=frozenset({"HTTP_ACCEPT_ENCODING"}))
        address = self._settings.public_address or environ.get("HTTP_HOST", "")
        body = answer.read()
        changed = None
        if answer.head.status == 200:
            changed = guarded("changing addresses", lambda: sniff.point_at(body, address), None)
        headers = [one for one in answer.head.headers if one[0].lower() != "content-length"]
        body = body if changed is None else changed
        headers += [("Content-Length", str(len(body))), (REQUEST_ID_HEADER, environ[REQUEST_ID])]
        start_response(status_line(answer), headers)
        return [body]


def _target(environ: Environ) -> Target:
    return parse_target(environ["REQUEST_METHOD"], request_uri(environ))
