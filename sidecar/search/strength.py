"""How much a shopper's taste counts: the dial, and how sure we are of the taste."""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase

from sidecar.search.settings import SearchSettings


def confidence(evidence: float, half: float) -> float:
    """0 to 1, rising: one view is not twenty carts.

    Parameters
    ----------
    evidence : float
        Sum of the event weights of the shopper's history.
    half : float
        Evidence at which confidence is one half; 0 trusts every history fully.
    """
    if half <= 0:
        return 1.0
    evidence = max(evidence, 0.0)
    return evidence / (evidence + half)


def impact_for(asked: float | None, indices: tuple[str, ...], settings: SearchSettings) -> float:
    """Impact, 0 to 100: of the request, else of the index, else of all.

    Where several indices have impacts of their own, the smallest counts.
    """
    if asked is not None:
        return asked
    if not settings.index_impact:
        return settings.impact
    return min(_index_impact(i, settings.index_impact, settings.impact) for i in indices or ("",))


def _index_impact(index: str, impacts: Mapping[str, float], default: float) -> float:
    for pattern, impact in impacts.items():
        if fnmatchcase(index, pattern):
            return impact
    return default


def boost(impact: float, evidence: float, settings: SearchSettings) -> float:
    """``a`` of ``score x (1 + a u)``.

    Parameters
    ----------
    impact : float
        0 to 100.
    evidence : float
    settings : SearchSettings
    """
    return settings.max_boost * impact / 100.0 * confidence(evidence, settings.half_evidence)
