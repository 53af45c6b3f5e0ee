"""The product tower, applied: q = normalize(p + A p + delta)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sidecar.contract.weights import F32, Weights


def apply_product_tower(weights: Weights, ids: Sequence[str], vectors: F32) -> F32:
    """Vectors in the space that the user tower of these weights was trained for; shape (N, D).

    Products that the weights do not know get no offset: they live by their text.
    """
    tower = weights.product_tower
    if tower is None:
        return vectors
    q = vectors + vectors @ tower.A.T
    if tower.delta is not None:
        row = {key: i for i, key in enumerate(tower.product_ids)}
        places = [(i, row[key]) for i, key in enumerate(ids) if key in row]
        if places:
            ours, theirs = np.array(places).T
            q[ours] += tower.delta[theirs]
    norm = np.linalg.norm(q, axis=1, keepdims=True)
    # No direction left: the text's own is better than none.
    unit = np.where(norm > 1e-6, q / np.maximum(norm, 1e-6), vectors)
    return np.asarray(unit, np.float32)
