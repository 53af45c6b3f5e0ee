"""Who may use ``/_sidecar/``: an API key, and no request that another site had a browser send."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Request
from werkzeug.wrappers import Response as AnyResponse

from sidecar.web.problems import Answer, problem

HEADER = "X-API-Key"
COOKIE = "sidecar_session"
#: How long a browser stays signed in, in seconds.
SESSION_S = 12 * 3600
#: Whoever asks for these has no key: probes, and the page that asks for it with its looks.
OPEN = ("/_sidecar/health/live", "/_sidecar/health/ready", "/_sidecar/ui/login")
OPEN_PREFIX = "/_sidecar/ui/static/"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class Guard:
    """Decides about each request under ``/_sidecar/``.

    Parameters
    ----------
    api_key : str
        Empty for none.
    on_loopback : bool
        Whether only this machine can reach the sidecar. If not, nothing but health is answered
        without a key; where no key is set, nothing but health is answered at all.
    clock : Callable[[], float]
        Seconds since 1970-01-01 UTC.
    """

    def __init__(
        self, api_key: str, on_loopback: bool, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = api_key.encode()
        self.wants_key = bool(api_key) or not on_loopback
        self._clock = clock

    def fits(self, offered: str | None) -> bool:
        """Whether this is the key; takes the same time for every wrong one of a length."""
        return bool(self._key) and hmac.compare_digest((offered or "").encode(), self._key)

    def session(self) -> str:
        """A browser's proof that the key was entered; it cannot be turned back into the key."""
        expires = str(int(self._clock()) + SESSION_S)
        return f"{expires}.{self._signature(expires)}"

    def is_session(self, offered: str | None) -> bool:
        """Whether this proof is ours, and has not expired."""
        expires, _, signature = (offered or "").partition(".")
        if not self._key or not expires.isdecimal() or not expires.isascii():
            return False
        known = hmac.compare_digest(signature.encode(), self._signature(expires).encode())
        return known and len(expires) < 16 and int(expires) > self._clock()

    def _signature(self, expires: str) -> str:
        return hmac.new(self._key, f"session {expires}".encode(), hashlib.sha256).hexdigest()

    def refusal(self, asked: Request) -> str:
        """Why a request is refused: ``key``, ``host``, ``origin``; empty if it is not."""
        if asked.path in OPEN[:2]:
            return ""
        if asked.method not in _SAFE and is_foreign(asked):
            return "origin"
        if asked.path == OPEN[2] or asked.path.startswith(OPEN_PREFIX):
            return ""
        if not self.wants_key:
            # Another site's name that resolves to this machine must not read what is here.
            return "" if host_name(asked.host) in _LOOPBACK else "host"
        bearer = asked.headers.get("Authorization", "")
        offered = asked.headers.get(HEADER) or bearer.removeprefix("Bearer ").strip()
        if self.fits(offered) or self.is_session(asked.cookies.get(COOKIE)):
            return ""
        return "key"


def is_foreign(asked: Request) -> bool:
    """Whether a browser says that another site made it send this. Other clients say nothing."""
    if asked.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        return True
    origin = asked.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc.lower() != asked.host.lower()


def host_name(host: str) -> str:
    """A ``Host`` header without its port."""
    return (urlsplit(f"//{host}").hostname or "").lower() if "@" not in host else ""


def auth_blueprint(guard: Guard) -> Blueprint:
    """A blueprint without routes, that guards all others: it must be among them.

    Parameters
    ----------
    guard : Guard
    """
    routes = Blueprint("auth", __name__)

    @routes.before_app_request
    def check() -> Answer | AnyResponse | None:
        refusal = guard.refusal(request)
        if not refusal:
            return None
        if refusal == "origin":
            return problem(403, "other_origin", "another site's page sent this request")
        if refusal == "host":
            expected = "localhost or 127.0.0.1; behind a proxy set SIDECAR_API_KEY"
            return problem(403, "other_host", f"Host={request.host!r}: expected {expected}")
        if request.method == "GET" and request.path.startswith("/_sidecar/ui"):
            return redirect("/_sidecar/ui/login", 303)
        detail = f"send the value of SIDECAR_API_KEY as {HEADER}"
        answer, status = problem(401, "api_key", detail)
        answer.headers["WWW-Authenticate"] = 'Bearer realm="sidecar"'
        return answer, status

    return routes
