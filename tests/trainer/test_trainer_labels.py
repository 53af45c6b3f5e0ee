"""Labels are in the text, and the auxiliary term pulls what shares one together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from sidecar.contract.schema import Architecture, Metadata
from trainer.learn.loop import train
from trainer.learn.settings import Settings
from trainer.learn.shop import Shop

SETTINGS = Settings(
    architecture=Architecture(width=16, heads=2, head_dimension=8),
    epochs=1,
    batch_size=32,
    examples_per_epoch=300,
    product_tower="linear",
)


def closeness(shop: Shop, weight: float) -> float:
    """How much closer products with a common label are than others."""
    settings = replace(SETTINGS, label_weight=weight, product_learning_rate=0.01)
    metadata = Metadata(architecture=settings.architecture, product_tower="linear")
    run = train([shop], metadata, settings)
    with torch.no_grad():
        q = run.products[0]().numpy()
    cosine = q @ q.T
    same = np.arange(len(q))[:, None] % 2 == np.arange(len(q)) % 2
    np.fill_diagonal(same, False)
    return float(cosine[same].mean() - cosine[~same].mean())


def test_the_switch_changes_where_products_are(shop: Shop) -> None:
    # The label is the colour, which is what shoppers stay with: pulling together is also better
    # ranking, so that the epoch that is kept is a trained one.
    catalogue = shop.data.catalogue
    labels = [("even", "odd")[i % 2 : i % 2 + 1] for i in range(len(catalogue))]
    tagged = replace(shop, data=replace(shop.data, catalogue=replace(catalogue, labels=labels)))
    assert closeness(tagged, 5.0) > closeness(tagged, 0.0) + 0.05
