"""Which requests are pages of one search. Pure; see docs/rewriting.md, "Pages agree"."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sidecar.search.jsontext import ObjectText


def pin_key(customer_id: str, expression: str, body: ObjectText | None) -> str:
    """Names a shopper's search, whatever its page: the parts that choose and score its hits."""
    parts: list[Any] = [customer_id, expression]
    if body is not None:
        parts += [body.value("query"), body.value("knn"), body.value("collapse")]
        parts += [body.value("post_filter"), body.value("min_score")]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def starts_at_zero(parameters: Mapping[str, str], body: ObjectText | None) -> bool:
    """Whether a search asks for its first page."""
    start = parameters.get("from", None if body is None else body.value("from"))
    return start in (None, 0, "0")
