"""Put the demo's catalogue into an Elasticsearch, as a shop would have it: without vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk

from sidecar.elastic.client import errors
from sidecar.embedded.catalogue import MAPPINGS


def load_catalogue(
    client: Elasticsearch, index: str, products: Sequence[Mapping[str, Any]]
) -> bool:
    """Create the index and fill it, unless it already holds that many products.

    Returns
    -------
    bool
        Whether anything was written.

    Raises
    ------
    UnreachableError, RefusedError
    """
    with errors(f"loading the catalogue into {index}"):
        if client.indices.exists(index=index):
            if client.count(index=index)["count"] == len(products):
                return False
        else:
            client.indices.create(index=index, mappings=MAPPINGS)
        actions = (
            {"_index": index, "_id": product["product_id"], "_source": dict(product)}
            for product in products
        )
        bulk(client, actions, refresh=True)
    return True
