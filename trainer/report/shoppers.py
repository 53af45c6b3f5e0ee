"""Some shoppers in full: what they did, what each of it counts for, and what they are shown."""

from __future__ import annotations

from html import escape

import numpy as np

from sidecar.contract.weights import F32
from sidecar.tower.load import Tower
from sidecar.tower.served import served_tower
from trainer.data.cases import pad
from trainer.data.dataset import I32
from trainer.evaluate.baselines import baselines
from trainer.learn.shop import Shop

TOP = 5


def shown_shoppers(tower: Tower, shop: Shop, q: F32, baseline: str, most: int) -> str:
    """Test cases as HTML; nobody is named.

    Parameters
    ----------
    tower : Tower
    shop : Shop
    q : float32, shape (N, D)
        Product vectors in the space of the weights.
    baseline : str
        Whose first five stand beside the tower's.
    most : int
        How many shoppers.
    """
    length = tower.weights.metadata.limits.max_interactions
    cases = shop.split.test.sample(most, np.random.default_rng(1))
    histories = pad(shop.data, cases, length)
    products = np.where(histories.valid[..., None], q[histories.products], np.float32(0))
    users, shares = served_tower(
        tower.folded, products, histories.events, histories.ages, histories.lengths
    )
    # Coefficients of the sum over the shopper's own products, as parts of it.
    shares = shares / np.maximum(np.abs(shares).sum(axis=1, keepdims=True), 1e-12)
    every = baselines(shop.data, shop.vectors, shop.split, length)
    theirs = next(scorer for name, scorer in every if name == baseline)(histories)
    shown = []
    for row in range(len(cases)):
        own = histories.products[row, : histories.lengths[row]]
        target = int(shop.data.product[cases.target[row]])
        listed = "".join(
            f"<li>{_share(s)}{_name(shop, int(p))} "
            f"<i>{shop.data.vocabulary.names[int(e)]}, {age:.1f} h before</i></li>"
            for p, e, s, age in zip(
                own, histories.events[row], shares[row], histories.ages[row], strict=False
            )
        )
        next_ = escape(shop.data.vocabulary.names[int(shop.data.event[cases.target[row]])])
        columns = "".join(
            f"<div><b>{escape(title)}</b>{_top(shop, scores, own, target)}</div>"
            for title, scores in (
                (f"Best vector baseline: {baseline}", theirs[row]),
                ("Tower", q @ users[row]),
            )
        )
        shown.append(
            f'<div class="shopper"><b>History</b>, oldest first, with the part that each product '
            f"has in the shopper's vector<ol>{listed}</ol><b>What came next</b>: "
            f'{_name(shop, target)} ({next_})<div class="two">{columns}</div></div>'
        )
    return "".join(shown)


def _share(share: float) -> str:
    width = min(100.0, max(0.0, 100 * share))
    return f'<span class="share"><b style="width:{width:.0f}%"></b></span>{share:.0%} '


def _top(shop: Shop, scores: F32, own: I32, target: int) -> str:
    scores = np.array(scores, np.float32)
    scores[own] = -np.inf
    place = int((scores > scores[target]).sum()) + 1
    marked = [
        f"<li>{'<mark>' if p == target else ''}{_name(shop, int(p))}"
        f"{'</mark>' if p == target else ''}</li>"
        for p in np.argsort(-scores, kind="stable")[:TOP]
    ]
    return f"<ol>{''.join(marked)}</ol>what came next is number {place:,}"


def _name(shop: Shop, place: int) -> str:
    text = shop.data.catalogue.texts[place]
    return escape(text if len(text) <= 90 else text[:89] + "…")
