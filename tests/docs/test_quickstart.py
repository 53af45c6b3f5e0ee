"""docs/quickstart.md, run: every block of it, in order, on a cluster that holds a shop's index."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch

from sidecar.embedded.process import free_port
from sidecar.embedded.queue import create_queue
from tests.conftest import missing

pytestmark = pytest.mark.servers
PAGE = (Path(__file__).parents[2] / "docs/quickstart.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^## \d+\. .*?(?=^## )", PAGE, re.M | re.S)
NAMES = {"shoes": ("Trail shoe", "Running shoe", "Sandal"), "tea": ("Green tea", "Black tea")}


def test_there_are_ten_steps_or_fewer_each_with_a_check() -> None:
    assert 1 <= len(STEPS) <= 10
    for step in STEPS:
        assert "Check" in step
        assert "```sh" in step.partition("Check")[2], step.splitlines()[0]


@pytest.fixture
def shop_index(client: Elasticsearch, unique: str) -> str:
    """What a shop has before it knows of the sidecar."""
    index = f"{unique}-products"
    client.indices.create(
        index=index,
        mappings={
            "properties": {
                "name": {"type": "text"},
                "brand": {"type": "keyword"},
                "category": {"type": "keyword"},
                "price": {"type": "float"},
            }
        },
    )
    operations: list[object] = []
    number = 5670
    for category, names in NAMES.items():
        for name in names * 4:
            source = {"name": name, "brand": "acme", "category": category, "price": number % 40}
            operations += [{"index": {"_id": str(number)}}, source]
            number += 1
    client.bulk(index=index, operations=operations, refresh=True)
    return index


def test_every_step_works(
    client: Elasticsearch,
    elasticsearch_url: str,
    sqs_endpoint: str,
    shop_index: str,
    unique: str,
    tmp_path: Path,
) -> None:
    values = {
        "SIDECAR_ELASTICSEARCH_URL": elasticsearch_url,
        "SIDECAR_PRODUCT_INDICES": shop_index,
        "SIDECAR_SQS_QUEUE_URL": create_queue(sqs_endpoint, f"{unique}-events"),
    }
    address = f"127.0.0.1:{free_port()}"
    script = "\n".join(
        f"echo '--- step {number}'\n{block}"
        for number, step in enumerate(STEPS, 1)
        for block in re.findall(r"^```sh\n(.*?)^```", step, re.M | re.S)
    )
    script = script.replace("127.0.0.1:9201", address)
    for name, value in values.items():
        script, count = re.subn(f"^export {name}=.*$", f"export {name}={value}", script, flags=re.M)
        assert count == 1, name
    bin_ = Path(sys.executable).parent
    help_ = subprocess.run([bin_ / "trainer", "vectorize", "--help"], capture_output=True)
    if help_.returncode:
        missing("the trainer's extra")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")},
        "PATH": f"{bin_}:{os.environ['PATH']}",
        "SIDECAR_LISTEN": address,
        "SIDECAR_USERS_INDEX": f"{unique}-users",
        "SIDECAR_PAGES_INDEX": f"{unique}-pages",
    }
    with subprocess.Popen(
        ["bash", "-e", "-c", f"trap 'jobs -p | xargs -r kill' EXIT\n{script}"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=300)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
    assert process.returncode == 0, output
    assert f"--- step {len(STEPS)}" in output
