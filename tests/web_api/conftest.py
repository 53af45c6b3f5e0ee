"""One running shop for all tests of the sidecar's own routes."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from sidecar.elastic.client import connect
from tests.web_api.stack import Shop, open_shop


@pytest.fixture(scope="module")
def shop(elasticsearch_url: str, sqs_endpoint: str) -> Iterator[Shop]:
    prefix = f"test-{uuid.uuid4().hex[:10]}"
    with (
        connect(elasticsearch_url, timeout_s=30) as client,
        open_shop(client, sqs_endpoint, prefix) as running,
    ):
        yield running
        for index in client.indices.get_mapping(index=f"{prefix}*").body:
            client.indices.delete(index=index)
