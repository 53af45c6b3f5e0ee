"""A weights folder, and stores on it that are closed in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sidecar.tower.store import WeightsStore
from tower.stores import Make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.mkdir()
    return path


@pytest.fixture
def store_of(folder: Path) -> Iterator[Make]:
    """Stores that only look when they are told to, unless asked otherwise."""
    made: list[WeightsStore] = []

    def make(path: Path = folder, **settings: Any) -> WeightsStore:
        defaults = {"watch": False, "settle_s": 0.0, "ask_s": 0.0}
        made.append(WeightsStore(path, **{**defaults, **settings}))
        return made[-1]

    yield make
    for store in made:
        store.close()
