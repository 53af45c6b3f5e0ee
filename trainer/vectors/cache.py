"""Vectors that are made once: by the hash of the text, in a file that survives a stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

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
#: (known, total) to what is called with each number of new vectors.
Progress = Callable[[int, int], Callable[[int], object]]


class TextVectors:
    """Unit vectors of texts; what is made inside ``with`` is in the file afterwards, come what may.

    Parameters
    ----------
    path : str or Path, optional
        A file of product vectors, read now; without one they are kept in memory alone.
    model : str
    encoder : Callable, optional
        Makes the encoder; called only when a text is missing.

    Raises
    ------
    DataError
        When the file holds vectors of another model.
    """

    def __init__(
        self,
        path: str | Path | None,
        model: str = EMBEDDING_MODEL,
        encoder: Callable[[], Encoder] | None = None,
    ) -> None:
        self._path, self._model = path, model
        self._load = encoder or (lambda: load_encoder(model))
        self._encoder: Encoder | None = None
        #: Product to the hash of its text, and hash to vector: what the file holds.
        self._hash_of, self._known = _read(path, model)
        self._changed = False
        self._saved = time.monotonic()

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __enter__(self) -> TextVectors:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Also on Ctrl-C: what is made is kept.
        self._save()

    def get(self, hashes: Sequence[str]) -> F32:
        """Vectors that are there; shape (N, D)."""
        return np.stack([self._known[h] for h in hashes])

    def make(
        self,
        products: Mapping[str, str],
        texts: Mapping[str, str],
        advance: Callable[[int], object] = lambda n: None,
    ) -> None:
        """Embed the texts that are missing.

        Parameters
        ----------
        products : Mapping[str, str]
            Product id to the hash of its text.
        texts : Mapping[str, str]
            Hash to text.
        advance : Callable, optional
            Called with each number of new vectors.
        """
        self._hash_of |= products
        missing = [h for h in texts if h not in self._known]
        if not missing:
            return
        self._encoder = self._encoder or self._load()
        for start, made in encode_all(self._encoder, [texts[h] for h in missing], advance):
            self._known.update(zip(missing[start : start + len(made)], made, strict=True))
            self._changed = True
            if time.monotonic() - self._saved > SAVE_EVERY:
                self._save()

    def _save(self) -> None:
        rows = [(i, h) for i, h in self._hash_of.items() if h in self._known]
        if self._path is not None and rows and self._changed:
            ids, hashes = zip(*rows, strict=True)
            write_vectors(self._path, VectorFile(ids, self.get(hashes), hashes, self._model))
            self._changed, self._saved = False, time.monotonic()


def product_vectors(
    catalogue: Catalogue,
    path: str | Path | None,
    *,
    model: str = EMBEDDING_MODEL,
    encoder: Callable[[], Encoder] | None = None,
    progress: Progress | None = None,
) -> F32:
    """Unit vectors of all products' texts; only texts that ``path`` lacks are embedded.

    Parameters
    ----------
    catalogue : Catalogue
    path : str or Path, optional
        A file of product vectors, read first and written to while embedding. Products that this
        catalogue does not have stay in it.
    model : str
    encoder : Callable, optional
        Makes the encoder; called only when a text is missing.
    progress : Callable, optional
        Called with (known, total) when a text is missing.

    Returns
    -------
    float32, shape (N, D)

    Raises
    ------
    DataError
        When the file holds vectors of another model.
    """
    hashes = [text_hash(text) for text in catalogue.texts]
    with TextVectors(path, model, encoder) as store:
        texts = {h: t for h, t in zip(hashes, catalogue.texts, strict=True) if h not in store}
        total = len(set(hashes))
        advance = progress(total - len(texts), total) if progress and texts else lambda n: None
        store.make(dict(zip(catalogue.ids, hashes, strict=True)), texts, advance)
        return store.get(hashes)


def _read(path: str | Path | None, model: str) -> tuple[dict[str, str], dict[str, F32]]:
    if path is None or not Path(path).exists():
        return {}, {}
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
    known = dict(zip(file.text_hashes, file.unit(), strict=True))
    return dict(zip(file.product_ids, file.text_hashes, strict=True)), known
