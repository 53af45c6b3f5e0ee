"""`trainer evaluate`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trainer.commands.options import COUNT, WHOLE, data_options, vectors_beside

if TYPE_CHECKING:
    from trainer.evaluate.metrics import Scorer


@click.command(
    epilog="Example: trainer evaluate --weights weights/user_tower.safetensors "
    "--products products.parquet --events events.parquet --json"
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Weights file to evaluate.",
)
@data_options()
@click.option(
    "--test-cases",
    type=COUNT,
    default=20_000,
    show_default=True,
    help="Test cases that are ranked at most.",
)
@click.option("--seed", type=WHOLE, default=0, show_default=True)
@click.option(
    "--extra-baselines",
    is_flag=True,
    help="Learned ones too, trained now: SASRec, and ALS where implicit is installed. Takes minutes.",
)
@click.option("--json", "as_json", is_flag=True, help="For machines: everything, as JSON.")
def command(
    weights: Path,
    products: str,
    events: str,
    vectors: Path | None,
    model: str,
    ties: str,
    fields: tuple[str, ...],
    test_cases: int,
    seed: int,
    extra_baselines: bool,
    as_json: bool,
) -> None:
    """Compare a weights file with every baseline, on the test part of a time split.

    The tower is computed as it is served. All products are ranked, never a sample.
    """
    from sidecar.tower.load import load_tower
    from trainer.data.fields import fields_of
    from trainer.evaluate.compare import evaluate_tower
    from trainer.learn.settings import Settings
    from trainer.pipeline import load_shop, table
    from trainer.progress import bar, say
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
    extra: Iterable[tuple[str, Scorer]] = ()
    if extra_baselines:
        from trainer.evaluate import extra as learned

        limits = metadata.limits
        extra = learned.extra_baselines(shop.data, shop.split, limits, seed=seed, say=say)
    advance = bar("comparing", "ranking")(0, COMPARED)
    found = evaluate_tower(
        tower, shop.data, shop.split, shop.vectors, q, lambda name: advance(1), extra
    )
    if as_json:
        click.echo(json.dumps(found.described(), indent=2))
        return
    click.echo(table(found))
    for name, part in found.slices.items():
        click.echo(
            f"  {name:36}{int(part['cases']):8,} cases   tower {part['tower']:.4f}   "
            f"best vector baseline {part['best vector baseline']:.4f}   "
            f"item-kNN {part['item-kNN']:.4f}"
        )
