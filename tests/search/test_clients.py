"""The official clients' ordinary calls, directly and through the sidecar, with equal results."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from .clients.install import FOLDER
from .conftest import sidecar

pytestmark = pytest.mark.servers
HERE = Path(__file__).parent / "clients"


def absent(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"{what} is missing, and CI must not skip")
    pytest.skip(f"{what} is missing: run python tests/search/clients/install.py")


def command(client: str) -> tuple[list[str], dict[str, str], Path]:
    """How to run the calls with a client: command, environment, folder."""
    folder = FOLDER / client
    if client.startswith("javascript"):
        node = shutil.which("node")
        if node is None or not (folder / "node_modules").is_dir():
            absent(f"client {client}")
        return [str(node), str(HERE / "ordinary.mjs")], {}, folder
    environment = {}
    if client != "python-8":
        if not folder.is_dir():
            absent(f"client {client}")
        environment["PYTHONPATH"] = str(folder)
    return [sys.executable, "-W", "ignore", str(HERE / "ordinary.py")], environment, HERE


def run(client: str, url: str) -> dict[str, Any]:
    program, environment, folder = command(client)
    done = subprocess.run(
        [*program, url, f"test-{uuid.uuid4().hex[:10]}"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize("client", ["python-8", "python-9", "javascript-8", "javascript-9"])
def test_ordinary_calls(client: str, elasticsearch_url: str) -> None:
    direct = run(client, elasticsearch_url)
    assert direct["client"].startswith(client[-1])
    settings = {"product_indices": ["test-*"], "deadline_ms": 5000}
    with sidecar(elasticsearch_url, settings=settings, shoppers={"c1": 1}) as address:
        through = run(client, address)
    for name, expected in direct["results"].items():
        assert through["results"].pop(name) == expected, name
    assert not through["results"]
    # Named shoppers are served, single searches and several at once, packed or not.
    assert direct["actions"] == [""] * 4
    assert through["actions"] == ["rewritten"] * 4
    # Sniffing clients stay with the sidecar.
    assert {node.rstrip("/") for node in through["nodes"]} == {address}
