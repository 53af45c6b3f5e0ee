"""``sidecar doctor``: what is right, what is not, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum
from functools import partial

from sidecar import compose, resources
from sidecar.config import Config
from sidecar.contract.errors import SidecarError
from sidecar.elastic.client import CLIENT_MAJOR, Client, server_version
from sidecar.elastic.coverage import product_coverage, user_coverage
from sidecar.elastic.indices import (
    VECTOR_FIELD,
    check_fields,
    check_users,
    concrete_indices,
    properties,
)
from sidecar.tower.load import Tower
from sidecar.updates.sqs import Queue

#: Seconds by which two clocks may differ: events further ahead are refused after a minute.
CLOCK_SKEW_S = 30.0


class Verdict(Enum):
    """How bad a finding is."""

    OK = "ok"
    LOOK = "look"  # works, but perhaps not as meant
    BAD = "bad"  # does not work


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    subject : str
    verdict : Verdict
    found : str
    do : str
        What to do; empty where nothing has to be done.
    """

    subject: str
    verdict: Verdict
    found: str
    do: str = ""


def examine(config: Config) -> Iterator[Finding]:
    """Look at everything, in the order in which things depend on each other."""
    with ExitStack() as stack:
        tower = None
        try:
            tower = compose.tower(config)
        except SidecarError as error:
            do = "name a good file in SIDECAR_WEIGHTS, or unset it for the shipped one"
            yield Finding("weights", Verdict.BAD, str(error), do)
        else:
            yield _weights(tower)
        client = stack.enter_context(compose.elasticsearch(config))
        yield from _elasticsearch(config, client, tower)
        yield from _queue(config)


def _weights(tower: Tower) -> Finding:
    weights = tower.weights
    found = f"{tower.path}: {weights.fingerprint}, for products of {weights.product_space}"
    return Finding("weights", Verdict.OK, found)


def _elasticsearch(config: Config, client: Client, tower: Tower | None) -> Iterator[Finding]:
    try:
        version = server_version(client)
    except SidecarError as error:
        yield Finding("elasticsearch", Verdict.BAD, str(error), "see SIDECAR_ELASTICSEARCH_URL")
        return
    found = f"server {version.major}.{version.minor}, client {CLIENT_MAJOR}.x"
    fits = version.major >= CLIENT_MAJOR
    do = "" if fits else "install a client that is no newer: pip install 'elasticsearch<9'"
    yield Finding("elasticsearch", Verdict.OK if fits else Verdict.BAD, found, do)
    indices = config.search.product_indices
    checks: Sequence[tuple[str, Callable[[], Finding], str]] = (
        ("product indices", lambda: _indices(client, indices), "see SIDECAR_PRODUCT_INDICES"),
        ("product vectors", lambda: _products(client, indices, tower), "run sidecar setup"),
        (
            "shoppers",
            lambda: _users(client, config.service.users_index, tower),
            "run sidecar setup",
        ),
        *(
            (f"log of {kind[4:]}", partial(_log, client, index, kind), "run sidecar setup")
            for index, kind in (
                (config.ubi.queries_index, "ubi_queries"),
                (config.ubi.events_index, "ubi_events"),
            )
            if config.ubi.log
        ),
    )
    for subject, check, do in checks:
        yield _tried(subject, check, do)


def _tried(subject: str, check: Callable[[], Finding], do: str) -> Finding:
    try:
        return check()
    except SidecarError as error:
        return Finding(subject, Verdict.BAD, str(error), do)


def _indices(client: Client, expressions: Sequence[str]) -> Finding:
    wanted = resources.mapping("products")["mappings"]["properties"]
    indices = concrete_indices(client, expressions)
    missing = []
    for index in indices:
        found = properties(client, index)
        check_fields(index, found, wanted)
        if VECTOR_FIELD not in found:
            missing.append(index)
    if missing:
        found_text = f"{', '.join(missing)} does not map {VECTOR_FIELD}"
        return Finding("product indices", Verdict.BAD, found_text, "run sidecar setup")
    return Finding("product indices", Verdict.OK, ", ".join(indices))


def _products(client: Client, expressions: Sequence[str], tower: Tower | None) -> Finding:
    coverage = product_coverage(client, expressions)
    share = coverage.with_vector / max(1, coverage.documents)
    found = f"{coverage.with_vector} of {coverage.documents} products have a vector"
    spaces = ", ".join(f"{count} of {space}" for space, count in coverage.by_maker.items())
    found += f" ({spaces})" if spaces else ""
    vectorize = "run trainer vectorize, or sidecar setup --vectors FILE"
    if not coverage.with_vector:
        return Finding("product vectors", Verdict.BAD, found, vectorize)
    if tower is not None:
        wrong = sum(n for s, n in coverage.by_maker.items() if s != tower.weights.product_space)
        if wrong:
            found += f"; the weights want {tower.weights.product_space}, and do not see the others"
            return Finding("product vectors", Verdict.BAD, found, vectorize)
    verdict = Verdict.OK if share > 0.95 else Verdict.LOOK
    return Finding("product vectors", verdict, found, "" if share > 0.95 else vectorize)


def _users(client: Client, index: str, tower: Tower | None) -> Finding:
    check_users(client, index)
    coverage = user_coverage(client, index)
    found = f"{coverage.documents} shoppers in {index}"
    if tower is not None:
        ours = coverage.by_maker.get(tower.weights.fingerprint, 0)
        others = coverage.with_vector - ours
        if others > 0:
            found += f", {others} of them with vectors of other weights"
            do = "they are recomputed at their next event; sidecar rebuild does all at once"
            return Finding("shoppers", Verdict.LOOK, found, do)
    return Finding("shoppers", Verdict.OK, found)


def _log(client: Client, index: str, kind: str) -> Finding:
    wanted = resources.mapping(kind)["mappings"]["properties"]
    check_fields(index, properties(client, index), wanted)
    return Finding(f"log of {kind[4:]}", Verdict.OK, index)


def _queue(config: Config) -> Iterator[Finding]:
    if not config.service.sqs_queue_url:
        do = "set SIDECAR_SQS_QUEUE_URL where sidecar consume runs"
        yield Finding("queue", Verdict.LOOK, "no queue is set", do)
        return
    queue: Queue | None = None
    try:
        queue = compose.queue(config)
        attributes = queue.check()
    except SidecarError as error:
        yield Finding("queue", Verdict.BAD, str(error), "see SIDECAR_SQS_QUEUE_URL")
        return
    waiting = int(attributes.get("ApproximateNumberOfMessages", 0))
    hidden = int(attributes.get("ApproximateNumberOfMessagesNotVisible", 0))
    found = f"{waiting} messages wait, {hidden} are being worked on"
    do = "" if waiting < 10_000 else "start more consumers, or see what holds them up"
    yield Finding("queue", Verdict.OK if waiting < 10_000 else Verdict.LOOK, found, do)
    yield _tried("dead letters", lambda: _dead_letters(config, queue), "see the redrive policy")
    yield _tried("clock", lambda: _clock(queue), "")


def _dead_letters(config: Config, queue: Queue) -> Finding:
    url = config.updates.dead_letter_url
    dead = queue.sibling(url) if url else queue.dead_letter_queue()
    if dead is None:
        do = "without one, poison messages come back until the queue's retention ends"
        return Finding("dead letters", Verdict.LOOK, "the queue has no queue of dead letters", do)
    count = int(dead.check().get("ApproximateNumberOfMessages", 0))
    do = "see them with sidecar redrive" if count else ""
    return Finding("dead letters", Verdict.LOOK if count else Verdict.OK, f"{count} wait", do)


def _clock(queue: Queue) -> Finding:
    ahead = queue.clock_ahead_s()
    if ahead is None:
        return Finding("clock", Verdict.OK, "the queue does not tell its time")
    if abs(ahead) > CLOCK_SKEW_S:
        do = "set this machine's clock (NTP): vectors expire by it"
        return Finding("clock", Verdict.BAD, f"this machine is off by {-ahead:.0f} s", do)
    return Finding("clock", Verdict.OK, f"within {CLOCK_SKEW_S:.0f} s of the queue's")
