"""`trainer vectorize`."""

from __future__ import annotations

from pathlib import Path

import click

from sidecar.contract.schema import EMBEDDING_MODEL


@click.command(
    epilog="Example: trainer vectorize --products products.parquet --weights "
    "weights/user_tower.safetensors --out products.safetensors && "
    "sidecar setup --vectors products.safetensors"
)
@click.option(
    "--products", required=True, help="Catalogue: Parquet, CSV, JSON Lines, or a GA4 export."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="File of product vectors to write; `sidecar setup --vectors` loads it.",
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Weights whose product tower and price limits are applied.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that keeps the text vectors (default: beside --out).",
)
@click.option(
    "--model",
    default=EMBEDDING_MODEL,
    show_default=True,
    help="sentence-transformers model, by name or folder.",
)
@click.option("--half/--full", default=False, help="float16, for half the size.")
def command(
    products: str, out: Path, weights: Path | None, cache: Path | None, model: str, half: bool
) -> None:
    """Turn products into vectors; only texts that changed are embedded.

    A stopped run goes on where it was when the same command is given again.
    """
    import numpy as np

    from sidecar.contract.product_text import text_hash
    from sidecar.contract.vectors import VectorFile, write_vectors
    from sidecar.tower.load import load_tower
    from trainer.data.load import load_catalogue
    from trainer.data.tables import connect
    from trainer.errors import DataError
    from trainer.progress import bar, say
    from trainer.vectors.cache import product_vectors
    from trainer.vectors.space import apply_product_tower

    tower = load_tower(weights) if weights else None
    if tower and tower.weights.metadata.embedding_model != model:
        raise DataError(
            str(weights),
            f"made for {tower.weights.metadata.embedding_model}: expected --model {model}",
        )
    tiers = tower.weights.metadata.price_tiers if tower else None
    catalogue, notes = load_catalogue(connect(), products, tiers or None)
    for note in notes:
        say(f"warning: {note}")
    kept = cache or out.with_name(out.stem + ".texts.safetensors")
    vectors = product_vectors(catalogue, kept, model=model, progress=bar("embedding", "text"))
    space = model
    if tower:
        vectors = apply_product_tower(tower.weights, catalogue.ids, vectors)
        space = tower.weights.product_space
    hashes = [text_hash(text) for text in catalogue.texts]
    final = vectors.astype(np.float16) if half else vectors
    write_vectors(out, VectorFile(catalogue.ids, final, hashes, space))
    say(f"{out}: {len(catalogue):,} vectors in the space {space}")
