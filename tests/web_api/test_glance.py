"""What the overview says about weights, whatever a trainer noted in them."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from sidecar import config, resources
from sidecar.contract.errors import UnreachableError, WeightsError
from sidecar.contract.history import Interaction
from sidecar.elastic.indices import setup_users
from sidecar.elastic.users import User, Users
from sidecar.embedded.queue import create_queue
from sidecar.serving import queue_counts
from sidecar.tower.load import Tower
from sidecar.updates.envelopes import Outgoing
from sidecar.updates.sqs import Queue
from sidecar.web.ui import glance
from tests.web_api.stack import tower


def noted(training: dict[str, Any], metrics: dict[str, Any]) -> dict[str, str]:
    one = tower()
    metadata = replace(one.weights.metadata, training=training, metrics=metrics)
    return dict(
        glance.weights(lambda: Tower(replace(one.weights, metadata=metadata), one.folded)).rows
    )


def test_data_sets_and_their_test_figures_are_named() -> None:
    rows = noted(
        {"data": [{"name": "retail", "events": 5}, {"name": "fashion"}]},
        {"retail": {"results": {"tower": {"ndcg@10": 0.20451}, "popularity": {"ndcg@10": 0.01}}}},
    )
    assert rows["trained on"] == "retail, fashion"
    assert rows["NDCG@10 on retail"] == "0.205"


@pytest.mark.parametrize("metrics", [{}, {"a": 1}, {"a": {"results": 3}}, {"a": {"results": {}}}])
def test_other_notes_do_no_harm(metrics: dict[str, Any]) -> None:
    assert noted({"data": "none (prior)"}, metrics)["trained on"] == "none (prior)"
    assert noted({}, metrics)["trained on"] == "unknown"


def test_what_is_down_is_one_line() -> None:
    def refused() -> Tower:
        raise WeightsError("w.safetensors", "truncated")

    def down() -> None:
        raise UnreachableError("Elasticsearch is not reachable")

    def crash() -> None:
        raise ZeroDivisionError

    assert glance.weights(refused).error == "w.safetensors: truncated"
    found = glance.health({"a": down, "b": crash, "c": lambda: None, "d": lambda: "one waits"})
    assert found.rows == [
        ("a", "Elasticsearch is not reachable"),
        ("b", "failed unexpectedly: see the log"),
        ("c", "ok"),
        ("d", "ok, but one waits"),
    ]
    assert found.bad == ("a", "b")


@pytest.mark.servers
def test_who_was_forgotten_is_neither_known_nor_lively(client: Elasticsearch, unique: str) -> None:
    index = f"{unique}-u"
    setup_users(client, index, resources.mapping("users"))
    viewed = (Interaction(1, "e", "a", "product_viewed", 1),)
    now = int(time.time() * 1000)
    people = [User("a", viewed, updated_at=now), User("b", updated_at=now, forgotten_at=now)]
    users = Users(client, index)
    users.put_many(people)
    rows = dict(glance.flow(users, None).rows)
    assert rows["shoppers known"] == rows["updated within the hour"] == "1"


@pytest.mark.servers
def test_dead_letters_are_counted_where_there_is_a_queue_of_them(
    sqs_endpoint: str, unique: str
) -> None:
    class Nobody:
        def refresh(self) -> None: ...

        def count(self, query: object) -> int:
            return 0

    def rows(**more: str) -> dict[str, str]:
        settings = config.load({"SIDECAR_SQS_QUEUE_URL": url, **more})
        counts = partial(queue_counts, settings, Queue(url))
        return dict(glance.flow(Nobody(), counts).rows)  # type: ignore[arg-type]

    url, dead = (create_queue(sqs_endpoint, f"{unique}-{name}") for name in ("q", "dead"))
    assert "dead letters" not in rows()
    assert rows(SIDECAR_SQS_DEAD_LETTER_URL=dead)["dead letters"] == "0"
    Queue(dead).send([Outgoing("{}", group="", dedup="")])
    assert rows(SIDECAR_SQS_DEAD_LETTER_URL=dead)["dead letters"] == "1"
