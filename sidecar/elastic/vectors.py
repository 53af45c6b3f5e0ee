"""Write product vectors into the indices of products, and see which are there and up to date."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import Elasticsearch
from elasticsearch.helpers import ScanError, scan, streaming_bulk

from sidecar.contract.errors import RefusedError, UnreachableError
from sidecar.contract.vectors import VectorFile
from sidecar.contract.weights import F32
from sidecar.elastic.client import errors
from sidecar.elastic.indices import VECTOR_FIELD, concrete_indices
from sidecar.elastic.users import encode_vector

#: Documents in one bulk request: 200 vectors are about 1 MB of JSON.
CHUNK = 200
#: How often documents that the server has no room for just now (429) are sent again.
RETRIES = 5
_HASH, _SPACE = "product_text_hash", "embedding_model"


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


@dataclass(frozen=True, slots=True)
class NewVector:
    """A vector for one document.

    Parameters
    ----------
    index, product_id : str
    vector : float32, shape (D,)
    text_hash : str
    """

    index: str
    product_id: str
    vector: F32
    text_hash: str


@dataclass(frozen=True, slots=True)
class Vectorized:
    """A product's document, and what its vector was made from.

    Parameters
    ----------
    index, product_id : str
    source : Mapping[str, Any]
        The fields that were asked for.
    made_from : tuple[str, str], optional
        Text hash and product space; ``None`` where there is no vector.
    """

    index: str
    product_id: str
    source: Mapping[str, Any]
    made_from: tuple[str, str] | None


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
    indices = concrete_indices(client, expressions)
    rows = zip(file.product_ids, file.unit(), file.text_hashes, strict=True)
    found = write_vectors(
        client,
        (NewVector(index, *row) for row in rows for index in indices),
        file.product_space,
    )
    refresh(client, indices)
    written = {product_id for _, product_id in found}
    return Loaded(len(written), len(file.product_ids) - len(written))


def write_vectors(
    client: Elasticsearch, vectors: Iterable[NewVector], space: str
) -> set[tuple[str, str]]:
    """Write them in bulk; a document that is not there is passed over.

    Parameters
    ----------
    client : Elasticsearch
    vectors : Iterable[NewVector]
    space : str
        Their product space.

    Returns
    -------
    set[tuple[str, str]]
        Index and id of the documents that have their vector now.

    Raises
    ------
    UnreachableError, RefusedError
    """
    written = set()
    with errors("writing product vectors"):
        for ok, item in streaming_bulk(
            client,
            (_update(one, space) for one in vectors),
            chunk_size=CHUNK,
            raise_on_error=False,
            max_retries=RETRIES,
            initial_backoff=1,
        ):
            result = item["update"]
            if ok:
                written.add((result["_index"], result["_id"]))
            elif result.get("status") != 404:
                raise RefusedError(f"writing product vectors: {result.get('error')}"[:300])
    return written


def refresh(client: Elasticsearch, indices: Sequence[str]) -> None:
    """Make all that was written so far visible to searches.

    Raises
    ------
    UnreachableError, RefusedError
    """
    with errors("refreshing the indices of products"):
        client.indices.refresh(index=",".join(indices))


def scan_vectorized(
    client: Elasticsearch, expressions: Sequence[str], fields: Sequence[str]
) -> Iterator[Vectorized]:
    """Every product's document, in no order, as of the last refresh; never with its vector.

    Parameters
    ----------
    client : Elasticsearch
    expressions : Sequence[str]
    fields : Sequence[str]
        Fields of the source to read, dotted.

    Raises
    ------
    UnreachableError, RefusedError
    """
    index = ",".join(concrete_indices(client, expressions))
    # The hash alone proves nothing: whoever reads a document and writes it back loses the vector
    # where the server hides vectors, and keeps the hash.
    having = {
        (hit["_index"], hit["_id"]): (source.get(_HASH, ""), source.get(_SPACE, ""))
        for hit in _hits(client, index, {"exists": {"field": VECTOR_FIELD}}, [_HASH, _SPACE])
        for source in [hit.get("_source") or {}]
    }
    for hit in _hits(client, index, {"match_all": {}}, fields):
        place = (hit["_index"], hit["_id"])
        yield Vectorized(*place, hit.get("_source") or {}, having.get(place))


def _hits(
    client: Elasticsearch, index: str, query: Mapping[str, Any], fields: Sequence[str]
) -> Iterator[Mapping[str, Any]]:
    body = {"query": query, "_source": list(fields) or False}
    with errors("scanning products"):
        try:
            yield from scan(client, index=index, query=body, size=1000)
        except ScanError as error:
            raise UnreachableError(f"scanning products: not all shards answer ({error})") from None


def _update(one: NewVector, space: str) -> dict[str, Any]:
    return {
        "_op_type": "update",
        "_index": one.index,
        "_id": one.product_id,
        "doc": {
            VECTOR_FIELD: encode_vector(one.vector),
            _HASH: one.text_hash,
            _SPACE: space,
        },
    }
