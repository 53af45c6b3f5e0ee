"""Who is left alone, for comparison."""

from __future__ import annotations

import hashlib

from sidecar.search.settings import SearchSettings


def is_held_out(customer_id: str, settings: SearchSettings) -> bool:
    """Whether a shopper is in the comparison group: the same answer everywhere and always."""
    if settings.holdout_percent <= 0:
        return False
    digest = hashlib.sha256(f"{settings.holdout_salt}\0{customer_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < settings.holdout_percent / 100
