"""Known answers for the losses and the candidates."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.model.losses import Sampler, label_loss, sampled_loss, softmax_loss


def test_the_full_softmax_is_cross_entropy_without_what_was_seen() -> None:
    users = torch.eye(3)[:1]
    products = torch.eye(3)
    seen = torch.tensor([[2, -1]])
    loss = softmax_loss(users, products, torch.tensor(2.0), torch.tensor([0]), seen)
    expected = -np.log(np.exp(2) / (np.exp(2) + np.exp(0)))
    assert np.isclose(float(loss), expected)


def test_smoothing_is_spread_over_what_is_not_masked() -> None:
    users, candidates = torch.eye(3)[:1], torch.eye(3)
    seen = torch.tensor([[2]])
    loss = softmax_loss(
        users, candidates, torch.tensor(2.0), torch.tensor([0]), seen, smoothing=0.25
    )
    # Two candidates are left, with logits 2 and 0.
    first, second = -np.log(1 / (1 + np.exp(-2.0))), -np.log(1 / (1 + np.exp(2.0)))
    assert float(loss) == pytest.approx(0.75 * first + 0.25 * (first + second) / 2, rel=1e-5)


def test_the_correction_is_subtracted() -> None:
    users, products = torch.eye(2)[:1], torch.eye(2)
    none = torch.tensor([[-1]])
    log_expected = torch.tensor([0.0, -3.0])
    loss = softmax_loss(users, products, torch.tensor(1.0), torch.tensor([0]), none, log_expected)
    assert np.isclose(float(loss), np.log(1 + np.exp(3 - 1)))


def test_candidates_are_distinct_known_and_hold_every_target() -> None:
    popularity = np.array([5.0, 0, 3, 2, 0, 10])
    sampler = Sampler(popularity, np.array([0, 0, 1, 1, 1, 2], np.int32), 3, 3, 3)
    rng = np.random.default_rng(0)
    for _ in range(20):
        drawn = sampler.draw(np.array([0, 2, 2]), rng)
        assert {0, 2} <= set(drawn.products.tolist())
        assert len(set(drawn.products.tolist())) == len(drawn.products)
        # What nobody ever took next only learns to stay away: it is not compared with.
        assert not {1, 4} & set(drawn.products.tolist())
        assert (drawn.log_expected <= 0).all()


def test_inclusion_is_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    popularity = rng.integers(1, 50, 30).astype(float)
    sampler = Sampler(popularity, (np.arange(30) % 4).astype(np.int32), 4, 4, 4)
    share = popularity / popularity.sum()
    seen = np.zeros(30)
    said = np.zeros(30)
    rounds = 3000
    for _ in range(rounds):
        drawn = sampler.draw(rng.choice(30, 8, p=share), rng)
        seen[drawn.products] += 1
        said[drawn.products] = np.exp(drawn.log_expected)
    assert np.abs(seen / rounds - said).max() < 0.06


def test_the_article_s_loss() -> None:
    users = torch.eye(2)[:1]
    negatives = torch.eye(2)[None, 1:].repeat(1, 4, 1)
    loss = sampled_loss(users, users, negatives, torch.tensor(1.0))
    assert np.isclose(float(loss), np.log(1 + 4 * np.exp(-1)))


def test_the_label_term_prefers_pairs_that_agree() -> None:
    same = torch.eye(2, dtype=torch.bool)
    together = torch.eye(2).repeat(2, 1)
    apart = torch.cat([torch.eye(2), torch.eye(2).flip(0)])
    assert float(label_loss(together, same)) < float(label_loss(apart, same))
