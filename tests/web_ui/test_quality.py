"""Accessibility, security headers, and what happens when something is down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from elasticsearch import Elasticsearch

from sidecar.contract.errors import UnreachableError
from sidecar.web.auth import Guard
from sidecar.web.own import OwnParts
from tests.web_api.http import ask
from tests.web_api.stack import Shop, event, open_shop

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.servers
KEY = "a key for the tests"


@pytest.fixture(scope="module")
def tea_fan(shop: Shop) -> str:
    shop.send(
        event("tea fan", "tea-1", "purchase", timestamp=time.time() - 100),
        event("tea fan", "unheard-of", "view_item"),
    )
    shop.wait_for("tea fan", 2)
    return "tea fan"


@pytest.mark.parametrize(
    "path",
    ["", "shopper?id=tea fan", "shopper?id=tea fan&impact=0", "shopper?id=nobody&q=lamps",
     "similar?product=tea-1&id=x", "similar?product=unheard-of", "login"],
)  # fmt: skip
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_of_level_a_or_aa(
    browser: Browser, shop: Shop, tea_fan: str, scheme: str, path: str, width: int
) -> None:
    import axe_playwright_python

    axe = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text()
    size = {"width": width, "height": 900}
    with browser.new_context(viewport=size, color_scheme=scheme) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(f"{shop.url}/_sidecar/ui/{path}")
        page.evaluate(axe + ";0")
        found = page.evaluate(
            "axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa',"
            " 'best-practice']})"
        )
        told = [
            f"{one['id']}: {node['html'][:120]} {node['failureSummary']}"
            for one in found["violations"]
            for node in one["nodes"]
        ]
        assert told == []
        assert found["passes"]


def test_every_page_forbids_what_it_does_not_need(shop: Shop, tea_fan: str) -> None:
    for path in ("", "shopper?id=tea%20fan", "similar?product=x", "static/inspector.js"):
        headers = ask("GET", f"{shop.url}/_sidecar/ui/{path}").headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "http" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert ask("GET", f"{shop.url}/_sidecar/ui/").headers["Cache-Control"] == "no-store"


def test_only_its_own_three_files_are_served(shop: Shop) -> None:
    for name in ("inspector.css", "inspector.js", "icon.svg"):
        assert ask("GET", f"{shop.url}/_sidecar/ui/static/{name}").status == 200
    for name in ("pages.py", "base.html", "../pages.py", "%2e%2e/auth.py", ""):
        assert ask("GET", f"{shop.url}/_sidecar/ui/static/{name}").status == 404


@pytest.mark.parametrize("path", ["act", "forget", "login"])
def test_other_sites_cannot_post(shop: Shop, path: str) -> None:
    url = f"{shop.url}/_sidecar/ui/{path}"
    body = b"id=x&product=tea-1&act=cart"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ask("POST", url, body, form | {"Origin": "https://evil.example"}).status == 403
    assert ask("POST", url, body, form | {"Sec-Fetch-Site": "cross-site"}).status == 403
    assert shop.users.get("x") is None


def test_behind_tls_the_cookie_is_for_tls_alone(
    client: Elasticsearch, sqs_endpoint: str, unique: str
) -> None:
    guard = Guard(KEY, on_loopback=False)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    with open_shop(client, sqs_endpoint, unique, guard=guard) as shop:
        body = f"key={KEY}".replace(" ", "+").encode()
        for headers, secure in (({}, False), ({"X-Forwarded-Proto": "https"}, True)):
            answer = ask("POST", f"{shop.url}/_sidecar/ui/login", body, form | headers)
            assert answer.status == 303
            assert ("Secure" in answer.headers["Set-Cookie"]) is secure


@pytest.mark.parametrize("body", [b"", b"id=x", b"id=x&product=y&act=buy", b"act=cart&product=y"])
def test_half_a_click_is_no_click(shop: Shop, body: bytes) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ask("POST", f"{shop.url}/_sidecar/ui/act", body, form).status == 400


@pytest.mark.parametrize("impact", ["nan", "-5", "1e9", "x", ""])
def test_any_impact_is_a_number_from_0_to_100(shop: Shop, impact: str) -> None:
    answer = ask("GET", f"{shop.url}/_sidecar/ui/shopper?id=x&impact={impact}")
    assert answer.status == 200


def broken(parts: OwnParts) -> OwnParts:
    def down() -> dict[str, str]:
        raise UnreachableError("SQS is not reachable: is it running?")

    def check() -> None:
        down()

    return replace(parts, queue_counts=down, ready={"queue": check})


@pytest.fixture
def locked(client: Elasticsearch, sqs_endpoint: str, unique: str) -> Iterator[Shop]:
    guard = Guard(KEY, on_loopback=False)
    with open_shop(client, sqs_endpoint, unique, guard=guard, wrap=broken) as running:
        yield running


def test_off_loopback_a_browser_signs_in_and_a_fault_is_one_line(
    browser: Browser, locked: Shop
) -> None:
    from tests.web_ui.browser import Tab

    with browser.new_context() as context:
        tab = Tab(context.new_page())
        page = tab.page
        page.goto(f"{locked.url}/_sidecar/ui/shopper?id=x")
        page.get_by_role("heading", name="Sign in").wait_for()
        page.get_by_label("API key").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_text("This is not the key.").wait_for()
        tab.complaints.clear()  # the browser notes the 401
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("heading", name="Overview").wait_for()
        (cookie,) = context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert KEY not in cookie["value"]
        assert page.get_by_text("SQS is not reachable: is it running?").count() == 2
        assert page.locator(".state").inner_text() == "Not well: queue."
        page.goto(f"{locked.url}/_sidecar/ui/shopper?id=x")
        page.locator("#results [value=click]").first.click()
        page.get_by_text("went through the queue").wait_for()
        assert tab.complaints == []
