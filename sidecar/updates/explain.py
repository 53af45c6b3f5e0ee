"""Why a shopper's vector is what it is: each interaction's share, and in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sidecar.contract.history import History, Interaction, merge
from sidecar.contract.weights import F32
from sidecar.tower.histories import to_batch
from sidecar.tower.load import Tower
from sidecar.tower.served import served_tower

_WORDS: Mapping[str, str] = {
    "product_viewed": "viewed",
    "product_clicked": "clicked",
    "product_added_to_cart": "added to the cart",
    "product_favorited": "added to the favorites",
    "product_shared": "shared",
    "product_checkout_started": "taken to the checkout",
    "product_purchased": "bought",
}
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


@dataclass(frozen=True)
class Influence:
    """What one interaction does to the user vector.

    Parameters
    ----------
    interaction : Interaction
    share : float or None
        Its coefficient over the sum of all coefficients' absolute values, -1 to 1; negative
        where the attention moves the vector away from the product. ``None`` where it does not
        count: its product has no vector, or the weights do not know its event.
    """

    interaction: Interaction
    share: float | None


@dataclass(frozen=True)
class Explanation:
    """A history as the tower sees it.

    Parameters
    ----------
    influences : tuple[Influence, ...]
        Newest first.
    vector : float32 array of shape (D,), optional
        As the tower makes it now; ``None`` for "no vector".
    from_products : float or None
        Cosine between the user vector and the mix of the shopper's own products: what the
        learned shift adds is what is missing from 1.
    """

    influences: tuple[Influence, ...]
    vector: F32 | None
    from_products: float | None


def explain(history: History, vectors: Mapping[str, F32], tower: Tower) -> Explanation:
    """Run the tower on a history and keep what it attends to.

    Parameters
    ----------
    history : History
    vectors : Mapping[str, float32 array of shape (D,)]
        Unit vectors of those products that have one.
    tower : Tower
    """
    metadata = tower.weights.metadata
    kept = merge(history, limits=metadata.limits)
    batch = to_batch(
        [kept],
        vectors,
        metadata.vocabulary,
        metadata.architecture.dimension,
        metadata.limits.max_interactions,
    )
    users, coefficients = served_tower(
        tower.folded, batch.products, batch.events, batch.ages, batch.lengths
    )
    used = batch.used[0]
    own = coefficients[0, : len(used)]
    total = float(np.abs(own).sum())
    shares = {
        interaction: float(one) / total if total > 0 else 0.0
        for interaction, one in zip(used, own, strict=True)
    }
    vector = users[0] if np.any(users[0]) else None
    influences = tuple(Influence(one, shares.get(one)) for one in reversed(kept))
    mix = own @ batch.products[0, : len(used)]
    return Explanation(influences, vector, None if vector is None else _cosine(mix, vector))


def _cosine(mix: F32, unit: F32) -> float:
    norm = float(np.linalg.norm(mix))
    return float(mix @ unit) / norm if norm > 0 else 0.0


@dataclass(frozen=True)
class Reason:
    """Why a product is near a shopper: one product of the history.

    Parameters
    ----------
    interaction : Interaction
        The one with that product which counts most.
    part : float
        What it adds to the nearness, over the sum of what all add in either direction; 0 to 1.
    """

    interaction: Interaction
    part: float


def reasons(
    explanation: Explanation,
    vectors: Mapping[str, F32],
    product: F32,
    *,
    floor: float = 0.0,
    most: int = 3,
) -> list[Reason]:
    """What of the history makes a product near, strongest first.

    The cosine of the history's mix with a product is a sum over the history: share times cosine,
    over the mix's length. What lifts a product is what each term has above its part of the floor.

    Parameters
    ----------
    explanation : Explanation
    vectors : Mapping[str, float32 array of shape (D,)]
        Unit vectors of the history's products.
    product : float32 array of shape (D,)
        Unit vector of the product in question.
    floor : float
        Cosine at which ranking begins (the calibration's ``lo``): being no nearer than anything
        else in the shop is no reason.
    most : int
        How many reasons.
    """
    counted = [
        (one.interaction, one.share)
        for one in explanation.influences
        if one.share is not None and one.interaction.product_id in vectors
    ]
    if not counted:
        return []
    mix = sum(share * vectors[one.product_id] for one, share in counted)
    level = floor * float(np.linalg.norm(mix))
    added: dict[str, float] = {}
    strongest: dict[str, tuple[float, Interaction]] = {}
    for one, share in counted:
        name = one.product_id
        amount = share * (float(vectors[name] @ product) - level)
        added[name] = added.get(name, 0.0) + amount
        strongest[name] = max(strongest.get(name, (amount, one)), (amount, one))
    total = sum(map(abs, added.values()))
    ranked = sorted(added, key=lambda name: (-added[name], name))[:most]
    return [Reason(strongest[name][1], added[name] / total) for name in ranked if added[name] > 0]


def deed(event: str) -> str:
    """An event in the past tense: ``added to the cart``."""
    return _WORDS.get(event) or event.removeprefix("product_").replace("_", " ")


def ago(seconds: float) -> str:
    """``12 minutes ago``; what lies in the future by a clock's error is now."""
    for size, unit in _UNITS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def in_words(influence: Influence, now: float) -> str:
    """``added to the cart 12 minutes ago: 41 %``.

    Parameters
    ----------
    influence : Influence
    now : float
        Seconds since 1970-01-01 UTC.
    """
    interaction, share = influence.interaction, influence.share
    what = f"{deed(interaction.event)} {ago(now - interaction.occurred_at / 1e6)}"
    if share is None:
        return f"{what}: does not count, the product has no vector"
    return f"{what}: {percent(share)}"


def percent(share: float) -> str:
    """A share for people: ``41 %``, ``under 1 %``, ``41 %, away from it``."""
    size = abs(share)
    text = "under 1 %" if 0 < size < 0.01 else f"{size:.0%}".replace("%", " %")
    return f"{text}, away from it" if share < 0 else text
