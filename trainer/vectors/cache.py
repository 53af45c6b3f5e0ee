"""Vectors that are made once: by the hash of the text, in a file that survives a stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sidecar.contract.errors import WeightsError
from sidecar.contract.product_text import text_hash
from sidecar.contract.schema import DIMENSION, EMBEDDING_MODEL
from sidecar.contract.vectors import VectorFile, read_vectors, write_vectors
from sidecar.contract.weights import F32
from trainer.data.dataset import Catalogue
from trainer.errors import DataError
from trainer.vectors.encoder import Encoder, encode_all, load_encoder

#: Seconds between two writes of what is done so far.
SAVE_EVERY = 30.0


def product_vectors(
    catalogue: Catalogue,
    path: str | Path | None,
    *,
    model: str = EMBEDDING_MODEL,
    encoder: Callable[[], Encoder] | None = None,
    progress: Callable[[int, int], Callable[[int], object]] | None = None,
) -> F32:
    """Unit vectors of all products' texts; only texts that ``path`` lacks are embedded.

    Parameters
    ----------
    catalogue : Catalogue
    path : str or Path, optional
        A file of product vectors, read first and written to while embedding.
    model : str
    encoder : Callable, optional
        Makes the encoder; called only when a text is missing.
    progress : Callable, optional
        Called with (known, total); returns what is called with each number of new vectors.

    Returns
    -------
    float32, shape (N, D)

    Raises
    ------
    DataError
        When the file holds vectors of another model.
    """
    hashes = [text_hash(text) for text in catalogue.texts]
    known = _read(path, model)
    texts = {h: t for h, t in zip(hashes, catalogue.texts, strict=True) if h not in known}
    if texts:
        made = encoder() if encoder else load_encoder(model)
        total = len(set(hashes))
        advance = progress(total - len(texts), total) if progress else lambda n: None
        missing = list(texts)
        saved = time.monotonic()
        try:
            for start, vectors in encode_all(made, list(texts.values()), advance):
                known.update(zip(missing[start : start + len(vectors)], vectors, strict=True))
                if time.monotonic() - saved > SAVE_EVERY:
                    _write(path, catalogue.ids, hashes, known, model)
                    saved = time.monotonic()
        finally:
            # Also on Ctrl-C: what is made is kept.
            _write(path, catalogue.ids, hashes, known, model)
    return np.stack([known[h] for h in hashes])


def _read(path: str | Path | None, model: str) -> dict[str, F32]:
    if path is None or not Path(path).exists():
        return {}
    try:
        file = read_vectors(path)
    except WeightsError as error:
        raise DataError(str(path), f"{error}; remove it to embed again") from None
    if file.product_space != model or file.vectors.shape[1] != DIMENSION:
        raise DataError(
            str(path),
            f"holds vectors of {file.product_space!r} with {file.vectors.shape[1]} numbers: "
            f"expected {model!r} with {DIMENSION}",
        )
    return dict(zip(file.text_hashes, file.unit(), strict=True))


def _write(
    path: str | Path | None,
    ids: Sequence[str],
    hashes: Sequence[str],
    known: dict[str, F32],
    model: str,
) -> None:
    rows = [i for i, h in enumerate(hashes) if h in known]
    if path is not None and rows:
        write_vectors(
            path,
            VectorFile(
                [ids[i] for i in rows],
                np.stack([known[hashes[i]] for i in rows]),
                [hashes[i] for i in rows],
                model,
            ),
        )
