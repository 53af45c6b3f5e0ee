"""`trainer report`."""

from __future__ import annotations

from pathlib import Path

import click

from trainer.commands.options import COUNT, WHOLE, data_options, vectors_beside


@click.command(
    epilog="Example: trainer report --weights weights/user_tower.safetensors "
    "--products products.parquet --events events.parquet --out report.html"
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Weights file to show.",
)
@data_options()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="HTML page to write.",
)
@click.option(
    "--test-cases",
    type=COUNT,
    default=20_000,
    show_default=True,
    help="Test cases that are ranked at most.",
)
@click.option("--seed", type=WHOLE, default=0, show_default=True)
def command(
    weights: Path,
    products: str,
    events: str,
    vectors: Path | None,
    model: str,
    ties: str,
    fields: tuple[str, ...],
    out: Path,
    test_cases: int,
    seed: int,
) -> None:
    """Show a weights file as one self-contained page: curves, baselines, calibration, shoppers.

    The page names products, and shoppers by nothing.
    """
    from sidecar.contract.files import replacing
    from sidecar.tower.load import load_tower
    from trainer.data.fields import fields_of
    from trainer.evaluate.compare import evaluate_tower
    from trainer.learn.settings import Settings
    from trainer.pipeline import load_shop
    from trainer.progress import bar, say
    from trainer.report.page import page
    from trainer.train import COMPARED
    from trainer.vectors.space import apply_product_tower

    tower = load_tower(weights)
    metadata = tower.weights.metadata
    shop = load_shop(
        products, events, Settings(limits=metadata.limits, seed=seed), ties=ties, model=model,
        vectors=vectors_beside(weights, vectors), metadata=metadata, test_cases=test_cases,
        fields=fields_of(fields),
    )  # fmt: skip
    q = apply_product_tower(tower.weights, shop.data.catalogue.ids, shop.vectors)
    advance = bar("comparing", "ranking")(0, COMPARED)
    found = evaluate_tower(tower, shop.data, shop.split, shop.vectors, q, lambda name: advance(1))
    with replacing(out) as partial:
        partial.write_text(page(tower, shop, q, found), encoding="utf-8")
    say(f"{out} written")
