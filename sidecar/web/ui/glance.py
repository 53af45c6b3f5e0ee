"""The first page's figures: health, weights, event flow. One part that fails says so alone."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from sidecar.contract.errors import SidecarError
from sidecar.elastic.users import Users
from sidecar.tower.load import Tower
from sidecar.updates.explain import ago
from sidecar.web.health import Checks

log = logging.getLogger(__name__)
T = TypeVar("T")
#: Among the attributes of the queue: how many messages could never be stored.
DEAD_LETTERS = "DeadLetters"


class Part(NamedTuple):
    """A part of the page.

    Parameters
    ----------
    rows : list[tuple[str, str]]
        Name and value.
    error : str
        Why there are none.
    bad : tuple[str, ...]
        Names of rows that hold a fault instead of a value.
    """

    rows: list[tuple[str, str]]
    error: str = ""
    bad: tuple[str, ...] = ()


def attempt(read: Callable[[], T]) -> tuple[T | None, str]:
    """A value, or one line that says why there is none."""
    try:
        return read(), ""
    except SidecarError as error:
        return None, str(error)
    except Exception:
        log.exception("a part of the inspector failed")
        return None, "failed unexpectedly: see the log"


def health(checks: Checks) -> Part:
    """Each check of readiness."""
    if not checks:
        return Part([("checks", "none are configured")])
    results = {name: attempt(check) for name, check in checks.items()}
    remarks = {name: f"ok, but {one}" if one else "ok" for name, (one, _) in results.items()}
    return Part(
        [(name, error or remarks[name]) for name, (_, error) in results.items()],
        bad=tuple(name for name, (_, error) in results.items() if error),
    )


def headline(health: Part, weights: Part, flow: Part) -> tuple[str, bool]:
    """All of it in one line, and whether that is good news."""
    bad = [*health.bad, *flow.bad, *(["weights"] if weights.error else [])]
    if bad:
        return f"Not well: {', '.join(dict.fromkeys(bad))}.", False
    return "All is well: every check passed.", True


def weights(tower_of: Callable[[], Tower]) -> Part:
    """What is served."""
    tower, error = attempt(tower_of)
    if tower is None:
        return Part([], error)
    metadata = tower.weights.metadata
    rows = [
        ("file", tower.path.rpartition("/")[2] or "in memory"),
        ("fingerprint", tower.weights.fingerprint),
        ("product space", tower.weights.product_space),
        ("made", metadata.created_at.partition("T")[0] or "unknown"),
        ("trained on", _trained_on(metadata.training.get("data"))),
    ]
    rows += [(f"NDCG@10 on {data}", text) for data, text in _test_figures(metadata.metrics)]
    limits = metadata.limits
    rows.append(("history", f"{limits.max_interactions} interactions, {limits.window_hours:g} h"))
    return Part(rows)


def _trained_on(data: Any) -> str:
    """Names of the data sets, in whichever form the trainer noted them."""
    if isinstance(data, list):
        names = [str(one.get("name", one) if isinstance(one, Mapping) else one) for one in data]
        return ", ".join(names)
    return str(data or "unknown")


def _test_figures(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The tower's figure on the test part of each data set; the metadata's form is free."""
    found = []
    for data, one in metrics.items():
        results = one.get("results") if isinstance(one, Mapping) else None
        tower = results.get("tower") if isinstance(results, Mapping) else None
        value = tower.get("ndcg@10") if isinstance(tower, Mapping) else None
        if isinstance(value, int | float):
            found.append((str(data), f"{value:.3f}"))
    return found


def flow(
    users: Users,
    queue_counts: Callable[[], Mapping[str, str]] | None,
    clock: Callable[[], float] = time.time,
) -> Part:
    """How many shoppers, how lively, and what waits in the queue."""

    def read() -> list[tuple[str, str]]:
        # A person who looks right after a click wants to see it.
        users.refresh()
        hour_ago = int((clock() - 3600) * 1000)
        # Who was forgotten leaves a document without a history.
        alive = {"exists": {"field": "newest_at"}}
        recent = {"range": {"updated_at": {"gte": hour_ago}}}
        known = users.count(alive)
        lively = users.count({"bool": {"filter": [alive, recent]}})
        return [("shoppers known", str(known)), ("updated within the hour", str(lively))]

    rows, error = attempt(read)
    found = list(rows or [("shoppers", error)])
    bad = () if rows else ("shoppers",)
    if queue_counts is None:
        return Part([*found, ("queue", "none is configured: SIDECAR_SQS_QUEUE_URL")], bad=bad)
    counts, error = attempt(queue_counts)
    if counts is None:
        return Part([*found, ("queue", error)], bad=(*bad, "queue"))
    names = (
        ("events waiting", "ApproximateNumberOfMessages"),
        ("events being stored", "ApproximateNumberOfMessagesNotVisible"),
    )
    waiting = [(name, str(counts.get(key, "unknown"))) for name, key in names]
    if DEAD_LETTERS in counts:
        waiting.append(("dead letters", str(counts[DEAD_LETTERS])))
    return Part([*found, *waiting], bad=bad)


def lead(portrait: Any) -> str:
    """What the shopper's history is good for, in two sentences."""
    user = portrait.user
    count = len(user.history)
    last = ago(portrait.now - max(i.occurred_at for i in user.history) / 1e6)
    did = f"{count} interaction{'' if count == 1 else 's'}, the last one {last}."
    if user.vector is None:
        return f"{did} No product of them has a vector: searches come back as they are."
    if portrait.expired:
        return f"{did} That is too long ago: searches come back as they are."
    return f"{did} Searches are re-ranked by them."


def summary(portrait: Any) -> list[tuple[str, str]]:
    """A shopper's vector at a glance."""
    user = portrait.user
    age = portrait.now - user.updated_at / 1e3
    state = "none: no product of the history has a vector"
    if user.vector is not None:
        state = "too old, searches do not use it" if portrait.expired else "in use"
    rows = [
        ("interactions", str(len(user.history))),
        ("vector", state),
        ("updated", ago(age)),
        ("evidence", f"{portrait.evidence:g}"),
        ("weights", "those that are served" if portrait.current else "others: made again soon"),
    ]
    if (part := portrait.explanation.from_products) is not None and part < 0.9995:
        rows.append(("likeness to the own products' mix", f"{part:.2f}"))
    return rows
