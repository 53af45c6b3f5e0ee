"""Product vectors straight into Elasticsearch: the trainer's one door to ``sidecar.elastic``.

What is in the index says what is left to do, so that a stopped run goes on where it was, and a
second one embeds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sidecar import resources
from sidecar.contract.product_text import DEFAULT_FIELDS, text_hash
from sidecar.contract.weights import Weights
from sidecar.elastic.client import Client, connect, server_version
from sidecar.elastic.indices import concrete_indices, setup_products
from sidecar.elastic.vectors import NewVector, Vectorized, refresh, scan_vectorized, write_vectors
from trainer.data.fields import read, require_values
from trainer.errors import DataError
from trainer.vectors.cache import Progress, TextVectors
from trainer.vectors.space import apply_product_tower

#: Products that are embedded and written at a time.
CHUNK = 512
#: Seconds for one request: adding 200 vectors to an index's graph takes a while.
TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Done:
    """What became of the documents of an index.

    Parameters
    ----------
    written : int
        Documents that got a new vector.
    current : int
        Documents that had theirs already.
    unknown : int
        Documents that the catalogue's file does not have.
    """

    written: int
    current: int
    unknown: int


@contextmanager
def product_index(
    url: str, api_key: str | None, ca_certs: str | None, expressions: Sequence[str]
) -> Iterator[Client]:
    """A connection to a server whose indices of products have the sidecar's fields.

    Raises
    ------
    ConfigError, UnreachableError, RefusedError, MappingConflictError
    """
    with connect(url, api_key, ca_certs=ca_certs, timeout_s=TIMEOUT_S) as client:
        server_version(client)
        setup_products(client, expressions, resources.mapping("products"))
        refresh(client, concrete_indices(client, expressions))
        yield client


def documents(
    client: Client, expressions: Sequence[str], fields: Mapping[str, str] | None = DEFAULT_FIELDS
) -> list[Vectorized]:
    """Every product's document, with the fields that its text is made of under our names.

    Parameters
    ----------
    client : Client
    expressions : Sequence[str]
        Indices, aliases or wildcards.
    fields : Mapping[str, str], optional
        Our field name to the index's, dots for fields of objects; without it no texts are read.

    Raises
    ------
    DataError
        Where there is no document.
    UnreachableError, RefusedError
    """
    found = [
        replace(one, source=read(one.source, fields or {}))
        for one in scan_vectorized(client, expressions, list((fields or {}).values()))
    ]
    where = ",".join(expressions)
    if not found:
        raise DataError(where, "no product in the index")
    if fields is not None:
        _require(found, fields, where)
    return found


def _require(found: Sequence[Vectorized], fields: Mapping[str, str], where: str) -> None:
    """Vectors of the ids alone, or without a part that was named, would replace good ones.

    Raises
    ------
    DataError
    """
    sources = [one.source for one in found]
    there = require_values(
        sources,
        fields,
        {name for name, path in fields.items() if path != DEFAULT_FIELDS[name]},
        where,
    )
    if not there:
        raise DataError(
            where,
            f"no product has any of {', '.join(DEFAULT_FIELDS)}: say where they are, with "
            "SIDECAR_PRODUCT_FIELDS or --field, e.g. --field name=title",
        )


def vectorize_index(
    client: Client,
    found: Sequence[Vectorized],
    texts: Sequence[str | None],
    store: TextVectors,
    space: str,
    weights: Weights | None = None,
    progress: Progress | None = None,
) -> Done:
    """Write the vectors of those documents whose text, or whose product space, is another now.

    Parameters
    ----------
    client : Client
    found : Sequence[Vectorized]
        See :func:`documents`.
    texts : Sequence[str or None]
        What each is to be known by; ``None`` leaves it alone.
    store : TextVectors
    space : str
        Product space of what is written.
    weights : Weights, optional
        Whose product tower is applied.
    progress : Callable, optional
        Called with (current, documents).

    Raises
    ------
    UnreachableError, RefusedError
        What was written before stays written.
    """
    hashed = [
        (d, text, text_hash(text)) for d, text in zip(found, texts, strict=True) if text is not None
    ]
    todo = [one for one in hashed if one[0].made_from != (one[2], space)]
    # First what costs nothing.
    todo.sort(key=lambda one: one[2] not in store)
    advance = progress(len(hashed) - len(todo), len(hashed)) if progress and todo else None
    written = 0
    for start in range(0, len(todo), CHUNK):
        part = todo[start : start + CHUNK]
        ids, hashes = [d.product_id for d, _, _ in part], [h for _, _, h in part]
        store.make(dict(zip(ids, hashes, strict=True)), {h: text for _, text, h in part})
        vectors = store.get(hashes)
        if weights:
            vectors = apply_product_tower(weights, ids, vectors)
        rows = zip((d.index for d, _, _ in part), ids, vectors, hashes, strict=True)
        written += len(write_vectors(client, (NewVector(*row) for row in rows), space))
        if advance:
            advance(len(part))
    if todo:
        refresh(client, sorted({d.index for d, _, _ in todo}))
    return Done(written, len(hashed) - len(todo), len(found) - len(hashed))
