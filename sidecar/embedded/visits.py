"""Visits of the public data set's households: what each bought before, and bought afterwards."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from sidecar.contract.errors import ConfigError
from sidecar.embedded.catalogue import Purchase, sales

#: Days of purchases before a visit, as long as histories are; days after it that it is for.
BEFORE_DAYS, LATER_DAYS = 2, 28
#: Visits are of the year's last quarter: weights may be trained on what was sold before.
FIRST_DAY = "2017-10-01"
#: As many interactions as a history holds.
MOST_BEFORE = 20


@dataclass(frozen=True)
class Visit:
    """A moment in a household's year.

    Parameters
    ----------
    customer_id : str
    before : tuple[Purchase, ...]
        What it bought that day and the day before, oldest first; at most 20.
    later : tuple[str, ...]
        Products that it bought in the four weeks after that day, the first one first.
    """

    customer_id: str
    before: tuple[Purchase, ...]
    later: tuple[str, ...]


def load_visits(count: int, known: set[str], seed: int) -> list[Visit]:
    """One visit of each of so many households.

    The day is drawn among those from :data:`FIRST_DAY` on, on which the household bought something
    and after which it came back within the four weeks. Who is drawn depends on the seed alone.

    Parameters
    ----------
    count : int
    known : set[str]
        Products of the catalogue; others are left out.
    seed : int

    Raises
    ------
    ConfigError
        If the data set is not installed, or has fewer households that fit.
    """
    sold = sales()[["household_id", "product_id", "transaction_timestamp"]].copy()
    sold["product_id"] = sold["product_id"].astype(str)
    sold = sold[sold["product_id"].isin(known)].sort_values(["transaction_timestamp", "product_id"])
    sold = sold[sold["transaction_timestamp"] >= FIRST_DAY]
    stamps = sold["transaction_timestamp"]
    sold["at"] = stamps.dt.as_unit("us").astype("int64") / 1e6
    sold["day"] = stamps.dt.normalize().dt.as_unit("s").astype("int64") // 86_400
    households = {str(name): own for name, own in sold.groupby("household_id")}
    names = sorted(households)
    random.Random(seed).shuffle(names)  # noqa: S311 - a simulation
    found = _visits(names, households, seed)
    visits = [one for one, _ in zip(found, range(count), strict=False)]
    if len(visits) < count:
        raise ConfigError("shoppers", count, f"at most {len(visits)}: so many households fit")
    return visits


def _visits(names: list[str], households: Mapping[str, Any], seed: int) -> Iterator[Visit]:
    for name in names:
        own = households[name]
        days = sorted(set(own["day"]))
        fits = [day for day, after in pairwise(days) if after - day <= LATER_DAYS]
        if not fits:
            continue
        day = random.Random(f"{seed} {name}").choice(fits)  # noqa: S311 - a simulation
        before = own[(own["day"] <= day) & (own["day"] > day - BEFORE_DAYS)]
        before = before.drop_duplicates("product_id", keep="last").tail(MOST_BEFORE)
        later = own[(own["day"] > day) & (own["day"] <= day + LATER_DAYS)]
        lines = zip(before["product_id"], before["at"], strict=True)
        yield Visit(
            name,
            tuple(Purchase(product, at) for product, at in lines),
            tuple(dict.fromkeys(later["product_id"])),
        )
