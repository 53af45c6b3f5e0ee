"""`trainer export`."""

from __future__ import annotations

from pathlib import Path

import click

from trainer.commands.options import data_options, vectors_beside


@click.command(
    epilog="Example: trainer export --checkpoint weights/user_tower.checkpoint "
    "--products products.parquet --events events.parquet --out weights/user_tower.safetensors"
)
@click.option(
    "--checkpoint",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="What `trainer train` kept.",
)
@data_options()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Weights file to write.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Write weights that do not pass the gate; the metadata then says so.",
)
def command(
    checkpoint: Path,
    products: str,
    events: str,
    vectors: Path | None,
    model: str,
    ties: str,
    fields: tuple[str, ...],
    out: Path,
    force: bool,
) -> None:
    """Write a weights file from the best epoch of a run, through the gate."""
    from trainer.data.fields import fields_of
    from trainer.learn.rebuild import rebuild_run, settings_of
    from trainer.pipeline import finish, load_shop, metadata_for, table
    from trainer.progress import say

    settings = settings_of(checkpoint)
    shop = load_shop(
        products,
        events,
        settings,
        vectors=vectors_beside(out, vectors),
        ties=ties,
        model=model,
        fields=fields_of(fields),
    )
    metadata = metadata_for([shop], settings, model)
    run = rebuild_run(checkpoint, shop, metadata, settings)
    for comparison in finish(run, [shop], metadata, settings, out, force=force):
        click.echo(table(comparison))
    say(f"{out} written (best epoch {run.best})")
