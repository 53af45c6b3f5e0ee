"""Training on the checkerboard: it learns, never ends worse than it began, and can be resumed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sidecar.contract.errors import ConfigError
from sidecar.contract.history import HOUR
from sidecar.contract.schema import Architecture, Metadata
from trainer.data.split import split_by_time
from trainer.errors import TrainingError
from trainer.evaluate.metrics import rank
from trainer.learn.loop import Run, torch_scorer, train
from trainer.learn.settings import Settings
from trainer.learn.shop import Shop

SMALL = Settings(
    architecture=Architecture(width=16, heads=2, head_dimension=8),
    epochs=2,
    batch_size=64,
    examples_per_epoch=400,
)


def metadata(settings: Settings) -> Metadata:
    return Metadata(architecture=settings.architecture, product_tower=settings.product_tower)


def ndcg(run: Run, shop: Shop) -> float:
    scorer = torch_scorer(run.tower, run.products[0])
    return rank(shop.data, shop.split.test, scorer, 20).figures()["ndcg@10"]


# Among 20 products of the colour, 1 to 5 of which are seen, nothing tells them apart: about 0.25.
@pytest.mark.parametrize(
    ("settings", "least"),
    [
        (SMALL, 0.2),
        (replace(SMALL, offset_scale=0.0, offset_learning_rate=0.03), 0.2),
        (replace(SMALL, loss="mixed", mixed=(8, 8, 8)), 0.2),
        (replace(SMALL, loss="in-batch"), 0.2),
        (replace(SMALL, loss="sampled", offset_learning_rate=0.02), 0.2),
    ],
    ids=["full", "zero offsets", "mixed", "in-batch", "sampled"],
)
def test_company_is_learned(shop: Shop, settings: Settings, least: float) -> None:
    run = train([shop], metadata(settings), settings)
    assert ndcg(run, shop) > least


@pytest.mark.parametrize("kind", ["none", "linear"])
def test_the_result_is_never_worse_than_the_start(shop: Shop, kind: str) -> None:
    settings = replace(SMALL, product_tower=kind, learning_rate=0.5, epochs=1)
    run = train([shop], metadata(settings), settings)
    kept = run.curve[run.best].validation
    assert kept == max(e.validation for e in run.curve)
    assert run.curve[0].number == 0


def test_the_same_seed_makes_the_same_tower(shop: Shop) -> None:
    settings = replace(SMALL, epochs=1)
    one, two = (train([shop], metadata(settings), settings).tower.tensors() for _ in range(2))
    other = train([shop], metadata(settings), replace(settings, seed=1)).tower.tensors()
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert not np.array_equal(one["W_in"], other["W_in"])


@pytest.mark.parametrize("loss", ["full", "mixed"])
def test_a_stopped_run_goes_on_as_if_it_had_not_been(shop: Shop, tmp_path: Path, loss: str) -> None:
    settings = replace(SMALL, epochs=2, loss=loss)
    whole = train([shop], metadata(settings), settings)

    class StopError(Exception):
        pass

    def stop(epoch: object) -> None:
        if getattr(epoch, "number", 0) == 2:
            raise StopError

    path = tmp_path / "run.checkpoint.safetensors"
    with pytest.raises(StopError):
        train([shop], metadata(settings), settings, checkpoint=path, on_epoch=stop)
    resumed = train([shop], metadata(settings), settings, checkpoint=path)
    assert [e.validation for e in resumed.curve] == [e.validation for e in whole.curve]
    ours, theirs = resumed.tower.tensors(), whole.tower.tensors()
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)


def test_types_that_the_data_lack_keep_their_business_weights(shop: Shop) -> None:
    """The checkerboard holds clicks alone; a tenth of the examples say something else."""
    settings = replace(SMALL, relabel=0.5, offset_scale=0.0, offset_learning_rate=0.03)
    before = metadata(settings).vocabulary.weights
    run = train([shop], metadata(settings), settings)
    after = dict(zip(before, run.tower.tensors()["g"], strict=True))
    assert run.best > 0
    for name in before:
        assert after[name] / after["product_clicked"] == pytest.approx(
            before[name] / before["product_clicked"], rel=0.02
        )


def test_a_loss_that_is_not_finite_ends_in_one_line(shop: Shop) -> None:
    vectors = shop.vectors.copy()
    vectors[:, 0] = np.nan
    broken = replace(shop, vectors=vectors)
    settings = replace(SMALL, product_tower="none")
    with pytest.raises(TrainingError, match="the loss is nan in epoch 1, step 0"):
        train([broken], metadata(settings), settings)


def baskets(shop: Shop, *, shuffled: bool) -> Shop:
    """The shop with the events of a customer and a day at one moment, six at a time."""
    day = 24 * HOUR
    data = replace(shop.data, at=shop.data.at // day * day, shuffled=shuffled)
    return replace(shop, data=data, split=split_by_time(data))


def test_the_order_inside_a_moment_is_drawn_anew_for_each_epoch(shop: Shop) -> None:
    one = baskets(shop, shuffled=True)
    draws = [one.examples(SMALL.limits, np.random.default_rng(i)) for i in range(3)]
    train_part = one.data.at < one.split.cuts[0]
    expected = sorted(
        zip(one.data.customer[train_part], one.data.at[train_part], one.data.product[train_part],
            strict=True)
    )  # fmt: skip
    for data, cases in draws:
        # The same events, in the order of customers and moments; nothing of the later parts.
        columns = list(zip(data.customer, data.at, data.product, strict=True))
        assert sorted(columns) == expected
        assert (np.lexsort((data.at, data.customer)) == np.arange(len(data.at))).all()
        assert len(cases) == len(one.split.train)
    first, second, third = (tuple(data.product) for data, _ in draws)
    assert len({first, second, third}) == 3
    again, _ = one.examples(SMALL.limits, np.random.default_rng(0))
    assert tuple(again.product) == first


def test_an_order_that_a_file_has_is_left_alone(shop: Shop) -> None:
    one = baskets(shop, shuffled=False)
    data, cases = one.examples(SMALL.limits, np.random.default_rng(0))
    assert data is one.data
    assert cases is one.split.train


def test_a_shop_of_shuffled_baskets_is_learned(shop: Shop) -> None:
    one = baskets(shop, shuffled=True)
    run = train([one], metadata(SMALL), SMALL)
    assert ndcg(run, one) > 0.2


def test_several_shops_share_a_tower_without_a_shift(shop: Shop) -> None:
    settings = replace(SMALL, product_tower="none", shift=False, epochs=1)
    run = train([shop, shop], metadata(settings), settings)
    assert len(run.products) == 2
    assert not run.tower.tensors()["W_out"].any()
    assert not run.tower.tensors()["b_out"].any()


def test_settings_refuse_what_makes_no_sense() -> None:
    for name, value in [
        ("epochs", 0),
        ("loss", "x"),
        ("history_dropout", 1.0),
        ("average", 1.0),
        ("batch_size", -1),
        ("label_weight", float("nan")),
        ("learning_rate", float("inf")),
        ("offset_scale", -1.0),
    ]:
        with pytest.raises(ConfigError, match=name):
            replace(SMALL, **{name: value})  # type: ignore[arg-type]


def test_torch_is_left_as_it_was() -> None:
    assert torch.get_default_dtype() == torch.float32
