"""docs/weights.md explains refusals in the words that an operator really sees."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_explained_reason_is_a_real_one() -> None:
    text = (ROOT / "docs" / "weights.md").read_text()
    table = text.split("| reason says |")[1].split("\n\n")[0]
    source = "".join(
        path.read_text()
        for layer in ("contract", "tower")
        for path in (ROOT / "sidecar" / layer).glob("*.py")
    )
    # Messages are put together from adjacent pieces; values stand where the table has an ellipsis.
    flat = re.sub(r'"\s*f?"', "", source)
    reasons = [
        part.strip(" .:)")
        for row in table.splitlines()[2:]
        for quoted in re.findall(r"`([^`]+)`", row.split("|")[1])
        for part in quoted.split("…")
    ]
    assert len(reasons) > 25
    missing = [reason for reason in reasons if reason not in flat]
    assert not missing
