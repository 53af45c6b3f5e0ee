"""Look at a weights file, and go back to the one before."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sidecar.commands.base import command, settings


@command("sidecar check-weights weights/user_tower.safetensors")
@click.argument("file", type=click.Path(path_type=Path))
def check_weights(file: Path) -> None:
    """Show what is in a weights file, and whether it would be accepted.

    Does exactly what a running sidecar does with a new file. Exit code 0: accepted; 1: refused.
    """
    from sidecar.tower.inspect import inspect_weights

    found = inspect_weights(file)
    for line in found.lines():
        click.echo(line)
    sys.exit(0 if found.accepted else 1)


@command("SIDECAR_WEIGHTS=/srv/weights sidecar rollback-weights")
def rollback_weights() -> None:
    """Go back to the weights that were active before the present ones.

    Every process that watches the same folder follows within two seconds.
    """
    from sidecar import compose

    loaded = settings()
    with compose.elasticsearch(loaded) as client:
        store = compose.weights_store(loaded, client, watch=False)
        before = store.current.weights.fingerprint
        after = store.rollback().weights.fingerprint
    click.echo(f"rolled back from weights {before} to {after}")
