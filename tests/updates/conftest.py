"""Queues and indices of a test's own, on whatever servers the tests run against."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from elasticsearch import Elasticsearch

from sidecar.contract.weights import F32
from sidecar.elastic.indices import setup_users
from sidecar.elastic.products import ProductVectors
from sidecar.elastic.users import Users
from sidecar.resources import mapping
from sidecar.updates.sqs import Queue
from updates.oracle import DIMENSION, PRODUCTS, TOWER

MakeQueue = Callable[..., Queue]


@pytest.fixture
def make_queue(sqs_endpoint: str, unique: str) -> Iterator[MakeQueue]:
    """Makes queues: ``make_queue("name", dead_after=3, VisibilityTimeout="1")``."""
    client = boto3.client("sqs", region_name="us-east-1", endpoint_url=sqs_endpoint)
    urls = []

    def make(name: str, *, dead_after: int = 0, **attributes: str) -> Queue:
        suffix = ".fifo" if name.endswith(".fifo") else ""
        if suffix:
            attributes |= {"FifoQueue": "true"}
        if dead_after:
            dead = make(f"{name.removesuffix('.fifo')}-dead{suffix}")
            arn = dead.check()["QueueArn"]
            policy = {"deadLetterTargetArn": arn, "maxReceiveCount": dead_after}
            attributes |= {"RedrivePolicy": json.dumps(policy)}
        made = client.create_queue(QueueName=f"{unique}-{name}", Attributes=attributes)
        urls.append(made["QueueUrl"])
        return Queue(made["QueueUrl"], region="us-east-1", endpoint_url=sqs_endpoint)

    yield make
    for url in urls:
        client.delete_queue(QueueUrl=url)
    client.close()


@pytest.fixture
def users(client: Elasticsearch, unique: str) -> Users:
    """An empty index of shoppers."""
    setup_users(client, f"{unique}-users", mapping("users"))
    return Users(client, f"{unique}-users")


@pytest.fixture
def catalogue(client: Elasticsearch, unique: str) -> ProductVectors:
    """Products p0 to p5 with the vectors of the oracle, and nothing cached for long."""
    body: dict[str, Any] = mapping("products")["mappings"]
    body["properties"]["product_vector"]["dims"] = DIMENSION
    client.indices.create(index=f"{unique}-products", mappings=body)
    for one, vector in PRODUCTS.vectors.items():
        put_product(client, unique, one, vector)
    return ProductVectors(client, [f"{unique}-products"], dimension=DIMENSION, ttl_s=0.0)


def put_product(client: Elasticsearch, unique: str, product_id: str, vector: F32) -> None:
    """A product with its vector."""
    space = TOWER.weights.product_space
    document = {"product_vector": vector.tolist(), "embedding_model": space}
    client.index(index=f"{unique}-products", id=product_id, document=document)
