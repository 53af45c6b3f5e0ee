"""`trainer dataset`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from sidecar.contract.history import HistoryLimits
from trainer.commands.options import FIELD, WHOLE
from trainer.data.load import TIES


@click.command(
    epilog="Example: trainer dataset --products 'export/events_*' --events 'export/events_*' "
    "--out shop/   (a GA4 export serves as both)"
)
@click.option(
    "--products", required=True, help="Catalogue: Parquet, CSV, JSON Lines, or a GA4 export."
)
@click.option("--events", required=True, help="Events: Parquet, CSV, JSON Lines, or a GA4 export.")
@FIELD
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for products.parquet, events.parquet and dataset.json; without it nothing is written.",
)
@click.option(
    "--ties",
    type=click.Choice(TIES),
    default="file",
    show_default=True,
    help="Order of events of one shopper and one moment.",
)
@click.option(
    "--window-hours",
    type=float,
    default=48.0,
    show_default=True,
    help="Age of the oldest interaction of a history.",
)
@click.option("--max-interactions", type=int, default=20, show_default=True, help="L.")
@click.option("--seed", type=WHOLE, default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="For machines: the counts, as JSON.")
def command(
    products: str,
    events: str,
    fields: tuple[str, ...],
    out: Path | None,
    ties: str,
    window_hours: float,
    max_interactions: int,
    seed: int,
    as_json: bool,
) -> None:
    """Read products and events, clean and split them, and say what is in them."""
    from trainer.data.describe import describe, write_dataset
    from trainer.data.fields import fields_of
    from trainer.data.load import load_dataset
    from trainer.data.split import split_by_time
    from trainer.progress import say

    limits = HistoryLimits(max_interactions, window_hours)
    say(f"reading {events}")
    where = fields_of(fields)
    data = load_dataset(products, events, ties=ties, seed=seed, fields=where)
    split = split_by_time(data, limits, max_cases=2**62)
    found = describe(data, split)
    if out:
        write_dataset(out, products, data, found, where)
        say(f"{out}/products.parquet, events.parquet and dataset.json written")
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for key, value in found.items():
        if isinstance(value, int):
            click.echo(f"{key.replace('_', ' '):32}{value:>14,}")
    for name, count in found["events_by_type"].items():
        click.echo(f"  {name:30}{count:>14,}")
    for line in found["warnings"]:
        click.echo(f"warning: {line}")
