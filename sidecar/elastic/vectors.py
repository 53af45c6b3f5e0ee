"""Write a file of product vectors into the indices of products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch
from elasticsearch.helpers import streaming_bulk

from sidecar.contract.errors import RefusedError
from sidecar.contract.vectors import VectorFile
from sidecar.elastic.client import errors
from sidecar.elastic.indices import VECTOR_FIELD, concrete_indices
from sidecar.elastic.users import encode_vector

#: Documents in one bulk request: 200 vectors are about 1 MB of JSON.
CHUNK = 200


@dataclass(frozen=True)
class Loaded:
    """What became of the vectors of a file.

    Parameters
    ----------
    written : int
        Products that have their vector now.
    absent : int
        Products of the file that no index holds.
    """

    written: int
    absent: int


def load_vectors(client: Elasticsearch, expressions: Sequence[str], file: VectorFile) -> Loaded:
    """Add vector, text hash and space to the products that are there; nothing else is touched.

    Parameters
    ----------
    client : Elasticsearch
    expressions : Sequence[str]
        Indices, aliases or wildcards that hold the products.
    file : VectorFile

    Raises
    ------
    UnreachableError, RefusedError
    """
    written = set()
    indices = concrete_indices(client, expressions)
    with errors("writing product vectors"):
        for ok, item in streaming_bulk(
            client, _updates(indices, file), chunk_size=CHUNK, raise_on_error=False
        ):
            result = item["update"]
            if ok:
                written.add(result["_id"])
            elif result.get("status") != 404:
                raise RefusedError(f"writing product vectors: {result.get('error')}"[:300])
        client.indices.refresh(index=",".join(indices))
    return Loaded(len(written), len(file.product_ids) - len(written))


def _updates(indices: Sequence[str], file: VectorFile) -> Iterator[dict[str, Any]]:
    rows = zip(file.product_ids, file.unit(), file.text_hashes, strict=True)
    for product_id, vector, text_hash in rows:
        for index in indices:
            yield {
                "_op_type": "update",
                "_index": index,
                "_id": product_id,
                "doc": {
                    VECTOR_FIELD: encode_vector(vector),
                    "product_text_hash": text_hash,
                    "embedding_model": file.product_space,
                },
            }
