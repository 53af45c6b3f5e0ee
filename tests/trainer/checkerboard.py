"""A shop with a known answer: a checkerboard.

Shoppers of one colour only ever take products of that colour, one after another; product texts say
nothing about the colour. Popularity knows nothing, content knows nothing, company knows all.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sidecar.contract.product_text import text_hash
from sidecar.contract.schema import DIMENSION, EMBEDDING_MODEL
from sidecar.contract.vectors import VectorFile, write_vectors

PRODUCTS = 40
HOUR = 3_600_000_000


class Files(NamedTuple):
    """Where a shop's files are."""

    products: Path
    events: Path
    vectors: Path


def text_vectors(texts: list[str]) -> np.ndarray:  # type: ignore[type-arg]
    """Unit vectors that only depend on the text."""
    rows = [
        np.random.default_rng(int(text_hash(text)[:8], 16)).normal(size=DIMENSION) for text in texts
    ]
    made = np.array(rows, np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def write_shop(folder: Path, shoppers: int = 300, visits: int = 6, seed: int = 0) -> Files:
    """The checkerboard as the files that a shop would hand over."""
    rng = np.random.default_rng(seed)
    ids = [f"p{i:02}" for i in range(PRODUCTS)]
    names = [f"thing number {i}" for i in range(PRODUCTS)]
    products = folder / "products.parquet"
    pq.write_table(pa.table({"product_id": ids, "name": names, "unknown": ids}), products)
    rows = []
    for shopper in range(shoppers):
        colour, start = shopper % 2, int(rng.integers(0, 60 * 24)) * HOUR
        chosen = rng.permutation(PRODUCTS // 2)[:visits] * 2 + colour
        rows += [
            (str(shopper), ids[p], "product_clicked", 1_700_000_000_000_000 + start + step * HOUR)
            for step, p in enumerate(chosen)
        ]
    columns = ["customer_id", "product_id", "event_name", "timestamp"]
    events = folder / "events.parquet"
    pq.write_table(pa.table(dict(zip(columns, zip(*rows, strict=True), strict=True))), events)
    vectors = folder / "vectors.safetensors"
    hashes = [text_hash(name) for name in names]
    write_vectors(vectors, VectorFile(ids, text_vectors(names), hashes, EMBEDDING_MODEL))
    return Files(products, events, vectors)


#: A short run.
QUICK = (
    "--epochs", "1", "--examples-per-epoch", "300", "--batch-size", "64", "--width", "16",
    "--heads", "2", "--head-dimension", "8",
)  # fmt: skip


def trained(files: Files, out: Path, *more: str) -> list[str]:
    """The arguments of a short run of `trainer train`."""
    return [
        "train", "--products", str(files.products), "--events", str(files.events),
        "--vectors", str(files.vectors), "--out", str(out), *QUICK, *more,
    ]  # fmt: skip
