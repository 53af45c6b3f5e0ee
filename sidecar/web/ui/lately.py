"""Who was active lately, with the last thing that each of them did. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.elastic.activity import Active
from sidecar.updates.explain import ago, deed
from sidecar.web.shoppers import name_of


class Lately(NamedTuple):
    """One shopper of the list.

    Parameters
    ----------
    customer_id : str
    did, product : str
        The newest interaction: ``bought``, and the product's name.
    when : str
        Of that interaction: ``12 minutes ago``.
    interactions : int
    """

    customer_id: str
    did: str
    product: str
    when: str
    interactions: int


def newest(active: Sequence[Active]) -> list[str]:
    """The products of the newest interactions."""
    return [_newest(one)[0] for one in active if one.interactions]


def lately(
    active: Sequence[Active], sources: Mapping[str, Mapping[str, Any]], now: float
) -> list[Lately]:
    """The list, in its order.

    Parameters
    ----------
    active : Sequence[Active]
    sources : Mapping[str, Mapping]
        Documents of the products, as far as they are known.
    now : float
        Seconds since 1970-01-01 UTC.
    """
    found = []
    for one in active:
        if one.interactions:
            product_id, event, at = _newest(one)
            name = name_of(sources.get(product_id, {}), product_id)
            when = ago(now - at / 1e6)
            found.append(Lately(one.customer_id, deed(event), name, when, len(one.interactions)))
    return found


def _newest(one: Active) -> tuple[str, str, int]:
    # Stored oldest first: of those of one moment the last one counts as the newest.
    return max(reversed(one.interactions), key=lambda interaction: interaction[2])
