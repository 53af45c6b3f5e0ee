"""``sidecar experiment``: what the comparison group says."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from sidecar.commands.base import command, fail, progress, settings
from sidecar.config import Config
from sidecar.contract.errors import ConfigError, MessageError
from sidecar.contract.events import EventVocabulary
from sidecar.contract.messages import CustomerEvent, parse_message
from sidecar.contract.timestamps import to_microseconds


@click.group(
    epilog="""\b
Example:
  sidecar experiment report events.jsonl --percent 50 --since 2026-11-01"""
)
def experiment() -> None:
    """What the comparison group of SIDECAR_HOLDOUT_PERCENT says about orders."""


@command("sidecar experiment report events.jsonl --percent 50 --plot report.svg")
@click.argument(
    "file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--log", "from_log", is_flag=True, help="Read the log of events instead of a file.")
@click.option("--percent", type=float, help="Share held out.  [default: SIDECAR_HOLDOUT_PERCENT]")
@click.option("--salt", help="Of the experiment.  [default: SIDECAR_HOLDOUT_SALT]")
@click.option("--since", help="When the experiment began (ISO 8601 or epoch).")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="SVG to write.")
@click.option("--json", "as_json", is_flag=True, help="For machines.")
def report(
    file: Path | None,
    from_log: bool,
    percent: float | None,
    salt: str | None,
    since: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Compare clicks, carts and purchases of both groups, from a file of events or from the log.

    JSON Lines or CSV, plain or .gz, as for `sidecar backfill`; or, with --log, the index of
    SIDECAR_UBI_LOG. Who is in which group follows from the shopper's id: nothing has to be logged
    for it.
    """
    from sidecar.updates import experiment as sums

    loaded = settings()
    if (file is None) != from_log:
        raise ConfigError("experiment report", file, "either a file or --log")
    search = replace(
        loaded.search,
        holdout_percent=loaded.search.holdout_percent if percent is None else percent,
        holdout_salt=loaded.search.holdout_salt if salt is None else salt,
    )
    if not 0 < search.holdout_percent < 100:
        raise ConfigError(
            "--percent", search.holdout_percent, "above 0 and below 100: two groups to compare"
        )
    vocabulary = EventVocabulary().with_aliases(loaded.service.event_aliases)
    try:
        oldest = 0 if since is None else to_microseconds(since)
    except ValueError:
        raise ConfigError("--since", since, "a time in ISO 8601 or epoch") from None
    with ExitStack() as stack:
        rows = _lines(file) if file is not None else _logged(loaded, stack, oldest)
        personalised, holdout = sums.tally(_events(rows, vocabulary, oldest), search)
    lines = sums.compare(personalised, holdout)
    sizes = len(personalised.shoppers), len(holdout.shoppers)
    if not lines:
        fail(
            f"{file or 'the log'}: {sizes[0]} shoppers were personalised, {sizes[1]} held out: nothing to say"
        )
    odds = sums.mismatch(*sizes, search.holdout_percent)
    if plot is not None:
        plot.write_text(sums.plot(lines), encoding="utf-8")
    if as_json:
        found = {
            "shoppers": {"personalised": sizes[0], "holdout": sizes[1]},
            "size_mismatch_p": odds,
            "outcomes": [one._asdict() | {"verdict": one.verdict} for one in lines],
        }
        click.echo(json.dumps(found, indent=2))
        return
    click.echo(f"{sizes[0]} shoppers personalised, {sizes[1]} held out; intervals of 95 %\n")
    for row in sums.table(lines):
        click.echo(row)
    if odds < sums.MISMATCH:
        click.echo(
            f"\nThe groups' sizes do not fit {search.holdout_percent:g} % (p = {odds:.1g}): events "
            "of one group are missing, or percentage or salt are not those of the experiment. Do "
            "not believe the figures above."
        )


def _lines(file: Path) -> Iterator[str | Mapping[str, Any]]:
    from sidecar.updates.backfill import csv_rows, lines

    is_csv = ".csv" in [suffix.lower() for suffix in file.suffixes]
    return csv_rows(file) if is_csv else lines(file)


def _logged(loaded: Config, stack: ExitStack, since: int) -> Iterator[Mapping[str, Any]]:
    """The log's events as messages.

    Raises
    ------
    ConfigError
        Where the log does not hold the ids that say who is in which group.
    """
    from sidecar import compose
    from sidecar.elastic.events import events
    from sidecar.updates.ubi import as_message

    if loaded.ubi.client_id != "customer":
        expected = "customer: groups follow from the ids as they were sent"
        raise ConfigError("SIDECAR_UBI_CLIENT_ID", loaded.ubi.client_id, expected)
    client = stack.enter_context(compose.elasticsearch(loaded))
    return map(as_message, events(client, loaded.ubi.events_index, since=since))


def _events(
    rows: Iterable[str | Mapping[str, Any]], vocabulary: EventVocabulary, since: int
) -> Iterator[CustomerEvent]:
    """The events of rows; what cannot be read is counted, and said at the end."""
    refused, now = 0, time.time_ns() // 1000
    with progress("events") as say:
        for number, row in enumerate(rows, 1):
            say(number)
            body = row if isinstance(row, str) else json.dumps(row)
            # The same line twice is one event.
            name = hashlib.sha256(body.encode("utf-8", "replace")).hexdigest()
            try:
                parsed = parse_message(body, message_id=name, sent_at=now, vocabulary=vocabulary)
            except (MessageError, UnicodeError):
                refused += 1
                continue
            for one in parsed.events:
                if one.interaction.occurred_at >= since:
                    yield one
    if refused:
        click.echo(f"{refused} lines are no events and were left out", err=True)


experiment.add_command(report)
