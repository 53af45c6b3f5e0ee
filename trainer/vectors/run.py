"""`trainer vectorize` as a person sees it: from a catalogue to vectors in an index or a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sidecar.contract.product_text import text_hash
from sidecar.contract.vectors import VectorFile, write_vectors
from sidecar.contract.weights import Weights
from trainer.data.dataset import Catalogue
from trainer.data.fields import Fields
from trainer.data.load import OURS, catalogue_of, load_catalogue
from trainer.data.tables import connect
from trainer.errors import DataError
from trainer.progress import bar, say
from trainer.vectors.cache import TextVectors, product_vectors
from trainer.vectors.index import documents, product_index, vectorize_index
from trainer.vectors.space import apply_product_tower


@dataclass(frozen=True)
class Work:
    """What is to be made.

    Parameters
    ----------
    weights : Weights, optional
        Whose product tower and price limits are applied.
    model : str
    cache : Path, optional
        File of the text vectors.
    products : str, optional
        Files of the catalogue.
    out : Path, optional
        File of product vectors to write.
    half : bool
        float16 in that file.
    fields : Fields
        Where the index, or the files, keep what the texts are made of.
    """

    weights: Weights | None
    model: str
    cache: Path | None
    products: str | None
    out: Path | None
    half: bool = False
    fields: Fields = OURS

    @property
    def space(self) -> str:
        """The product space of what is written."""
        return self.weights.product_space if self.weights else self.model

    @property
    def price_tiers(self) -> Mapping[str, tuple[float, float, float]] | None:
        """The weights' limits; without any, those of the catalogue."""
        return (self.weights.metadata.price_tiers if self.weights else None) or None


def into_file(work: Work) -> None:
    """Write the file of product vectors.

    Raises
    ------
    DataError
    """
    _write_file(work, _catalogue(work, str(work.products)))


def into_index(
    work: Work, address: tuple[str, str | None, str | None], expressions: Sequence[str]
) -> None:
    """Write the vectors that are missing or out of date, and the file if it is wanted too.

    Parameters
    ----------
    work : Work
    address : tuple
        URL, API key and file of the authority.
    expressions : Sequence[str]
        Indices, aliases or wildcards.

    Raises
    ------
    DataError, ConfigError, UnreachableError, RefusedError, MappingConflictError
    """
    # The file first: a mistake in it must not wait for the cluster.
    catalogue = _catalogue(work, work.products) if work.products else None
    with product_index(*address, expressions) as client:
        # With a file its texts count, and of the index only the ids.
        found = documents(client, expressions, work.fields.paths if catalogue is None else None)
        texts: Sequence[str | None]
        if catalogue is None:
            ids = [one.product_id for one in found]
            catalogue, notes = catalogue_of(ids, [one.source for one in found], work.price_tiers)
            _warn(notes)
            texts = catalogue.texts
            if work.out and len(set(ids)) < len(ids):
                raise DataError(
                    ",".join(expressions), "a product is in several indices: expected no --out then"
                )
        else:
            text_of = dict(zip(catalogue.ids, catalogue.texts, strict=True))
            texts = [text_of.get(one.product_id) for one in found]
            absent = len(text_of.keys() - {one.product_id for one in found})
            if absent:
                say(f"warning: {absent:,} products of {work.products} are not in the index")
        with TextVectors(work.cache, work.model) as store:
            done = vectorize_index(
                client, found, texts, store, work.space, work.weights, bar("vectorizing", "product")
            )
    say(
        f"{','.join(expressions)}: {done.written:,} vectors written in the space {work.space}, "
        f"{done.current:,} were up to date"
        + (f", {done.unknown:,} left alone: not in {work.products}" if done.unknown else "")
    )
    if work.out:
        _write_file(work, catalogue)


def _catalogue(work: Work, path: str) -> Catalogue:
    backend = connect()
    try:
        catalogue, notes = load_catalogue(backend, path, work.price_tiers, work.fields)
    finally:
        backend.disconnect()
    _warn(notes)
    return catalogue


def _warn(notes: Sequence[str]) -> None:
    for note in notes:
        say(f"warning: {note}")


def _write_file(work: Work, catalogue: Catalogue) -> None:
    assert work.out is not None  # noqa: S101 - the command sees to it
    vectors = product_vectors(
        catalogue, work.cache, model=work.model, progress=bar("embedding", "text")
    )
    if work.weights:
        vectors = apply_product_tower(work.weights, catalogue.ids, vectors)
    hashes = [text_hash(text) for text in catalogue.texts]
    final = vectors.astype(np.float16) if work.half else vectors
    write_vectors(work.out, VectorFile(catalogue.ids, final, hashes, work.space))
    say(f"{work.out}: {len(catalogue):,} vectors in the space {work.space}")
