"""What the demo prints. Pure: values in, lines out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

#: Hits of each list that are shown.
TOP = 8
_NAME = 46


def title(text: str) -> str:
    """A heading."""
    return f"\n{text}\n{'-' * len(text)}"


def hit_line(source: Mapping[str, Any]) -> str:
    """One product in a fixed width: what it is, and what it costs."""
    name = f"{source['name']} ({source['category']})"
    short = name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"
    return f"{short:<{_NAME}} {source['price']:>6.2f}"


def rank_change(product_id: str, rank: int, before: Sequence[str]) -> str:
    """How a product moved: ``▲ 12``, ``▼ 1``, ``=``, or where it came from beyond the list."""
    if product_id not in before:
        return f"▲ from below {len(before)}"
    moved = before.index(product_id) - rank
    return "=" if moved == 0 else f"{'▲' if moved > 0 else '▼'} {abs(moved)}"


def comparison(
    heading: str,
    before: Sequence[Mapping[str, Any]],
    after: Sequence[Mapping[str, Any]],
    action: str,
    reason: str,
) -> list[str]:
    """One search, before and after.

    Parameters
    ----------
    heading : str
    before, after : Sequence[Mapping]
        Hits in Elasticsearch's form; more than are shown, so that rank changes are known.
    action, reason : str
        What the sidecar's response headers said the second time.
    """
    ranks = [hit["_id"] for hit in before]
    rows = [title(heading), f"{'before':<{_NAME + 7}}   after: {action} ({reason})"]
    for rank, (old, new) in enumerate(zip(before[:TOP], after[:TOP], strict=False)):
        change = rank_change(new["_id"], rank, ranks)
        rows.append(f"{hit_line(old['_source'])}   {hit_line(new['_source'])}  {change}")
    return rows


def history_lines(sources: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the shopper did, by name; the same product kind several times in one line."""
    counts: dict[str, int] = {}
    for source in sources:
        name = f"{source['name']} ({source['category']})"
        counts[name] = counts.get(name, 0) + 1
    return [f"  {count} × {name}" for name, count in counts.items()]


def latency_line(milliseconds: Sequence[float]) -> str:
    """The time from "message received" to "vector stored" over the demo's messages."""
    if not milliseconds:
        return "no message was stored"
    return (
        f"from message received to vector stored: p50 {statistics.median(milliseconds):.1f} ms, "
        f"max {max(milliseconds):.1f} ms ({len(milliseconds)} messages)"
    )


def categories(hits: Sequence[Mapping[str, Any]], wanted: set[str]) -> int:
    """How many of the shown hits are of the categories that the shopper bought from."""
    return sum(hit["_source"]["category"] in wanted for hit in hits[:TOP])
