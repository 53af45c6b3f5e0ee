"""Whether an index expression stays within what the operator configured. Pure."""

from __future__ import annotations

import re
from functools import lru_cache


@lru_cache(maxsize=1024)
def is_configured(expression: str, patterns: tuple[str, ...]) -> bool:
    """Whether every part of an expression is a configured name, or falls under a wildcard.

    ``products-2*`` falls under ``products-*``: whatever the first matches, the second does.
    Nothing, ``_all``, other clusters and bare exclusions never are.
    """
    parts = expression.split(",")
    if not expression or ":" in expression or parts[0].startswith("-"):
        return False
    return all(part.startswith("-") or _falls_under(part, patterns) for part in parts)


def _falls_under(part: str, patterns: tuple[str, ...]) -> bool:
    if not part or part == "_all" or part.strip("*") == "":
        return False
    return any(part == pattern or _compiled(pattern).fullmatch(part) for pattern in patterns)


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    # Elasticsearch's wildcard is "*" and nothing else.
    return re.compile(".*".join(re.escape(piece) for piece in pattern.split("*")), re.DOTALL)
