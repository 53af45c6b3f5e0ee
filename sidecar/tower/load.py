"""A weights file that is ready to serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidecar.contract.errors import WeightsError
from sidecar.contract.weights import F32, Golden, Weights, read_weights
from sidecar.tower.served import Folded, fold, served_tower

#: How far numpy may be from the golden vectors, in each component of a unit vector.
GOLDEN_TOLERANCE = 1e-5


@dataclass(frozen=True)
class Tower:
    """Checked weights with their folded form.

    Parameters
    ----------
    weights : Weights
    folded : Folded
    path : str
        Where they came from.
    """

    weights: Weights
    folded: Folded
    path: str = ""


def load_tower(path: str | Path) -> Tower:
    """Read a weights file, and refuse it unless numpy reproduces its golden vectors.

    Raises
    ------
    WeightsError
        With one clear reason.
    """
    return check_tower(read_weights(path), str(path))


def check_tower(weights: Weights, path: str = "weights") -> Tower:
    """The same for weights that are in memory already.

    Raises
    ------
    WeightsError
    """
    folded = fold(weights)
    constants = folded._asdict().items()
    overflown = [name for name, constant in constants if not _is_finite(constant)]
    if overflown:
        raise WeightsError(
            path, f"products of its tensors ({', '.join(overflown)}) overflow float32"
        )
    error = golden_error(folded, weights.golden)
    # Not "error > tolerance": NaN must be refused too.
    if not error <= GOLDEN_TOLERANCE:
        raise WeightsError(
            path,
            f"numpy is {error:.2g} away from the golden vectors: expected at most "
            f"{GOLDEN_TOLERANCE:g} (damaged file, or a trainer of another release)",
        )
    return Tower(weights, folded, path)


def golden_error(folded: Folded, golden: Golden) -> float:
    """The largest distance from the golden vectors, in any component; NaN where there is none.

    Each history is computed both alone and among the others: those are two paths.
    """
    valid = np.arange(golden.products.shape[1]) < golden.lengths[:, None]
    products = np.where(valid[..., None], golden.products, np.float32(0))

    def users(rows: slice) -> F32:
        return served_tower(
            folded, products[rows], golden.events[rows], golden.ages[rows], golden.lengths[rows]
        )[0]

    together = users(slice(None))
    alone = [users(slice(row, row + 1)) for row in range(len(products))]
    error = np.abs(np.stack([together, np.concatenate(alone)]) - golden.users)
    return float(error.max())


def _is_finite(constant: Any) -> bool:
    return constant is None or bool(np.isfinite(constant).all())
