"""The learned baselines, where the answer is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from checkerboard import HOUR, Files
from click.testing import CliRunner

from sidecar.contract.events import EventVocabulary
from sidecar.contract.history import DEFAULT_LIMITS, HistoryLimits
from trainer.cli import cli
from trainer.data.cases import pad
from trainer.data.dataset import Catalogue, Dataset
from trainer.data.split import Split, split_by_time
from trainer.evaluate import extra, sasrec
from trainer.evaluate.metrics import rank
from trainer.learn.shop import Shop

N = 30


def ring(shoppers: int = 400, visit: int = 8) -> Dataset:
    """Everybody goes round the same ring of products: what comes next depends on the order alone."""
    rng = np.random.default_rng(0)
    start = rng.integers(0, N, shoppers)
    begun = np.sort(rng.integers(0, 60 * 24, shoppers)) * HOUR
    steps = np.arange(visit)
    ids = tuple(f"p{i}" for i in range(N))
    return Dataset(
        "ring",
        Catalogue(ids, ids, np.zeros(N, np.int32)),
        EventVocabulary(),
        customer=np.repeat(np.arange(shoppers), visit).astype(np.int32),
        product=((start[:, None] + 7 * steps) % N).ravel().astype(np.int32),
        event=np.zeros(shoppers * visit, np.int32),
        at=(begun[:, None] + steps * HOUR).ravel(),
    )


@pytest.fixture(scope="module")
def data() -> Dataset:
    return ring()


@pytest.fixture(scope="module")
def split(data: Dataset) -> Split:
    return split_by_time(data)


@pytest.mark.parametrize("full_softmax", [100, 0], ids=["softmax", "one negative"])
def test_sasrec_learns_an_order(
    data: Dataset, split: Split, full_softmax: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sasrec, "FULL_SOFTMAX", full_softmax)
    said: list[float] = []
    scorer = sasrec.sasrec(
        data, split, DEFAULT_LIMITS, epochs=40, on_epoch=lambda _, value: said.append(value)
    )
    found = rank(data, split.test, scorer, 20).figures()["ndcg@10"]
    # There is one right answer of 30, and it is the next on the ring.
    assert found > (0.98 if full_softmax else 0.9)
    assert said[0] < found


def test_sasrec_sees_no_future_and_no_padding(data: Dataset) -> None:
    model = sasrec.SASRec(N, 20).eval()
    some = torch.tensor([[3, 4, 5, 6], [3, 4, 0, 0]])
    with torch.no_grad():
        long, short = model(some, torch.tensor([4, 2]))
        alone = model(some[1:, :2], torch.tensor([2]))[0]
        other = model(torch.tensor([[3, 4, 9, 9]]), torch.tensor([4]))[0]
    assert torch.allclose(short[:2], alone, atol=1e-6)
    assert torch.allclose(long[:2], other[:2], atol=1e-6)
    assert not torch.allclose(long[2:], other[2:], atol=1e-2)


def test_visits_are_the_train_part_s_steps_each_once(data: Dataset, split: Split) -> None:
    limits = HistoryLimits(3, 48)
    products, lengths = sasrec.visits(data, split, limits)
    assert lengths.min() >= 2
    assert products.shape[1] == 4
    pairs = [
        (int(row[i]), int(row[i + 1]))
        for row, length in zip(products, lengths, strict=True)
        for i in range(length - 1)
    ]
    train = data.at < split.cuts[0]
    steps = train[1:] & train[:-1] & (data.customer[1:] == data.customer[:-1])
    assert len(pairs) == steps.sum()
    assert all((a + 7) % N == b for a, b in pairs)
    # A gap as long as the window ends a visit: with one of an hour nothing follows anything.
    assert not len(sasrec.visits(data, split, replace(limits, window_hours=1))[1])


def test_the_same_seed_is_the_same_sasrec(data: Dataset, split: Split) -> None:
    histories = pad(data, split.test.take(np.arange(5)), 20)
    before = torch.random.get_rng_state()
    one, two = (sasrec.sasrec(data, split, DEFAULT_LIMITS, epochs=1)(histories) for _ in range(2))
    assert np.array_equal(one, two)
    assert torch.equal(before, torch.random.get_rng_state())


def test_als_finds_company_on_the_checkerboard(shop: Shop) -> None:
    pytest.importorskip("implicit")
    scorer = extra.als(shop.data, shop.split, DEFAULT_LIMITS)
    found = rank(shop.data, shop.split.test, scorer, 20).figures()["ndcg@10"]
    # Of 20 products of the colour, nothing tells those apart that were not seen: about 0.25.
    assert found > 0.2
    histories = pad(shop.data, shop.split.test, 20)
    colour = histories.products[:, 0] % 2
    best = scorer(histories).argmax(1) % 2
    assert (best == colour).mean() > 0.95


def test_evaluate_has_them_on_demand_and_says_what_is_missing(
    weights: Path, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extra.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sasrec, "EPOCHS", 1)
    arguments = [
        "evaluate", "--weights", str(weights), "--products", str(files.products),
        "--events", str(files.events), "--vectors", str(files.vectors), "--extra-baselines",
    ]  # fmt: skip
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    assert "ALS is left out: implicit is not installed" in done.stderr
    found = json.loads(done.stdout)
    assert "SASRec" in found["results"]
    assert "ALS" not in found["results"]
    assert found["passes_gate"] is True
