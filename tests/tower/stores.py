"""What the tests of the weights store share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sidecar.contract.weights import write_weights
from sidecar.tower.store import WeightsStore
from tower import cases

Make = Callable[..., WeightsStore]

A, B, C = (cases.random_weights(seed) for seed in (1, 2, 3))
OTHER_SPACE = cases.random_weights(4, product_tower="linear")


def drop(path: Path, weights: Any, mtime: float | None = None) -> Path:
    write_weights(path, weights)
    if mtime is not None:
        os.utime(path, (mtime, mtime))
    return path


def served(store: WeightsStore) -> str:
    return store.current.weights.fingerprint


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True
