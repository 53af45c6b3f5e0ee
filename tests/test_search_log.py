"""Query ids, the log, explanations and request ids, on the real processes and servers."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch, NotFoundError

from sidecar.config import load
from sidecar.elastic import bulk_log
from sidecar.elastic.client import connect
from sidecar.elastic.indices import setup_users
from sidecar.embedded.process import free_port
from sidecar.embedded.queue import create_queue
from sidecar.resources import mapping
from sidecar.serving import application
from sidecar.updates.sqs import Outgoing, Queue
from tests.processes import SIDECAR, process, until
from tests.search.wsgi import call
from tests.web_api.http import ask
from tests.web_api.stack import event, fill

pytestmark = pytest.mark.servers
KEY = "correct horse battery staple"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@dataclass
class Shop:
    """A running sidecar, and the cluster behind it."""

    url: str
    environment: dict[str, str]
    cluster: Elasticsearch
    queue: Queue
    logs: Path

    @property
    def app(self) -> Elasticsearch:
        """The shop's app: the official client, pointed at the sidecar."""
        return Elasticsearch(self.url, request_timeout=30)

    def rows(self, kind: str, **term: str) -> list[dict[str, Any]]:
        index = self.environment[f"SIDECAR_UBI_{kind.upper()}_INDEX"]
        try:
            self.cluster.indices.refresh(index=index)
        except NotFoundError:
            return []
        query = {"term": term} if term else {"match_all": {}}
        hits = self.cluster.search(index=index, query=query, size=100)["hits"]["hits"]
        return [hit["_source"] for hit in hits]

    def send(self, body: Any, **headers: str) -> None:
        given = {"X-API-Key": KEY} | headers
        assert ask("POST", f"{self.url}/_sidecar/events", body, given).status == 202

    def knows(self, customer_id: str, count: int = 1) -> bool:
        answer = ask("GET", f"{self.url}/_sidecar/users/{customer_id}", None, {"X-API-Key": KEY})
        return answer.status == 200 and len(answer.json["history"]) >= count

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | self.environment | more
        return subprocess.run(
            [SIDECAR, *arguments], env=environment, capture_output=True, text=True, check=False
        )


@contextmanager
def opened(elasticsearch_url: str, sqs_endpoint: str, folder: Path, **more: str) -> Iterator[Shop]:
    prefix = f"test-{uuid.uuid4().hex[:10]}"
    environment = {
        "SIDECAR_ELASTICSEARCH_URL": elasticsearch_url,
        "SIDECAR_PRODUCT_INDICES": f"{prefix}-products",
        "SIDECAR_USERS_INDEX": f"{prefix}-users",
        "SIDECAR_PAGES_INDEX": f"{prefix}-pages",
        "SIDECAR_UBI_LOG": "yes",
        "SIDECAR_UBI_QUERIES_INDEX": f"{prefix}-ubi_queries",
        "SIDECAR_UBI_EVENTS_INDEX": f"{prefix}-ubi_events",
        "SIDECAR_SQS_QUEUE_URL": create_queue(sqs_endpoint, f"{prefix}-q"),
        "SIDECAR_SQS_WAIT_S": "1",
        "SIDECAR_LISTEN": f"127.0.0.1:{free_port()}",
        "SIDECAR_API_KEY": KEY,
        "SIDECAR_DEADLINE_MS": "5000",
        "SIDECAR_SHOPPER_CACHE_S": "0",
        "SIDECAR_WORKERS": "2",
        "SIDECAR_LOG_FORMAT": "json",
        "SIDECAR_ACCESS_LOG": "yes",
        **more,
    }
    url = f"http://{environment['SIDECAR_LISTEN']}"
    with connect(elasticsearch_url, timeout_s=30) as cluster:
        fill(cluster, f"{prefix}-products")
        queue = Queue(environment["SIDECAR_SQS_QUEUE_URL"])
        shop = Shop(url, environment, cluster, queue, folder)
        done = shop.run("setup")
        assert done.returncode == 0, done.stderr
        assert f"{prefix}-ubi_queries: created" in done.stdout
        with (
            process("consume", environment, folder / "consume.log"),
            process("serve", environment, folder / "serve.log"),
        ):
            until(lambda: _ready(url), "ready")
            yield shop
        for index in cluster.indices.get_mapping(index=f"{prefix}*").body:
            cluster.indices.delete(index=index)


def _ready(url: str) -> bool:
    try:
        return ask("GET", f"{url}/_sidecar/health/ready").status == 200
    except OSError:
        return False


def test_the_end_of_serving_ends_the_log(
    client: Elasticsearch,
    elasticsearch_url: str,
    unique: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bulk_log, "_GATHER_S", 30.0)
    fill(client, f"{unique}-products")
    setup_users(client, f"{unique}-users", mapping("users"))
    settings = {
        "SIDECAR_ELASTICSEARCH_URL": elasticsearch_url,
        "SIDECAR_PRODUCT_INDICES": f"{unique}-products",
        "SIDECAR_USERS_INDEX": f"{unique}-users",
        "SIDECAR_PAGES_INDEX": f"{unique}-pages",
        "SIDECAR_UBI_LOG": "yes",
        "SIDECAR_UBI_QUERIES_INDEX": f"{unique}-ubi_queries",
        "SIDECAR_UBI_EVENTS_INDEX": f"{unique}-ubi_events",
        "SIDECAR_DEADLINE_MS": "5000",
    }
    with ExitStack() as stack:
        app = application(load(settings), stack)
        got = call(app, "POST", f"/{unique}-products/_search", "{}", x_customer_id="c1")
        assert got.status == 200
    client.indices.refresh(index=f"{unique}-ubi_queries")
    assert client.count(index=f"{unique}-ubi_queries")["count"] == 1


@pytest.fixture(scope="module")
def shop(
    elasticsearch_url: str, sqs_endpoint: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    with opened(elasticsearch_url, sqs_endpoint, folder) as running:
        yield running


def log_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.startswith("{")]


def test_from_a_search_to_the_click_on_its_hit(shop: Shop) -> None:
    shop.send(event("maria", "tea-1", "product_added_to_cart", event_id="e0"))
    until(lambda: shop.knows("maria"), "the first event is stored")
    app = shop.app.options(headers={"X-Customer-Id": "maria"})
    index = shop.environment["SIDECAR_PRODUCT_INDICES"]
    found = app.search(index=index, query={"match": {"name": "number"}}, size=5)
    assert found.meta.headers["x-sidecar-action"] == "rewritten"
    query_id = found.meta.headers["x-sidecar-query-id"]
    ids = [hit["_id"] for hit in found["hits"]["hits"]]
    # Sent twice through the route, and once more around it: one event.
    click = event("maria", ids[1], "product_clicked", event_id="e1", query_id=query_id, position=2)
    shop.send([click, click])
    shop.queue.send([Outgoing(json.dumps(click))])
    until(lambda: shop.knows("maria", 2), "the click is stored")
    until(lambda: bool(shop.rows("events", query_id=query_id)), "the click is logged")
    until(lambda: bool(shop.rows("queries", query_id=query_id)), "the search is logged")
    (query,) = shop.rows("queries", query_id=query_id)
    assert query["query_response_hit_ids"] == ids
    assert (query["user_query"], query["client_id"]) == ("number", "maria")
    until(lambda: int(shop.queue.check()["ApproximateNumberOfMessages"]) == 0, "all are read")
    (clicked,) = shop.rows("events", query_id=query_id)
    attributes = clicked["event_attributes"]
    assert clicked["action_name"] == "click"
    assert attributes["object"]["object_id"] == query["query_response_hit_ids"][1]
    assert attributes["position"]["ordinal"] == 2


def test_hits_say_why_to_those_who_have_the_key(shop: Shop) -> None:
    shop.send(event("eva", "lamps-3", "purchase", event_id="e0"))
    until(lambda: shop.knows("eva"), "the event is stored")
    index = shop.environment["SIDECAR_PRODUCT_INDICES"]
    block = {"sidecar": {"customer_id": "eva", "explain": True}}
    body = {"query": {"match_all": {}}, "size": 4, "ext": block}
    plain = shop.app.search(index=index, body={**body, "ext": {"sidecar": {"customer_id": "eva"}}})
    refused = shop.app.search(index=index, body=body)
    assert refused.meta.headers["x-sidecar-explain"] == "key"
    assert refused["hits"] == plain["hits"]
    assert all("fields" not in hit for hit in refused["hits"]["hits"])
    owner = shop.app.options(headers={"X-API-Key": KEY})
    answer = owner.search(index=index, body=body)
    assert answer.meta.headers["x-sidecar-explain"] == "done"
    hits = answer["hits"]["hits"]
    told = {hit["_id"]: hit.pop("fields")["_sidecar"][0] for hit in hits}
    assert hits == plain["hits"]["hits"]
    assert list(told) == [hit["_id"] for hit in hits]
    # The same as the route says, by the same code, and the score that the hit has.
    asked = {"customer_id": "eva", "product_ids": list(told)}
    route = ask("POST", f"{shop.url}/_sidecar/explain", asked, {"X-API-Key": KEY}).json
    for one, hit in zip(route["products"], hits, strict=True):
        mine = told[one["product_id"]]
        assert mine["similarity"] == one["similarity"]
        assert [r["event_id"] for r in mine["because"]] == [r["event_id"] for r in one["because"]]
        assert mine["factor"] == pytest.approx(hit["_score"], rel=1e-3)
    assert told["lamps-3"]["because"][0]["in_words"].startswith(
        "like lamps <b>number</b> 3, bought"
    )
    several = owner.msearch(index=index, searches=[{}, body, {}, {"size": 1}])
    first, second = several["responses"]
    assert [h["_id"] for h in first["hits"]["hits"]] == list(told)
    assert "_sidecar" in first["hits"]["hits"][0]["fields"]
    assert "fields" not in second["hits"]["hits"][0]


def test_every_answer_has_a_request_id_and_every_line_of_the_log(shop: Shop) -> None:
    index = shop.environment["SIDECAR_PRODUCT_INDICES"]
    traced = shop.app.options(headers={"traceparent": TRACEPARENT}, opaque_id="checkout")
    answer = traced.search(index=index, size=1)
    request_id = answer.meta.headers["x-sidecar-request-id"]
    path = shop.logs / "serve.log"

    def lines() -> list[dict[str, Any]]:
        return [one for one in log_lines(path) if one.get("request_id") == request_id]

    until(lambda: bool(lines()), "the access log has the request")
    (line,) = lines()
    assert (line["trace_id"], line["opaque_id"]) == (TRACE, "checkout")
    assert line["logger"] == "sidecar.access"
    others = [
        ask("GET", f"{shop.url}/{index}/_count"),
        ask("GET", f"{shop.url}/nowhere/_search"),
        ask("GET", f"{shop.url}/_sidecar/health/live"),
        ask("GET", f"{shop.url}/_sidecar/users/x"),
        ask("GET", f"{shop.url}/_nodes/http"),
    ]
    ids = {one.headers["X-Sidecar-Request-Id"] for one in others}
    assert len(ids) == len(others)
    told = ask("GET", f"{shop.url}/", headers={"X-Request-Id": "mine-1"})
    assert told.headers["X-Sidecar-Request-Id"] == "mine-1"


def test_a_trace_goes_through_the_queue_to_the_consumers_log(shop: Shop) -> None:
    body = json.dumps({"event_name": "dance", "traceparent": TRACEPARENT.replace(TRACE, "a" * 32)})
    attributes = {"traceparent": TRACEPARENT}
    shop.queue.send([Outgoing(json.dumps({"event_name": "sing"}), attributes=attributes)])
    shop.queue.send([Outgoing(body)])
    path = shop.logs / "consume.log"

    def traces() -> set[str]:
        return {one["trace_id"] for one in log_lines(path) if "trace_id" in one}

    until(lambda: traces() >= {TRACE, "a" * 32}, "both are in the log")


def test_forgetting_takes_what_was_logged(shop: Shop) -> None:
    app = shop.app
    index = shop.environment["SIDECAR_PRODUCT_INDICES"]
    for name in ("otto", "uma"):
        shop.send(event(name, "tea-1", "product_clicked"))
        app.options(headers={"X-Customer-Id": name}).search(index=index, size=1)
    until(lambda: len(shop.rows("events", client_id="otto")) == 1, "the event is logged")
    until(lambda: len(shop.rows("queries", client_id="otto")) == 1, "the search is logged")
    until(lambda: len(shop.rows("queries", client_id="uma")) == 1, "the other's, too")
    answer = ask("DELETE", f"{shop.url}/_sidecar/users/otto", None, {"X-API-Key": KEY})
    assert answer.status == 200
    assert not shop.rows("events", client_id="otto")
    assert not shop.rows("queries", client_id="otto")
    assert shop.rows("queries", client_id="uma")
    done = shop.run("forget", "uma")
    assert done.returncode == 0, done.stderr
    assert not shop.rows("queries", client_id="uma")
    assert not shop.rows("events", client_id="uma")


def test_pruning_takes_what_is_old(shop: Shop) -> None:
    old = {"timestamp": "2020-01-01T00:00:00Z", "client_id": "past"}
    for kind in ("QUERIES", "EVENTS"):
        shop.cluster.index(index=shop.environment[f"SIDECAR_UBI_{kind}_INDEX"], document=old)
    before = len(shop.rows("queries"))
    done = shop.run("prune")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": 1 rows deleted") == 2
    assert len(shop.rows("queries")) == before - 1
    assert not shop.rows("events", client_id="past")


def test_the_report_reads_the_log(shop: Shop) -> None:
    shop.send([event(f"r{n}", "tea-1", "purchase", event_id=f"r{n}") for n in range(30)])
    until(lambda: len(shop.rows("events", action_name="purchase")) >= 30, "all are logged")
    done = shop.run("experiment", "report", "--log", "--percent", "50", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert sum(found["shoppers"].values()) >= 30
    (bought,) = [one for one in found["outcomes"] if one["outcome"] == "bought"]
    assert bought["share_of_shoppers"]["personalised"][0] > 0.5
    secret = {"SIDECAR_UBI_CLIENT_ID": "hash", "SIDECAR_UBI_CLIENT_SECRET": "0123456789abcdef"}
    refused = shop.run("experiment", "report", "--log", "--percent", "50", **secret)
    assert refused.returncode == 2
    assert "SIDECAR_UBI_CLIENT_ID" in refused.stderr


def test_what_waits_is_written_before_the_end(
    elasticsearch_url: str, sqs_endpoint: str, tmp_path: Path
) -> None:
    secret = {"SIDECAR_UBI_CLIENT_ID": "hash", "SIDECAR_UBI_CLIENT_SECRET": "0123456789abcdef"}
    names: set[str] = set()
    with opened(elasticsearch_url, sqs_endpoint, tmp_path, **secret) as shop:
        index = shop.environment["SIDECAR_PRODUCT_INDICES"]
        listen = f"127.0.0.1:{free_port()}"
        # A second serving process, which ends at once after its last answer.
        more = shop.environment | {"SIDECAR_LISTEN": listen, "SIDECAR_WORKERS": "1"}
        with process("serve", more, tmp_path / "more.log"):
            until(lambda: _ready(f"http://{listen}"), "ready")
            app = Elasticsearch(f"http://{listen}").options(headers={"X-Customer-Id": "late"})
            for _ in range(5):
                answer = app.search(index=index, size=1)
                names.add(answer.meta.headers["x-sidecar-query-id"])
        assert {row["query_id"] for row in shop.rows("queries")} == names
        assert all(row["client_id"] != "late" for row in shop.rows("queries"))
        shop.send(event("late", "tea-1", "product_clicked"))
        until(lambda: bool(shop.rows("events")), "the event is logged")
        ask("DELETE", f"{shop.url}/_sidecar/users/late", None, {"X-API-Key": KEY})
        assert not shop.rows("queries")
        assert not shop.rows("events")
