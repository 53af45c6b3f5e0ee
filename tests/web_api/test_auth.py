"""Keys, sessions, other sites: who gets in, on real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Blueprint

from sidecar.web.app import own_app
from sidecar.web.auth import COOKIE, SESSION_S, Guard, auth_blueprint
from tests.web_api.http import ask
from tests.web_api.stack import served

KEY = "correct horse battery staple"


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def app(guard: Guard) -> object:
    routes = Blueprint("things", __name__)

    @routes.route("/_sidecar/thing", methods=["GET", "POST", "DELETE"])
    def thing() -> str:
        return "a thing"

    @routes.get("/_sidecar/ui/")
    def page() -> str:
        return "a page"

    return own_app({"x": lambda: None}, [auth_blueprint(guard), routes]).wsgi_app


@pytest.fixture(scope="module")
def closed() -> Iterator[str]:
    with served(app(Guard(KEY, on_loopback=False))) as url:
        yield url


@pytest.fixture(scope="module")
def open_() -> Iterator[str]:
    with served(app(Guard("", on_loopback=True))) as url:
        yield url


def test_health_needs_no_key(closed: str) -> None:
    assert ask("GET", f"{closed}/_sidecar/health/live").status == 200
    assert ask("GET", f"{closed}/_sidecar/health/ready").status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/_sidecar/thing",
        "/_sidecar/unknown",
        "/_sidecar/health/liveX",
        "/_sidecar/",
        "/_sidecar/health",
    ],
)
def test_everything_else_does(closed: str, path: str) -> None:
    assert ask("GET", closed + path).status == 401
    assert ask("GET", closed + path, headers={"X-API-Key": "wrong"}).status == 401
    assert ask("GET", closed + path, headers={"X-API-Key": KEY + "x"}).status == 401
    assert ask("GET", closed + path, headers={"X-API-Key": KEY}).status != 401


def test_a_key_may_come_as_a_bearer_token(closed: str) -> None:
    headers = {"Authorization": f"Bearer {KEY}"}
    assert ask("GET", f"{closed}/_sidecar/thing", headers=headers).status == 200


def test_without_a_key_nothing_off_loopback_is_open() -> None:
    with served(app(Guard("", on_loopback=False))) as url:
        for key in ("", "x"):
            assert ask("GET", f"{url}/_sidecar/thing", headers={"X-API-Key": key}).status == 401
        assert ask("GET", f"{url}/_sidecar/thing", headers={"Cookie": f"{COOKIE}=9."}).status == 401
        assert ask("GET", f"{url}/_sidecar/health/live").status == 200


def test_a_key_on_loopback_counts() -> None:
    with served(app(Guard(KEY, on_loopback=True))) as url:
        assert ask("GET", f"{url}/_sidecar/thing").status == 401


def test_loopback_is_open_but_not_to_another_name(open_: str) -> None:
    assert ask("GET", f"{open_}/_sidecar/thing").status == 200
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost@evil.example", "[::2]"):
        answer = ask("GET", f"{open_}/_sidecar/thing", headers={"Host": host})
        assert answer.status == 403, host
    for host in ("localhost", "LOCALHOST:9201", "[::1]:9201", "127.0.0.1"):
        assert ask("GET", f"{open_}/_sidecar/thing", headers={"Host": host}).status == 200, host


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_other_sites_cannot_make_a_browser_change_anything(
    open_: str, closed: str, method: str, headers: dict[str, str]
) -> None:
    assert ask(method, f"{open_}/_sidecar/thing", headers=headers).status == 403
    given = headers | {"X-API-Key": KEY}
    assert ask(method, f"{closed}/_sidecar/thing", headers=given).status == 403


def test_the_same_site_and_other_clients_can(open_: str) -> None:
    origin = {"Origin": open_, "Sec-Fetch-Site": "same-origin"}
    assert ask("POST", f"{open_}/_sidecar/thing", headers=origin).status == 200
    assert ask("POST", f"{open_}/_sidecar/thing").status == 200


def test_pages_lead_to_the_sign_in(closed: str) -> None:
    answer = ask("GET", f"{closed}/_sidecar/ui/")
    assert answer.status == 303
    assert answer.headers["Location"].endswith("/_sidecar/ui/login")


def test_sessions_expire_and_cannot_be_made_up(closed: str) -> None:
    clock = Clock()
    guard = Guard(KEY, False, clock)
    session = guard.session()
    assert KEY not in session
    assert guard.is_session(session)
    expires, _, signature = session.partition(".")
    for forged in (
        None, "", ".", f"{int(expires) + 1}.{signature}", f"{expires}.", f"{expires}.é",
        f"٣.{signature}", Guard("other", False, clock).session(),
    ):  # fmt: skip
        assert not guard.is_session(forged), forged
    clock.now += SESSION_S + 1
    assert not guard.is_session(session)
    live = Guard(KEY, False).session()
    assert (
        ask("GET", f"{closed}/_sidecar/thing", headers={"Cookie": f"{COOKIE}={live}"}).status == 200
    )
