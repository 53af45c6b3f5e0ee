"""A stub upstream, and the sidecar's real server in front of an upstream."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sidecar.embedded.process import free_port

from .front import Front
from .stub import Stub

RUNNER = Path(__file__).with_name("run_sidecar.py")


@contextmanager
def sidecar(url: str, **told: Any) -> Iterator[str]:
    """The sidecar in a process of its own; yields its address."""
    listen = f"127.0.0.1:{free_port()}"
    arguments = json.dumps({"url": url, "listen": listen, **told})
    with subprocess.Popen(
        [sys.executable, str(RUNNER), arguments], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield f"http://{listen}"
        finally:
            process.terminate()


@pytest.fixture
def stub() -> Iterator[Stub]:
    with Stub() as server:
        yield server


@pytest.fixture(scope="module")
def module_stub() -> Iterator[Stub]:
    with Stub() as server:
        yield server


@pytest.fixture(scope="module")
def through(module_stub: Stub) -> Iterator[Callable[[Callable[..., bytes]], str]]:
    """The sidecar in front of the module's stub; call it with how the stub shall answer."""
    with sidecar(
        module_stub.url,
        shoppers={"c1": 1},
        settings={
            "fallback_sort": '["popularity"]',
            "read_timeout_s": 2,
            "breaker_s": 0,
            "max_body_bytes": 65_536,
            "page_ttl_s": 0,
            # Wide enough for a machine that is busy with other tests.
            "deadline_ms": 5000,
        },
    ) as address:

        def prepare(respond: Callable[..., bytes] = module_stub.respond) -> str:
            module_stub.respond = respond
            module_stub.requests.clear()
            return address

        yield prepare


@pytest.fixture
def front(stub: Stub) -> Iterator[Callable[..., Front]]:
    fronts: list[Front] = []

    def make(**settings: Any) -> Front:
        fronts.append(Front(stub, **settings))
        return fronts[-1]

    yield make
    for one in fronts:
        one.upstream.close()
