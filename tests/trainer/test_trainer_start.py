"""Where training starts: the best of a few models that are not trained; and what it keeps: a mean."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from sidecar.contract.schema import Architecture, Metadata
from sidecar.tower.prior import RANK_DECAY
from trainer.learn.average import Average
from trainer.learn.loop import train
from trainer.learn.settings import Settings
from trainer.learn.shop import Shop
from trainer.learn.start import DECAYS, SCALES, Start, begin_with, best_start
from trainer.model.products import ProductTowerModel
from trainer.model.tower import UserTower

SETTINGS = Settings(
    architecture=Architecture(width=16, heads=2, head_dimension=16), epochs=1, batch_size=64
)


def length(start: Start) -> float:
    return 0.0 if start.offsets is None else float(start.offsets.norm(dim=1).max())


def test_the_best_of_every_length_and_decay_is_chosen(shop: Shop) -> None:
    tried: list[tuple[float, float]] = []

    def value(start: Start) -> float:
        tried.append((round(length(start), 3), start.rank_decay))
        return len(tried) if start.rank_decay == DECAYS[2] else 0.0

    best = best_start([shop], SETTINGS, value)
    grid = [(scale, decay) for scale in SCALES for decay in DECAYS]
    assert tried == [(0.0, RANK_DECAY), *grid]
    assert (round(length(best), 3), best.rank_decay) == (SCALES[-1], DECAYS[2])
    assert best.described() == {"offset_scale": 1.5, "step_back": 0.368}


def test_the_plain_start_wins_where_company_says_nothing(shop: Shop) -> None:
    best = best_start([shop], SETTINGS, lambda start: -length(start))
    assert best == Start(None, RANK_DECAY)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (replace(SETTINGS, offset_scale=2.5), {0.0, 2.5}),
        (replace(SETTINGS, offset_scale=0.0), {0.0}),
        (replace(SETTINGS, product_tower="linear"), {0.0}),
        (replace(SETTINGS, product_tower="none"), {0.0}),
    ],
    ids=["chosen length", "no offsets", "linear", "none"],
)
def test_lengths_follow_the_settings(shop: Shop, settings: Settings, expected: set[float]) -> None:
    seen: dict[float, set[float]] = {}

    def value(start: Start) -> float:
        seen.setdefault(round(length(start), 3), set()).add(start.rank_decay)
        return 0.0

    assert best_start([shop], settings, value) == Start()
    assert set(seen) == expected
    assert seen[max(seen)] == set(DECAYS)


def test_without_offsets_the_best_decay_is_chosen(shop: Shop) -> None:
    frozen = replace(SETTINGS, product_tower="none")
    best = best_start([shop, shop], frozen, lambda start: -abs(start.rank_decay - 0.9))
    assert best == Start(None, 1.0)


def test_a_start_is_put_into_the_models(shop: Shop) -> None:
    vectors = torch.from_numpy(shop.vectors)
    known = torch.ones(len(vectors), dtype=torch.bool)
    known[3] = False
    model = ProductTowerModel(vectors, "linear+id", known)
    tower = UserTower(Metadata(architecture=SETTINGS.architecture))
    begin_with(Start(torch.ones_like(vectors), 1.5), tower, [model])
    assert tower.tensors()["lambda_rank"] == pytest.approx(1.5)
    assert bool((model.delta.weight[known] == 1).all())
    assert not model.delta.weight[3].any()
    begin_with(Start(), tower, [model])
    assert tower.tensors()["lambda_rank"] == pytest.approx(RANK_DECAY)
    assert not model.delta.weight.any()


def test_company_is_found_before_any_training(shop: Shop) -> None:
    """On the checkerboard text says nothing, so the chosen start has offsets."""
    settings = replace(
        SETTINGS, learning_rate=1e-9, offset_learning_rate=1e-9, examples_per_epoch=64
    )
    with_offsets = train([shop], Metadata(architecture=settings.architecture), settings)
    plain = replace(settings, offset_scale=0.0)
    without = train([shop], Metadata(architecture=settings.architecture), plain)
    assert with_offsets.curve[0].validation > 1.5 * without.curve[0].validation


def test_the_average_is_a_mean_and_then_forgets() -> None:
    module = nn.Linear(1, 1, bias=False)
    average = Average({"tower": module}, decay=0.75)
    expected = 0.0
    for step, value in enumerate([1.0, 2.0, 6.0, 5.0, 0.0, 7.0]):
        with torch.no_grad():
            module.weight.fill_(value)
        average.step()
        # The mean of the first four, then a quarter of the new one.
        expected += (value - expected) * max(0.25, 1 / (step + 1))
    kept = average.modules["tower"].weight
    assert isinstance(kept, torch.Tensor)
    assert float(kept.detach()) == pytest.approx(expected)
    assert float(module.weight.detach()) == 7.0


def test_without_an_average_the_parameters_themselves_are_kept() -> None:
    module = nn.Linear(2, 2)
    average = Average({"tower": module}, decay=0.0)
    for _ in range(3):
        with torch.no_grad():
            module.weight.add_(1.0)
        average.step()
    kept = average.modules["tower"].weight
    assert isinstance(kept, torch.Tensor)
    assert torch.equal(kept, module.weight)
