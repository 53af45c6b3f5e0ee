"""Weights dropped into a folder reach serving and consuming processes; so does the way back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from elasticsearch import Elasticsearch

from sidecar import resources
from sidecar.contract.schema import Metadata
from sidecar.contract.weights import write_weights
from sidecar.elastic.pages import Pages
from sidecar.embedded.process import free_port
from sidecar.embedded.queue import create_queue
from sidecar.tower.prior import prior_weights
from sidecar.updates.sqs import Outgoing, Queue
from tests.processes import SIDECAR, process, until

pytestmark = pytest.mark.servers


def ask(url: str, method: str = "GET") -> dict[str, Any]:
    request = urllib.request.Request(url, method=method, data=b"" if method == "POST" else None)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)  # type: ignore[no-any-return]
    except urllib.error.HTTPError as error:
        return json.load(error)  # type: ignore[no-any-return]
    except OSError:
        return {}


@pytest.fixture
def stack(
    client: Elasticsearch, elasticsearch_url: str, sqs_endpoint: str, unique: str, tmp_path: Path
) -> Iterator[dict[str, Any]]:
    folder = tmp_path / "weights"
    folder.mkdir()
    first = prior_weights(seed=1)
    write_weights(folder / "first.safetensors", first)
    index, users = f"{unique}-p", f"{unique}-u"
    environment = {
        "SIDECAR_ELASTICSEARCH_URL": elasticsearch_url,
        "SIDECAR_PRODUCT_INDICES": index,
        "SIDECAR_USERS_INDEX": users,
        "SIDECAR_PAGES_INDEX": f"{unique}-pages",
        "SIDECAR_SQS_QUEUE_URL": create_queue(sqs_endpoint, f"{unique}-q"),
        "SIDECAR_SQS_WAIT_S": "1",
        "SIDECAR_WEIGHTS": str(folder),
        "SIDECAR_WORKERS": "2",
        "SIDECAR_LISTEN": f"127.0.0.1:{free_port()}",
        "SIDECAR_CONSUMER_LISTEN": f"127.0.0.1:{free_port()}",
        "SIDECAR_DEADLINE_MS": "5000",
        "SIDECAR_PRODUCT_CACHE_S": "1",
    }
    client.indices.create(index=index, mappings={"properties": {"name": {"type": "text"}}})
    subprocess.run([SIDECAR, "setup"], env=os.environ | environment, check=True)
    vector = [1.0] + [0.0] * 383
    client.index(
        index=index, id="p", document={"name": "p", "product_vector": vector}, refresh=True
    )
    serving = f"http://{environment['SIDECAR_LISTEN']}"
    consuming = f"http://{environment['SIDECAR_CONSUMER_LISTEN']}"
    with ExitStack() as running:
        for command in ("serve", "consume"):
            running.enter_context(process(command, environment, tmp_path / f"{command}.log"))
        for url in (serving, consuming):
            ready = f"{url}/_sidecar/health/ready"
            until(lambda ready=ready: ask(ready).get("status") == "ready", ready)  # type: ignore[misc]
        yield {
            "folder": folder,
            "serving": serving,
            "consuming": consuming,
            "environment": environment,
            "first": first,
            "users": users,
            "index": index,
        }


def fingerprints(url: str) -> set[str]:
    """What each worker answers: one address, several processes."""
    return {str(ask(f"{url}/_sidecar/weights").get("fingerprint")) for _ in range(20)}


def test_drop_refuse_and_roll_back(
    client: Elasticsearch, stack: dict[str, Any], tmp_path: Path
) -> None:
    folder, serving, first = stack["folder"], stack["serving"], stack["first"]
    queue = Queue(stack["environment"]["SIDECAR_SQS_QUEUE_URL"])

    def event(customer: str) -> None:
        body = {"customer_id": customer, "product_id": "p", "event_name": "product_clicked"}
        queue.send([Outgoing(json.dumps(body))])

    def made_anew(customer: str, fingerprint: str) -> bool:
        # The first of these may still meet the old weights: the consumer looks once a second.
        event(customer)
        time.sleep(0.3)
        return made_by(customer) == fingerprint

    def made_by(customer: str) -> str:
        found = client.options(ignore_status=404).get(index=stack["users"], id=customer)
        return str(found.get("_source", {}).get("weights", ""))

    assert fingerprints(serving) == {first.fingerprint}
    event("before")
    until(lambda: made_by("before") == first.fingerprint, "the first vector")

    # A slow copy: half of it lies there for a while.
    second = prior_weights(seed=2)
    write_weights(tmp_path / "second.safetensors", second)
    content = (tmp_path / "second.safetensors").read_bytes()
    with (folder / "second.safetensors").open("wb") as slow:
        slow.write(content[: len(content) // 2])
        slow.flush()
        time.sleep(2.5)
        assert fingerprints(serving) == {first.fingerprint}
        slow.write(content[len(content) // 2 :])
    until(lambda: fingerprints(serving) == {second.fingerprint}, "all workers swap")
    until(lambda: made_anew("after", second.fingerprint), "the consumer swaps")

    # Who is read is recomputed.
    search = urllib.request.Request(
        f"{serving}/{stack['index']}/_search", headers={"X-Customer-Id": "before"}
    )

    def read_once() -> bool:
        with urllib.request.urlopen(search, timeout=10):
            return made_by("before") == second.fingerprint

    until(read_once, "recomputed at its next read")

    # A refused file leaves the old weights running, and readiness says why.
    bad = replace(second, golden=replace(second.golden, users=-second.golden.users))
    write_weights(tmp_path / "bad.safetensors", bad)
    shutil.copy(tmp_path / "bad.safetensors", folder / "bad.safetensors")

    def refused_everywhere() -> bool:
        urls = (stack["serving"], stack["consuming"])
        ready = [ask(f"{url}/_sidecar/health/ready") for url in urls]
        assert all(one["status"] == "ready" for one in ready)
        return all("bad.safetensors is refused" in one["checks"]["weights"] for one in ready)

    until(refused_everywhere, "the refusal is told")
    assert fingerprints(serving) == {second.fingerprint}
    with urllib.request.urlopen(f"{stack['consuming']}/_sidecar/metrics", timeout=10) as answer:
        assert b"sidecar_weights_refused_total 1.0" in answer.read()

    ask(f"{serving}/_sidecar/weights/rollback", "POST")
    until(lambda: fingerprints(serving) == {first.fingerprint}, "all workers go back")
    until(lambda: made_anew("later", first.fingerprint), "the consumer goes back")

    # Who is forgotten leaves no pin behind.
    pages = Pages(
        client, stack["environment"]["SIDECAR_PAGES_INDEX"], resources.mapping("pages"), 900
    )
    pages.put("pin", "later", {"vector": "[]", "evidence": 1.0, "lo": 0.0, "hi": 1.0})
    assert pages.flush()
    assert ask(f"{serving}/_sidecar/users/later", "DELETE")["forgotten"]
    assert pages.get("pin", 10) is None

    # Weights for products of another space wait, and say what to do.
    other = prior_weights(Metadata(embedding_model="another-model"), seed=3)
    write_weights(folder / "other.safetensors", other)
    reasons: list[str] = []

    def waits() -> bool:
        waiting = ask(f"{serving}/_sidecar/weights")["waiting"] or {}
        if waiting.get("file") == "other.safetensors":
            reasons.append(waiting["reason"])
        return bool(reasons)

    until(waits, "the other space waits")
    assert "trainer vectorize" in reasons[0]
    assert fingerprints(serving) == {first.fingerprint}
    vector = [0.0] * 383 + [1.0]
    document = {"name": "p", "product_vector": vector, "embedding_model": "another-model"}
    client.index(index=stack["index"], id="p", document=document, refresh=True)
    until(lambda: fingerprints(serving) == {other.fingerprint}, "the space is ready")
