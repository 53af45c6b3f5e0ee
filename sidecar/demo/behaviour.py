"""How a simulated shopper looks at a list of products, and what follows. Pure.

A position-based click model (Craswell, Zoeter, Taylor, Ramsey, "An experimental comparison of
click position-bias models", WSDM 2008): the further down, the less often a product is looked at;
what is looked at is clicked by whether the shopper wants it. What a shopper wants are the products
that the same household really bought in the four weeks after. Nothing here knows whether a list
was personalised, nor who is in which group.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import NamedTuple


class Chances(NamedTuple):
    """Of one thing following another, for a product that is wanted and for any other.

    Parameters
    ----------
    click : float
        Having looked at it.
    cart : float
        Having clicked it.
    buy : float
        Having put it into the cart.
    """

    click: float
    cart: float
    buy: float


WANTED = Chances(click=0.8, cart=0.5, buy=0.7)
OTHERS = Chances(click=0.04, cart=0.1, buy=0.3)


class Deed(NamedTuple):
    """One event of a simulated shopper.

    Parameters
    ----------
    event : str
        Canonical name.
    product_id : str
    position : int
        Rank of the product in the list, from 0.
    """

    event: str
    product_id: str
    position: int


def looks_at(rank: int) -> float:
    """Probability that the product at a rank (from 0) is looked at: 1, 1/2, 1/3 ..."""
    return 1 / (rank + 1)


def deeds(
    product_ids: Sequence[str], wanted: Collection[str], done: set[str], rng: random.Random
) -> list[Deed]:
    """What a shopper does with a list.

    Parameters
    ----------
    product_ids : Sequence[str]
        As they were shown, first one first.
    wanted : Collection[str]
        Products that the shopper has come for.
    done : set[str]
        Products that were clicked before in this visit: nobody clicks them again. Grows.
    rng : random.Random

    Returns
    -------
    list[Deed]
        In the order in which they happen.
    """
    found: list[Deed] = []
    for rank, product_id in enumerate(product_ids):
        chances = WANTED if product_id in wanted else OTHERS
        # All draws at each rank, used or not: two orders of one list meet the same luck.
        looked, click, cart, buy = (rng.random() for _ in range(4))
        if looked >= looks_at(rank) or click >= chances.click or product_id in done:
            continue
        done.add(product_id)
        found.append(Deed("product_clicked", product_id, rank))
        if cart < chances.cart:
            found.append(Deed("product_added_to_cart", product_id, rank))
            if buy < chances.buy:
                found.append(Deed("product_purchased", product_id, rank))
    return found
