"""A running shop and a browser in front of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from sidecar.elastic.client import connect
from tests.conftest import missing
from tests.web_api.stack import Shop, open_shop

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from tests.web_ui.browser import Tab


@pytest.fixture(scope="package")
def shop(elasticsearch_url: str, sqs_endpoint: str) -> Iterator[Shop]:
    prefix = f"test-{uuid.uuid4().hex[:10]}"
    with (
        connect(elasticsearch_url, timeout_s=30) as client,
        open_shop(client, sqs_endpoint, prefix) as running,
    ):
        yield running
        for index in client.indices.get_mapping(index=f"{prefix}*").body:
            client.indices.delete(index=index)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    try:
        from tests.web_ui.browser import chromium, program
    except ImportError:
        missing("playwright")
        return
    path = program()
    if path is None:
        missing("Chromium (on Debian: apt-get install chromium)")
        return
    with chromium(path) as running:
        yield running


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tab(browser: Browser, shop: Shop) -> Iterator[Tab]:
    """A desktop tab; at the end nothing may have been complained about or fetched from outside."""
    from tests.web_ui.browser import Tab

    context = browser.new_context(viewport={"width": 1280, "height": 900})
    one = Tab(context.new_page())
    yield one
    context.close()
    assert one.complaints == []
    assert [url for url in one.addresses if not url.startswith(shop.url + "/_sidecar/ui/")] == []
