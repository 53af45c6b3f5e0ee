"""Every way in which a command can fail is one line and code 2, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from sidecar import resources
from sidecar.elastic.pages import Pages
from sidecar.embedded.process import free_port
from sidecar.embedded.queue import create_queue

SIDECAR = str(Path(sys.executable).parent / "sidecar")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("SIDECAR_")}
    return subprocess.run(
        [SIDECAR, *arguments],
        capture_output=True,
        text=True,
        env=clean | environment,
        timeout=60,
    )


@pytest.fixture
def cluster(client: Elasticsearch, elasticsearch_url: str, unique: str) -> dict[str, str]:
    """Settings of a cluster that `sidecar setup` was run on."""
    client.indices.create(index=f"{unique}-p", mappings={"properties": {"name": {"type": "text"}}})
    settings = {
        "SIDECAR_ELASTICSEARCH_URL": elasticsearch_url,
        "SIDECAR_PRODUCT_INDICES": f"{unique}-p",
        "SIDECAR_USERS_INDEX": f"{unique}-u",
        "SIDECAR_PAGES_INDEX": f"{unique}-pages",
    }
    assert run("setup", **settings).returncode == 0
    return settings


def refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    for word in words:
        assert word in lines[0], lines[0]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SIDECAR_LISTEN", "9201", "host:port"),
        ("SIDECAR_IMPACT", "lots", "a number"),
        ("SIDECAR_IMPACT", "101", "0 to 100"),
        ("SIDECAR_FORMULA", "magic", "blend"),
        ("SIDECAR_FALLBACK_SORT", "{", "JSON"),
        ("SIDECAR_EVENT_ALIASES", "[]", "a JSON object"),
        ("SIDECAR_PRODUCT_INDICES", "*", "a name"),
        ("SIDECAR_ELASTICSEARCH_URL", "nowhere", "http"),
        ("SIDECAR_LOG_FORMAT", "xml", "json"),
        ("SIDECAR_UBI_CLIENT_ID", "name", "customer, hash, none"),
        ("SIDECAR_UBI_EVENTS_INDEX", "Events", "in lower case"),
        ("SIDECAR_UBI_KEEP_DAYS", "0", "36500"),
        ("SIDECAR_USERS_INDEX", "*", "the name of one index"),
        ("SIDECAR_PAGES_INDEX", "a,b", "the name of one index"),
        ("SIDECAR_PAGES_INDEX", "sidecar-users", "another index"),
        ("SIDECAR_FALLBACK_SORT", '{"price": NaN}', "JSON"),
        ("SIDECAR_PUBLIC_ADDRESS", "http://search.example", "host:port"),
        ("SIDECAR_INDEX_IMPACT", '{"a":1,"a":2}', "each key of it once"),
        ("SIDECAR_EVENT_ALIASES", '{"a":{}}', "to a name or to null"),
    ],
)
def test_a_bad_setting_names_variable_value_and_what_was_expected(
    name: str, value: str, expected: str
) -> None:
    refused(run("setup", **{name: value}), name, value, expected)


def test_an_impact_for_what_is_no_index_is_called_by_its_own_setting() -> None:
    refused(run("setup", SIDECAR_INDEX_IMPACT='{"A": 1}'), "SIDECAR_INDEX_IMPACT='A'", "wildcard")


@pytest.mark.parametrize("name", ["SIDECAR_EVENT_ALIASES", "SIDECAR_INDEX_IMPACT"])
def test_deep_nesting_in_a_setting(name: str) -> None:
    refused(run("setup", **{name: "[" * 5000}), name, "a JSON object")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("SIDECAR_API_KEY", "schlüssel", "ASCII"),
        ("SIDECAR_ELASTICSEARCH_API_KEY", "one\ntwo", "one line"),
        ("SIDECAR_SQS_QUEUE_URL", "http://[::1", "a queue URL"),
        ("SIDECAR_EVENT_ALIASES", '{"opened": "product_opened"}', "product_viewed"),
        ("SIDECAR_LISTEN", f"{'ä' * 64}:80", "this machine's own"),
        ("SIDECAR_TOKEN_SECRET", "\udcff", "UTF-8"),
    ],
)
def test_a_bad_setting_of_a_server(name: str, value: str, expected: str) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    told = {"SIDECAR_ELASTICSEARCH_URL": url, "SIDECAR_LISTEN": f"127.0.0.1:{free_port()}"}
    refused(run("serve", **{**told, name: value}), name, expected)


def test_secrets_are_not_shown() -> None:
    done = run("setup", SIDECAR_ELASTICSEARCH_URL="ftp://me:hunter2@host")
    refused(done, "SIDECAR_ELASTICSEARCH_URL")
    assert "hunter2" not in done.stderr


def test_elasticsearch_that_is_not_there() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    refused(
        run("setup", SIDECAR_ELASTICSEARCH_URL=url), "not reachable", "SIDECAR_ELASTICSEARCH_URL"
    )


def test_a_typing_error_in_a_setting_is_told() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = run("setup", SIDECAR_ELASTICSEARCH_URL=url, SIDECAR_IMPCT="3")
    assert "SIDECAR_IMPCT is no setting" in done.stderr


@pytest.mark.servers
def test_an_index_that_is_missing(elasticsearch_url: str, unique: str) -> None:
    done = run(
        "setup",
        SIDECAR_ELASTICSEARCH_URL=elasticsearch_url,
        SIDECAR_PRODUCT_INDICES=f"{unique}-none",
    )
    refused(done, f"SIDECAR_PRODUCT_INDICES={unique}-none", "create it first")


@pytest.mark.servers
def test_setup_on_an_existing_index_and_again(
    client: Elasticsearch, elasticsearch_url: str, unique: str
) -> None:
    client.indices.create(index=f"{unique}-p", mappings={"properties": {"name": {"type": "text"}}})
    settings = {
        "SIDECAR_ELASTICSEARCH_URL": elasticsearch_url,
        "SIDECAR_PRODUCT_INDICES": f"{unique}-p",
        "SIDECAR_USERS_INDEX": f"{unique}-u",
    }
    first, again = run("setup", **settings), run("setup", **settings)
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "added product_vector" in first.stdout
    assert f"{unique}-u: created" in first.stdout
    assert again.stdout.count("has all fields") == 2


@pytest.mark.servers
@pytest.mark.parametrize("command", ["serve", "consume"])
def test_weights_that_are_missing_or_malformed(
    command: str, elasticsearch_url: str, sqs_endpoint: str, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"not weights")
    for path in (tmp_path / "none.safetensors", bad):
        done = run(
            command,
            SIDECAR_ELASTICSEARCH_URL=elasticsearch_url,
            SIDECAR_SQS_QUEUE_URL=f"{sqs_endpoint}/000000000000/events",
            SIDECAR_LISTEN=f"127.0.0.1:{free_port()}",
            SIDECAR_WEIGHTS=str(path),
        )
        refused(done, str(path))


@pytest.mark.servers
def test_a_queue_that_is_missing_not_reachable_or_not_named(
    cluster: dict[str, str], sqs_endpoint: str
) -> None:
    refused(run("consume", **cluster), "SIDECAR_SQS_QUEUE_URL")
    missing = f"{sqs_endpoint}/000000000000/no-such-queue"
    refused(run("consume", **cluster, SIDECAR_SQS_QUEUE_URL=missing), "no-such-queue")
    nobody = f"http://127.0.0.1:{free_port()}/000000000000/events"
    refused(run("consume", **cluster, SIDECAR_SQS_QUEUE_URL=nobody), "events", "reach")


@pytest.mark.servers
def test_a_consumer_says_at_once_what_is_missing(
    cluster: dict[str, str], sqs_endpoint: str, unique: str
) -> None:
    queue = {"SIDECAR_SQS_QUEUE_URL": create_queue(sqs_endpoint, f"{unique}-events")}
    gone = {"SIDECAR_ELASTICSEARCH_URL": f"http://127.0.0.1:{free_port()}"}
    refused(run("consume", **cluster | queue | gone), "not reachable")
    no_index = {"SIDECAR_PRODUCT_INDICES": f"{unique}-none"}
    refused(run("consume", **cluster | queue | no_index), f"{unique}-none")
    no_users = {"SIDECAR_USERS_INDEX": f"{unique}-none"}
    refused(run("consume", **cluster | queue | no_users), f"{unique}-none", "sidecar setup")


@pytest.mark.servers
def test_a_port_that_is_taken(elasticsearch_url: str) -> None:
    port = elasticsearch_url.rpartition(":")[2]
    done = run(
        "serve", SIDECAR_ELASTICSEARCH_URL=elasticsearch_url, SIDECAR_LISTEN=f"127.0.0.1:{port}"
    )
    refused(done, "SIDECAR_LISTEN", port)


def test_other_addresses_want_a_key() -> None:
    done = run("serve", SIDECAR_LISTEN=f"0.0.0.0:{free_port()}")
    refused(done, "SIDECAR_API_KEY")


@pytest.mark.servers
def test_logs_can_be_json(cluster: dict[str, str], sqs_endpoint: str, unique: str) -> None:
    queue = create_queue(sqs_endpoint, f"{unique}-logs")
    environment = cluster | {"SIDECAR_SQS_QUEUE_URL": queue, "SIDECAR_LOG_FORMAT": "json"}
    with subprocess.Popen(
        [SIDECAR, "consume"], stderr=subprocess.PIPE, text=True, env=os.environ | environment
    ) as process:
        assert process.stderr is not None
        line = json.loads(process.stderr.readline())
        process.terminate()
        rest = process.communicate(timeout=30)[1]
    assert line["level"] == "info"
    assert "consuming" in line["message"]
    assert process.returncode == 0, rest


@pytest.mark.servers
def test_the_upkeep_commands_end_to_end(
    cluster: dict[str, str], client: Elasticsearch, tmp_path: Path
) -> None:
    users = cluster["SIDECAR_USERS_INDEX"]
    vector = [0.0] * 383 + [1.0]
    client.index(
        index=cluster["SIDECAR_PRODUCT_INDICES"],
        id="p1",
        document={"name": "mug", "product_vector": vector},
        refresh=True,
    )
    now = time.time()
    file = tmp_path / "events.jsonl"
    event = {"customer_id": 7, "product_id": "p1", "event_name": "view_item", "timestamp": now}
    old = event | {"customer_id": 8, "timestamp": now - 90 * 86_400}
    file.write_text("\n".join(json.dumps(one) for one in (event, event, old, {})) + "\n")
    done = run("backfill", str(file), **cluster)
    assert done.returncode == 0, done.stderr
    assert "4 lines: 2 stored, 0 too old, 1 refused (1 bad_timestamp)" in done.stdout
    assert f"{file}:4:" in done.stderr
    assert client.get(index=users, id="7")["_source"]["user_vector"] == vector
    client.indices.refresh(index=users)
    assert "1 shoppers deleted" in run("prune", **cluster).stdout
    assert "0 shoppers recomputed" in run("rebuild", **cluster).stdout
    client.update(index=users, id="7", doc={"weights": "other"}, refresh=True)
    assert "1 shoppers recomputed" in run("rebuild", **cluster).stdout
    # A vector of these weights, and of products that had other vectors then.
    client.update(index=users, id="7", doc={"user_vector": [0.5] * 384}, refresh=True)
    assert "0 shoppers recomputed" in run("rebuild", **cluster).stdout
    assert "1 shoppers recomputed" in run("rebuild", "--all", **cluster).stdout
    assert client.get(index=users, id="7")["_source"]["user_vector"] == vector
    pages = Pages(client, cluster["SIDECAR_PAGES_INDEX"], resources.mapping("pages"), 900)
    for owner in ("7", "somebody-else"):
        pages.put(f"pin-of-{owner}", owner, {"vector": "[]", "evidence": 1.0, "lo": 0.0, "hi": 1.0})
    assert pages.flush()
    assert run("forget", "7", **cluster).stdout == "forgotten\n"
    assert pages.get("pin-of-7", 10) is None
    assert pages.get("pin-of-somebody-else", 10) is not None
    assert "user_vector" not in client.get(index=users, id="7")["_source"]
    assert "Traceback" not in run("redrive", **cluster).stderr
