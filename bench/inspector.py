"""How long the inspector's pages take in a real Chromium, without Elasticsearch's own time.

    python bench/inspector.py

Loads each page several times, on the demo's catalogue and the embedded servers, and takes off what
was spent waiting for the embedded Elasticsearch, which scans everything and stands for nothing.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sidecar import resources
from sidecar.contract.events import EventVocabulary
from sidecar.contract.vectors import read_vectors
from sidecar.elastic.activity import recent
from sidecar.elastic.client import connect
from sidecar.elastic.documents import ProductDocuments
from sidecar.elastic.indices import setup_products, setup_users
from sidecar.elastic.products import ProductVectors
from sidecar.elastic.users import Users
from sidecar.elastic.vectors import load_vectors
from sidecar.embedded import catalogue
from sidecar.embedded.load import load_catalogue
from sidecar.embedded.queue import create_queue
from sidecar.embedded.servers import AWS_ENVIRONMENT, running
from sidecar.search.settings import SearchSettings
from sidecar.tower.load import load_tower
from sidecar.updates.handler import BatchHandler
from sidecar.updates.publish import send_events
from sidecar.updates.sqs import Queue
from sidecar.web.app import own_app
from sidecar.web.auth import Guard
from sidecar.web.own import OwnParts, own_blueprints
from tests.web_api.stack import served
from tests.web_ui.browser import Tab, chromium, program

TIMES = 10
PAGES = ("", "shopper?id=1736", "shopper?id=1736&q=snacks", "similar?product={product}")


class Spent:
    """Seconds that the client of Elasticsearch waited."""

    def __init__(self, client: Any) -> None:
        self.seconds = 0.0
        inner = client.transport.perform_request

        def timed(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return inner(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - started

        client.transport.perform_request = timed


def main() -> None:
    os.environ.update(AWS_ENVIRONMENT)
    path = program()
    if path is None:
        raise SystemExit("no Chromium: apt-get install chromium")
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        servers = stack.enter_context(running(Path(folder)))
        client = stack.enter_context(connect(servers.elasticsearch_url, timeout_s=60))
        products = catalogue.load_products()
        load_catalogue(client, "products", products)
        setup_products(client, ["products"], resources.mapping("products"))
        setup_users(client, "sidecar-users", resources.mapping("users"))
        load_vectors(client, ["products"], read_vectors(catalogue.VECTORS))
        tower = load_tower(resources.shipped_weights())
        users = Users(client, "sidecar-users")
        vectors = ProductVectors(client, ["products"], dimension=384)
        queue = Queue(create_queue(servers.sqs_url, "events"))
        vocabulary = EventVocabulary()
        household = catalogue.load_household(
            "1736", "2017-06-02", {p["product_id"] for p in products}
        )
        events = [
            {
                "customer_id": "1736",
                "product_id": one.product_id,
                "event_name": "product_purchased",
                "timestamp": time.time() - place,
            }
            for place, one in enumerate(household.purchases)
        ]
        send_events(queue, events, vocabulary)
        handler = BatchHandler(users, vectors, lambda: tower, vocabulary)
        handler.handle(queue.receive(wait_s=2, visibility_s=30))
        parts = OwnParts(
            users,
            ProductDocuments(client, ["products"]),
            vectors,
            partial(recent, client, "sidecar-users"),
            partial(send_events, queue, vocabulary=vocabulary),
            lambda: tower,
            SearchSettings(),
            Guard("", True),
            queue_counts=queue.check,
        )
        spent = Spent(client)
        base = stack.enter_context(served(own_app({}, own_blueprints(parts)).wsgi_app))
        browser = stack.enter_context(chromium(path))
        tab = Tab(browser.new_page())
        print(f"{'page':<36} {'p50 ms':>8} {'max ms':>8}   waited for Elasticsearch, p50 ms")
        for page in PAGES:
            url = f"{base}/_sidecar/ui/" + page.format(product=household.purchases[0].product_id)
            own, waited = [], []
            for _ in range(TIMES):
                spent.seconds = 0.0
                tab.page.goto(url, wait_until="load")
                whole = tab.page.evaluate(
                    "(() => { const n = performance.getEntriesByType('navigation')[0];"
                    " return n.loadEventEnd - n.startTime; })()"
                )
                own.append(whole - 1000 * spent.seconds)
                waited.append(1000 * spent.seconds)
            print(
                f"/_sidecar/ui/{page[:23]:<23} {statistics.median(own):8.0f} {max(own):8.0f}"
                f"   {statistics.median(waited):.0f}"
            )
        outside = [one for one in tab.addresses if not one.startswith(base)]
        print(f"requests to elsewhere: {len(outside)}; complaints: {len(tab.complaints)}")


if __name__ == "__main__":
    main()
