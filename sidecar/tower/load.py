"""A weights file that is ready to serve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
    users = run_golden(folded, weights.golden)
    error = np.abs(users - weights.golden.users).max()
    # Not "error > tolerance": NaN must be refused too.
    if not error <= GOLDEN_TOLERANCE:
        raise WeightsError(
            path,
            f"numpy is {error:.2g} away from the golden vectors: expected at most "
            f"{GOLDEN_TOLERANCE:g} (damaged file, or a trainer of another release)",
        )
    return Tower(weights, folded, path)


def run_golden(folded: Folded, golden: Golden) -> F32:
    """What the served form makes of the golden histories; shape (G, D)."""
    positions = np.arange(golden.products.shape[1])
    valid = positions < golden.lengths[:, None]
    products = np.where(valid[..., None], golden.products, np.float32(0))
    with np.errstate(all="ignore"):
        return served_tower(folded, products, golden.events, golden.ages, golden.lengths)[0]
