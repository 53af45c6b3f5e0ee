"""`trainer train`."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import click

from sidecar.contract.history import HistoryLimits
from sidecar.contract.schema import PRODUCT_TOWERS, Architecture
from trainer.commands.options import FINITE, WHOLE, data_options, vectors_beside
from trainer.learn.settings import Settings
from trainer.model.losses import LOSSES

_DEFAULT = Settings()


@click.command(
    epilog="Example: trainer train --products products.parquet --events events.parquet "
    "--out weights/user_tower.safetensors"
)
@data_options(several=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Weights file to write.",
)
@click.option(
    "--product-tower",
    type=click.Choice(PRODUCT_TOWERS),
    default=None,
    help="What is trained of the product side (default: linear+id; none for several shops).",
)
@click.option(
    "--loss",
    type=click.Choice(LOSSES),
    default=_DEFAULT.loss,
    show_default=True,
    help="auto: full softmax, or mixed negatives beyond --full-softmax products.",
)
@click.option(
    "--full-softmax",
    type=WHOLE,
    default=_DEFAULT.full_softmax,
    show_default=True,
    help="Largest catalogue for the full softmax.",
)
@click.option(
    "--negatives",
    type=int,
    default=_DEFAULT.negatives,
    show_default=True,
    help="Random negatives of each example, for --loss sampled.",
)
@click.option("--epochs", type=int, default=_DEFAULT.epochs, show_default=True, help="Most epochs.")
@click.option(
    "--patience",
    type=int,
    default=_DEFAULT.patience,
    show_default=True,
    help="Epochs without a better validation before it stops.",
)
@click.option(
    "--examples-per-epoch", type=int, default=_DEFAULT.examples_per_epoch, show_default=True
)
@click.option(
    "--batch-size",
    type=WHOLE,
    default=_DEFAULT.batch_size,
    show_default=True,
    help="0: by the number of examples.",
)
@click.option("--learning-rate", type=FINITE, default=_DEFAULT.learning_rate, show_default=True)
@click.option(
    "--offset-learning-rate",
    type=FINITE,
    default=_DEFAULT.offset_learning_rate,
    show_default=True,
    help="Of the products' own offsets.",
)
@click.option(
    "--offset-scale",
    type=FINITE,
    default=None,
    help="Length of the offsets at the start, from co-occurrence; 0: start at zero "
    "(default: the best of three on the validation part).",
)
@click.option(
    "--average",
    type=FINITE,
    default=_DEFAULT.average,
    show_default=True,
    help="Decay for each step of the parameters' moving average, which is kept; 0: off.",
)
@click.option(
    "--smoothing",
    type=FINITE,
    default=_DEFAULT.smoothing,
    show_default=True,
    help="Share of the softmax loss that is spread over all candidates.",
)
@click.option("--history-dropout", type=FINITE, default=_DEFAULT.history_dropout, show_default=True)
@click.option(
    "--relabel",
    type=FINITE,
    default=_DEFAULT.relabel,
    show_default=True,
    help="Share of examples with random event types.",
)
@click.option(
    "--label-weight",
    type=FINITE,
    default=_DEFAULT.label_weight,
    show_default=True,
    help="Pull of products with a common label; 0: off.",
)
@click.option(
    "--shift/--no-shift",
    default=None,
    help="Train the learned shift (default: yes; no for several shops).",
)
@click.option(
    "--width", type=int, default=_DEFAULT.architecture.width, show_default=True, help="m."
)
@click.option(
    "--heads", type=int, default=_DEFAULT.architecture.heads, show_default=True, help="H."
)
@click.option(
    "--head-dimension",
    type=int,
    default=_DEFAULT.architecture.head_dimension,
    show_default=True,
    help="A.",
)
@click.option(
    "--window-hours",
    type=float,
    default=_DEFAULT.limits.window_hours,
    show_default=True,
    help="Age of the oldest interaction of a history.",
)
@click.option(
    "--max-interactions",
    type=int,
    default=_DEFAULT.limits.max_interactions,
    show_default=True,
    help="L.",
)
@click.option("--seed", type=WHOLE, default=_DEFAULT.seed, show_default=True)
@click.option(
    "--force",
    is_flag=True,
    help="Write weights that do not pass the gate; the metadata then says so.",
)
@click.option(
    "--leave-one-out",
    is_flag=True,
    help="With several shops: first train on all but one and on that one alone, evaluate on that "
    "one, and print the table.",
)
def command(
    products: tuple[str, ...],
    events: tuple[str, ...],
    vectors: tuple[Path, ...],
    model: str,
    ties: str,
    fields: tuple[str, ...],
    out: Path,
    force: bool,
    leave_one_out: bool,
    **chosen: Any,
) -> None:
    """Train a user tower, compare it with every baseline, and write it if it is better.

    A stopped run goes on from its last epoch when the same command is given again.
    """
    from trainer.data.fields import fields_of
    from trainer.pipeline import load_shop
    from trainer.train import leave_one_shop_out, train_and_write

    several = len(products) > 1
    if len(products) != len(events) or (vectors and len(vectors) != len(products)):
        raise click.UsageError(
            f"{len(products)} --products, {len(events)} --events, {len(vectors)} --vectors: "
            "expected one of each for each shop"
        )
    if leave_one_out and not several:
        raise click.UsageError("--leave-one-out: expected --products and --events of several shops")
    settings = settings_from(several, chosen)
    where = fields_of(fields)
    files: list[Path | None] = list(vectors) or [None] * len(products)
    shops = [
        load_shop(
            p, e, settings, ties=ties, model=model, fields=where,
            vectors=vectors_beside(out.with_name(f"{out.stem}.{i}") if several else out, v),
        )
        for i, (p, e, v) in enumerate(zip(products, events, files, strict=True))
    ]  # fmt: skip
    if leave_one_out:
        leave_one_shop_out(shops, settings, model)
    train_and_write(shops, settings, model, out, force)


def settings_from(several: bool, chosen: dict[str, Any]) -> Settings:
    """The command line's settings; several shops share neither offsets nor a learned shift."""
    if chosen["product_tower"] is None:
        chosen["product_tower"] = "none" if several else _DEFAULT.product_tower
    elif several and chosen["product_tower"] != "none":
        raise click.UsageError("--product-tower: expected none for several shops")
    if chosen["shift"] is None:
        chosen["shift"] = not several
    architecture = Architecture(
        width=chosen.pop("width"),
        heads=chosen.pop("heads"),
        head_dimension=chosen.pop("head_dimension"),
    )
    limits = HistoryLimits(chosen.pop("max_interactions"), chosen.pop("window_hours"))
    known = {f.name for f in fields(Settings)}
    return replace(
        Settings(architecture=architecture, limits=limits),
        **{k: v for k, v in chosen.items() if k in known},
    )
