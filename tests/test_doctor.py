"""The doctor finds what is wrong, and says what to do."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from elasticsearch import Elasticsearch

from sidecar import config, resources
from sidecar.contract.schema import EMBEDDING_MODEL
from sidecar.contract.vectors import VectorFile
from sidecar.doctor import Finding, Verdict, examine
from sidecar.elastic.indices import setup_products, setup_users
from sidecar.elastic.users import User, Users
from sidecar.elastic.vectors import load_vectors
from sidecar.embedded.process import free_port
from sidecar.embedded.queue import create_queue

pytestmark = pytest.mark.servers


def findings(environment: Mapping[str, str]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine(config.load(environment))}


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
    Users(client, users).put_many([User("c", weights="0" * 16, product_space="another-model")])
    client.indices.refresh(index=users)
    mixed = findings(environment)
    assert mixed["product vectors"].verdict is Verdict.BAD
    assert "another-model" in mixed["product vectors"].found
    assert "sidecar rebuild" in mixed["shoppers"].do


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
