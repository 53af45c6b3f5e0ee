"""The doctor finds what is wrong, and says what to do."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from elasticsearch import Elasticsearch

from sidecar import config, resources
from sidecar.contract.history import Interaction
from sidecar.contract.schema import EMBEDDING_MODEL, Metadata
from sidecar.contract.vectors import VectorFile
from sidecar.contract.weights import write_weights
from sidecar.doctor import Finding, Verdict, _version, examine
from sidecar.elastic.client import Version
from sidecar.elastic.indices import setup_products, setup_users
from sidecar.elastic.users import User, Users
from sidecar.elastic.vectors import load_vectors
from sidecar.embedded.process import free_port
from sidecar.embedded.queue import create_queue
from sidecar.tower.prior import prior_weights
from sidecar.updates.envelopes import Outgoing
from sidecar.updates.sqs import Queue

pytestmark = pytest.mark.servers


def findings(environment: Mapping[str, str]) -> dict[str, Finding]:
    found = {finding.subject: finding for finding in examine(config.load(environment))}
    for finding in found.values():
        assert bool(finding.do) is (finding.verdict is not Verdict.OK), finding
    return found


@pytest.fixture
def environment(elasticsearch_url: str, sqs_endpoint: str, unique: str) -> dict[str, str]:
    return {
        "SIDECAR_ELASTICSEARCH_URL": elasticsearch_url,
        "SIDECAR_PRODUCT_INDICES": f"{unique}-p",
        "SIDECAR_USERS_INDEX": f"{unique}-u",
        "SIDECAR_SQS_QUEUE_URL": create_queue(sqs_endpoint, f"{unique}-q"),
    }


def test_from_nothing_to_healthy(
    client: Elasticsearch, environment: dict[str, str], unique: str
) -> None:
    index, users = f"{unique}-p", f"{unique}-u"
    first = findings(environment)
    assert first["elasticsearch"].verdict is Verdict.OK
    assert first["product indices"].verdict is Verdict.BAD
    assert f"{unique}-p" in first["product indices"].found
    assert "sidecar setup" in first["shoppers"].do + first["shoppers"].found

    client.indices.create(index=index, mappings={"properties": {"name": {"type": "text"}}})
    assert findings(environment)["product indices"].do == "run sidecar setup"

    setup_products(client, [index], resources.mapping("products"))
    setup_users(client, users, resources.mapping("users"))
    client.index(index=index, id="a", document={"name": "a"}, refresh=True)
    bare = findings(environment)["product vectors"]
    assert bare.verdict is Verdict.BAD
    assert "0 of 1" in bare.found
    assert "trainer vectorize" in bare.do

    vector = np.eye(384, dtype=np.float32)[:1]
    load_vectors(client, [index], VectorFile(["a"], vector, ["00" * 16], EMBEDDING_MODEL))
    healthy = findings(environment)
    bad = {k: f for k, f in healthy.items() if f.verdict is Verdict.BAD}
    assert not bad
    assert healthy["shoppers"].verdict is Verdict.OK
    assert healthy["dead letters"].verdict is Verdict.LOOK  # this queue has none

    load_vectors(client, [index], VectorFile(["a"], vector, ["00" * 16], "another-model"))
    viewed = (Interaction(1, "e", "a", "product_viewed", 1),)
    shopper = User("c", viewed, weights="0" * 16, product_space="another-model")
    Users(client, users).put_many([shopper])
    client.indices.refresh(index=users)
    mixed = findings(environment)
    assert mixed["product vectors"].verdict is Verdict.BAD
    assert "another-model" in mixed["product vectors"].found
    assert "sidecar rebuild" in mixed["shoppers"].do

    # What forgetting leaves is no shopper, and nothing that a rebuild could recompute.
    client.delete(index=users, id="c")
    Users(client, users).put_many([User("d", forgotten_at=1)])
    client.indices.refresh(index=users)
    after = findings(environment)["shoppers"]
    assert after.verdict is Verdict.OK
    assert after.found.startswith("0 shoppers")


def test_servers_that_are_not_there(environment: dict[str, str]) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    gone = findings(environment | {"SIDECAR_ELASTICSEARCH_URL": nobody})
    assert gone["elasticsearch"].verdict is Verdict.BAD
    assert gone["queue"].verdict is Verdict.OK
    no_queue = findings(environment | {"SIDECAR_SQS_QUEUE_URL": f"{nobody}/0/q"})
    assert no_queue["queue"].verdict is Verdict.BAD
    weights = findings(environment | {"SIDECAR_WEIGHTS": "/nowhere.safetensors"})["weights"]
    assert weights.verdict is Verdict.BAD
    assert "SIDECAR_WEIGHTS" in weights.do


def test_the_log_is_looked_at_where_it_is_on(
    client: Elasticsearch, environment: dict[str, str], unique: str
) -> None:
    assert not any(name.startswith("log") for name in findings(environment))
    names = {
        "SIDECAR_UBI_LOG": "yes",
        "SIDECAR_UBI_QUERIES_INDEX": f"{unique}-queries",
        "SIDECAR_UBI_EVENTS_INDEX": f"{unique}-events",
    }
    setup_users(client, f"{unique}-events", resources.mapping("ubi_events"))
    found = findings(environment | names)
    assert found["log of events"].verdict is Verdict.OK
    assert found["log of queries"].verdict is Verdict.BAD
    assert found["log of queries"].do == "run sidecar setup"
    # Somebody else's index of that name, with other types.
    other = {"properties": {"client_id": {"type": "integer"}}}
    client.indices.create(index=f"{unique}-queries", mappings=other)
    assert "client_id" in findings(environment | names)["log of queries"].found


def test_without_a_queue_the_rest_is_looked_at(environment: dict[str, str]) -> None:
    found = findings(environment | {"SIDECAR_SQS_QUEUE_URL": ""})
    assert found["elasticsearch"].verdict is Verdict.OK
    for subject in ("queue", "dead letters", "clock"):
        assert found[subject].verdict is Verdict.LOOK


def test_dead_letters_and_a_wrong_clock_are_found(
    environment: dict[str, str], sqs_endpoint: str, unique: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = create_queue(sqs_endpoint, f"{unique}-dead")
    environment = environment | {"SIDECAR_SQS_DEAD_LETTER_URL": dead}
    assert findings(environment)["dead letters"].verdict is Verdict.OK
    assert findings(environment)["clock"].verdict is Verdict.OK
    assert Queue(dead).send([Outgoing("{}", group="", dedup="")]) != [None]
    bad = findings(environment)["dead letters"]
    assert bad.verdict is Verdict.LOOK
    assert bad.found == "1 wait"
    assert "sidecar redrive" in bad.do
    monkeypatch.setattr(Queue, "clock_ahead_s", lambda queue: -300.0)
    late = findings(environment)["clock"]
    assert late.verdict is Verdict.BAD
    assert "off by 300 s" in late.found


def test_a_refused_file_of_the_weights_folder_is_told(
    environment: dict[str, str], tmp_path: Path
) -> None:
    write_weights(tmp_path / "good.safetensors", prior_weights(Metadata()))
    settings = environment | {"SIDECAR_WEIGHTS": str(tmp_path)}
    assert findings(settings)["weights"].verdict is Verdict.OK
    (tmp_path / "torn.safetensors").write_bytes(b"not weights")
    found = findings(settings)["weights"]
    assert found.verdict is Verdict.LOOK
    assert "torn.safetensors is refused" in found.found
    assert "check-weights" in found.do


@pytest.mark.parametrize(
    ("server", "client", "verdict"),
    [(8, 8, Verdict.OK), (9, 8, Verdict.OK), (10, 8, Verdict.LOOK), (8, 9, Verdict.BAD)],
)
def test_the_client_is_held_against_the_servers_major(
    server: int, client: int, verdict: Verdict
) -> None:
    found = _version(Version(server, 1), client)
    assert found.verdict is verdict
    assert found.found == f"server {server}.1, client {client}.x"
    assert bool(found.do) is (verdict is not Verdict.OK)
