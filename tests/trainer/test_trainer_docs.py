"""What a person reads agrees with what the commands do."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.contract.product_text import DEFAULT_FIELDS
from trainer.cli import COMMANDS
from trainer.evaluate.baselines import VECTOR_BASELINES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    assert f"`trainer {name}`" in (DOCS / "training.md").read_text()


def test_every_column_is_documented() -> None:
    page = (DOCS / "training.md").read_text()
    assert ", ".join(DEFAULT_FIELDS) in page


def test_every_baseline_is_documented() -> None:
    page = (DOCS / "evaluation.md").read_text()
    for name in (*VECTOR_BASELINES, "item-kNN tuned", "recent popularity"):
        assert name in page
