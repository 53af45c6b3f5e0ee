"""What is done now and then: replay, rebuild, prune, dead letters, forget."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from sidecar.commands.base import command, fail, progress, settings, stop_on_signals
from sidecar.contract.errors import ConfigError, MessageError
from sidecar.contract.timestamps import to_iso, to_microseconds


@command("sidecar backfill events.jsonl --since 2026-11-20")
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--index", help="Read an Elasticsearch index of events instead of a file.")
@click.option("--time-field", default="timestamp", show_default=True, help="Of that index.")
@click.option("--since", help="Skip events that happened before this time (ISO 8601 or epoch).")
@click.option(
    "--note",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that notes how far we are.  [default: FILE.progress]",
)
def backfill(
    file: Path | None, index: str | None, time_field: str, since: str | None, note: Path | None
) -> None:
    """Replay past events into the index of shoppers: a file (JSON Lines or CSV, plain or .gz), or
    an index of events.

    The same code as for live events: to run it twice, or beside a consumer, changes nothing.
    A run that was stopped goes on where it was. Every event needs a timestamp.
    """
    from sidecar import compose
    from sidecar.elastic.events import events as events_of
    from sidecar.updates.backfill import backfill as run
    from sidecar.updates.backfill import csv_rows, lines, noted

    if (file is None) == (index is None):
        raise ConfigError("backfill", file or index, "either a file or --index")
    loaded, stop = settings(), stop_on_signals()
    oldest = _moment("--since", since)
    name = f"index {index}" if file is None else str(file.resolve())
    note = note or Path(f"{index}.progress" if file is None else f"{file}.progress")

    def refused(line: int, error: MessageError) -> None:
        click.echo(f"{file or index}:{line}: {error}", err=True)

    with ExitStack() as stack, progress("events") as say:
        source: Iterable[str | Mapping[str, Any]]
        if index is not None:
            client = stack.enter_context(compose.elasticsearch(loaded))
            start = max(oldest, noted(note, name).reached)
            source = events_of(client, index, since=start, time_field=time_field)
        elif file is not None and ".csv" in [suffix.lower() for suffix in file.suffixes]:
            source = csv_rows(file)
        elif file is not None:
            source = lines(file)
        done = run(
            source,
            compose.batch_handler(loaded, stack),
            since=oldest,
            note=note,
            name=name,
            skip=index is None,
            stop=stop,
            progress=lambda so_far: say(so_far.lines),
            on_refused=refused,
        )
    refusals = ", ".join(f"{count} {reason}" for reason, count in sorted(done.refused.items()))
    click.echo(
        f"{done.lines} lines: {done.stored} stored, {done.too_old} too old, "
        f"{sum(done.refused.values())} refused" + (f" ({refusals})" if refusals else "")
    )
    if not done.finished:
        fail("stopped before the end: run it again, it goes on where it was", code=130)


@command("sidecar rebuild --rate 200")
@click.option("--rate", default=500.0, show_default=True, help="Most shoppers in a second.")
@click.option(
    "--all",
    "always",
    is_flag=True,
    help="Those that these weights made too: after products got other texts, and so other vectors.",
)
def rebuild(rate: float, always: bool) -> None:
    """Recompute the vectors that other weights made, from the stored histories.

    Searches and consumers may go on meanwhile. A run that was stopped goes on where it was; with
    --all it begins anew.
    """
    from sidecar import compose
    from sidecar.updates.rebuild import outdated, written_before
    from sidecar.updates.rebuild import rebuild as run

    loaded, stop = settings(), stop_on_signals()
    with ExitStack() as stack:
        parts = compose.update_parts(loaded, stack)
        everybody = written_before(int(time.time() * 1000)) if always else None
        length = parts.users.count(everybody or outdated(parts.tower_of().weights))
        with progress("shoppers", length) as say:
            done = run(
                parts.users,
                parts.products,
                parts.tower_of,
                rate=rate,
                stop=stop,
                progress=say,
                query=everybody,
                always=always,
            )
        parts.users.refresh()  # so that `sidecar doctor` counts what was just written
    click.echo(f"{done.written} shoppers recomputed, {done.current} were current already")
    if not done.finished:
        again = "begins anew" if always else "goes on where it was"
        fail(f"stopped before the end: run it again, it {again}", code=130)


@command("sidecar prune")
def prune() -> None:
    """Delete shoppers whose newest interaction is too old to be used, and old rows of the log.

    Rows of the log of queries and events (SIDECAR_UBI_LOG) go after SIDECAR_UBI_KEEP_DAYS.
    """
    from sidecar import compose
    from sidecar.updates.prune import prune as run

    loaded, stop = settings(), stop_on_signals()
    with ExitStack() as stack:
        parts = compose.update_parts(loaded, stack)
        with progress("shoppers") as say:
            limits = parts.tower_of().weights.metadata.limits
            done = run(parts.users, limits, stop=stop, progress=say)
        kept = f"{done.kept} came back meanwhile and were kept"
        click.echo(f"{done.deleted} shoppers deleted, {kept}")
        if not done.finished:
            fail("stopped before the end: run it again", code=130)
        before = int((time.time() - loaded.ubi.keep_days * 86_400) * 1000)
        for one in compose.ubi_logs(loaded, parts.client) or ():
            click.echo(f"{one.index}: {one.prune(before)} rows deleted")


@command("sidecar forget 12345")
@click.argument("customer_id")
def forget(customer_id: str) -> None:
    """Forget a shopper: history, vector, what is logged, and events that are still on their way."""
    from sidecar import compose
    from sidecar.updates.forget import forget as run

    with ExitStack() as stack:
        loaded = settings()
        parts = compose.update_parts(loaded, stack)
        logs = compose.ubi_logs(loaded, parts.client)
        also = compose.forget_also(loaded, compose.pages(loaded, parts.client), logs)
        known = run(parts.users, customer_id, also=also)
    click.echo("forgotten" if known else "nothing was known; events on their way will not count")


@command("sidecar redrive && sidecar redrive --replay --reason unknown_event")
@click.option(
    "--replay", is_flag=True, help="Send them to the queue again instead of showing them."
)
@click.option("--reason", "reasons", multiple=True, help="Only letters with this reason.")
@click.option("--limit", default=100, show_default=True, help="Most letters to look at.")
def redrive(replay: bool, reasons: tuple[str, ...], limit: int) -> None:
    """Show the messages that could not be stored, with their reasons, or replay them."""
    from sidecar import compose
    from sidecar.updates import redrive as letters

    loaded = settings()
    queue = compose.queue(loaded)
    url = loaded.updates.dead_letter_url
    dead = queue.sibling(url) if url else queue.dead_letter_queue()
    if dead is None:
        expected = "a queue of dead letters, or a redrive policy on the queue of events"
        raise ConfigError("SIDECAR_SQS_DEAD_LETTER_URL", url, expected)
    if replay:
        with progress("letters") as say:
            vocabulary = compose.vocabulary(loaded, compose.tower(loaded))
            done = letters.replay(
                dead, queue, vocabulary, reasons=reasons or None, limit=limit, progress=say
            )
        click.echo(f"{done.sent} sent again, {done.left} left: they would be refused again")
        return
    for letter in letters.show(dead, limit):
        if not reasons or letter.reason in reasons:
            click.echo(f"{to_iso(letter.sent_at)} {letter.message_id} {letter.reason}")
            click.echo(f"  {letter.detail}\n  {letter.body[:300]}")


def _moment(option: str, text: str | None) -> int:
    if text is None:
        return 0
    try:
        return to_microseconds(text)
    except ValueError as error:
        raise ConfigError(option, text, str(error)) from None
