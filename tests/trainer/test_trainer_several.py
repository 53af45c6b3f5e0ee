"""Several shops at once: what chooses between towers, and the table that leaves one shop out."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkerboard import QUICK, Files, write_shop

import trainer.train as subject
from sidecar.contract.schema import Architecture, Metadata
from trainer.cli import main
from trainer.evaluate.metrics import Ranking, figures
from trainer.learn import loop
from trainer.learn.loop import Run, train
from trainer.learn.settings import Settings
from trainer.learn.shop import Shop


@pytest.fixture
def both(files: Files, tmp_path: Path) -> list[Files]:
    other = tmp_path / "other"
    other.mkdir()
    return [files, write_shop(other, seed=1)]


def several(both: Sequence[Files], out: Path, *more: str) -> list[str]:
    shops = [
        argument
        for one in both
        for argument in (
            "--products", str(one.products), "--events", str(one.events),
            "--vectors", str(one.vectors),
        )
    ]  # fmt: skip
    return ["train", *shops, "--out", str(out), *QUICK, *more]


def test_a_shop_of_small_figures_counts_as_much_as_another(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is validated is the geometric mean over the shops."""
    settings = Settings(
        architecture=Architecture(width=16, heads=2, head_dimension=8),
        product_tower="none", shift=False, epochs=1, batch_size=64, examples_per_epoch=64,
    )  # fmt: skip
    ranks = {0.5: np.zeros(2), 0.02: np.zeros(50)}
    for ndcg, found in ranks.items():
        found[1:] = np.inf
        assert figures(found)["ndcg@10"] == ndcg
    turns = cycle(Ranking(found, 1.0) for found in ranks.values())
    monkeypatch.setattr(loop, "rank", lambda *arguments: next(turns))
    run = train([shop, shop], Metadata(architecture=settings.architecture), settings)
    assert [e.validation for e in run.curve] == pytest.approx([0.1, 0.1])


def test_nothing_is_learned_from_the_shop_that_is_left_out(
    both: list[Files], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    trained: list[list[str]] = []

    def spy(shops: Sequence[Shop], *arguments: Any, **named: Any) -> Run:
        trained.append([one.data.fingerprint for one in shops])
        return train(shops, *arguments, **named)

    monkeypatch.setattr(subject, "train", spy)
    out = tmp_path / "w.safetensors"
    main(several(both, out, "--leave-one-out", "--force"))
    a, b = trained[-1]  # at last, what is written: both together
    assert a != b
    assert trained == [[b], [a], [a], [b], [a, b]]
    table = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    assert head[1:4] == ["trained on the others", "trained on itself", "last product"]
    assert len(rows) == 2
    for row in rows:
        assert len(row) == len(head)
        assert all(0 < float(cell) < 1 for cell in row[1:])
        # Company is what these shops are about, and no text tells of it.
        assert float(row[head.index("item-kNN")]) > 1.2 * float(row[1])


def test_one_shop_cannot_be_left_out(files: Files, tmp_path: Path, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        main(several([files], tmp_path / "w.safetensors", "--leave-one-out"))
    assert "--leave-one-out: expected" in capsys.readouterr().err
