"""Set up, serve, consume, demo: what a sidecar does all day."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sidecar import resources
from sidecar.commands.base import command, settings, stop_on_signals


@command("sidecar setup && sidecar setup --vectors products.safetensors")
@click.option(
    "--vectors",
    type=click.Path(path_type=Path),
    help="File of product vectors (made by `trainer vectorize`) to write into the index.",
)
def setup(vectors: Path | None) -> None:
    """Create the index of shoppers, and add the sidecar's fields to the index of products.

    With SIDECAR_UBI_LOG also the two indices of the log of queries and events.
    Doing it again changes nothing. A mapping that conflicts is refused before anything is changed.
    """
    from sidecar import compose
    from sidecar.contract.vectors import read_vectors
    from sidecar.elastic.client import server_version
    from sidecar.elastic.indices import setup_products, setup_users
    from sidecar.elastic.vectors import load_vectors

    loaded = settings()
    file = read_vectors(vectors) if vectors else None
    with compose.elasticsearch(loaded) as client:
        server_version(client)
        indices = loaded.search.product_indices
        steps = setup_products(client, indices, resources.mapping("products"))
        steps.append(setup_users(client, loaded.service.users_index, resources.mapping("users")))
        if loaded.ubi.log:
            for index, kind in (
                (loaded.ubi.queries_index, "ubi_queries"),
                (loaded.ubi.events_index, "ubi_events"),
            ):
                steps.append(setup_users(client, index, resources.mapping(kind)))
        for step in steps:
            click.echo(f"{step.index}: {step.done}")
        if file is not None:
            done = load_vectors(client, indices, file)
            click.echo(f"{done.written} vectors written, {done.absent} products are not there")


@command("SIDECAR_SQS_QUEUE_URL=https://sqs.eu-west-1.amazonaws.com/1234/events sidecar consume")
def consume() -> None:
    """Turn the queue's events into user vectors, until stopped (SIGTERM or Ctrl-C)."""
    from sidecar import consuming

    consuming.consume(settings(), stop_on_signals())


@command("sidecar serve")
def serve() -> None:
    """Serve searches: Elasticsearch's own API, re-ranked for known shoppers."""
    from sidecar import serving

    serving.serve(settings())


@command("sidecar demo --once")
@click.option("--once", is_flag=True, help="Show everything, then stop by itself.")
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".sidecar/demo"),
    show_default=True,
    help="Folder for the embedded servers' data; a second run reuses it.",
)
@click.option(
    "--listen", help="host:port of the sidecar.  [default: 127.0.0.1:9201, else a free port]"
)
def demo(once: bool, data: Path, listen: str | None) -> None:
    """See a shopper's own events re-rank an ordinary search, on this machine alone.

    Starts a local Elasticsearch and SQS, loads a public retail catalogue, serves, sends a
    household's purchases through the queue, and shows the same searches before and after.
    """
    from sidecar.demo import run

    run.demo(data=data, once=once, listen=listen, say=_say)


@command("sidecar doctor")
def doctor() -> None:
    """Check everything, and say for each finding what to do. Code 1 if something does not work."""
    from sidecar.doctor import Verdict, examine

    bad = False
    for finding in examine(settings()):
        bad = bad or finding.verdict is Verdict.BAD
        click.echo(f"{finding.verdict.value:<5} {finding.subject}: {finding.found}")
        if finding.do:
            click.echo(f"      -> {finding.do}")
    sys.exit(1 if bad else 0)


def _say(line: str) -> None:
    click.echo(line)
    sys.stdout.flush()
