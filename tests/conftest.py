"""Servers for the tests: embedded ones, or real ones by ELASTICSEARCH_URL and SQS_ENDPOINT_URL."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator

import pytest
from elasticsearch import Elasticsearch

from sidecar.contract.errors import ConfigError
from sidecar.elastic.client import connect
from sidecar.embedded.process import free_port
from sidecar.embedded.servers import AWS_ENVIRONMENT, start_elasticsearch, start_sqs

CI = os.environ.get("CI") == "true"

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell's job in the background ignores Ctrl-C, and so would every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def missing(what: str) -> None:
    """Skip where something is not installed; in CI that is a failure."""
    if CI:
        pytest.fail(f"{what} is missing, and CI must not skip")
    pytest.skip(f"{what} is missing")


@pytest.fixture(scope="session")
def elasticsearch_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an Elasticsearch that tests may fill."""
    if url := os.environ.get("ELASTICSEARCH_URL"):
        yield url
        return
    try:
        child = start_elasticsearch(tmp_path_factory.mktemp("elasticsearch"), port := free_port())
    except ConfigError as error:
        missing(str(error))
        return
    yield f"http://127.0.0.1:{port}"
    child.stop()


@pytest.fixture(scope="session")
def sqs_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an SQS that tests may make queues in; its credentials are in the environment."""
    if url := os.environ.get("SQS_ENDPOINT_URL"):
        yield url
        return
    try:
        child = start_sqs(tmp_path_factory.mktemp("sqs"), port := free_port())
    except ConfigError as error:
        missing(str(error))
        return
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AWS_ENVIRONMENT.items():
            patch.setenv(name, value)
        yield f"http://127.0.0.1:{port}"
    child.stop()


@pytest.fixture
def client(elasticsearch_url: str) -> Iterator[Elasticsearch]:
    """A connection to the tests' Elasticsearch."""
    with connect(elasticsearch_url, timeout_s=30) as connection:
        yield connection


@pytest.fixture
def unique(client: Elasticsearch) -> Iterator[str]:
    """A prefix for indices and queues that is this test's own; its indices are deleted."""
    prefix = f"test-{uuid.uuid4().hex[:10]}"
    yield prefix
    # By name: real servers refuse to delete by wildcard.
    for index in client.indices.get_mapping(index=f"{prefix}*").body:
        client.indices.delete(index=index)
