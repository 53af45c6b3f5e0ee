"""Softmax losses over a set of candidates, from all products down to the batch's own.

One form for all: logits are cosine times a learned temperature, products that a history already
holds are masked, and where candidates are sampled, the logarithm of how often each is expected
among them is subtracted (Bengio and Senecal 2008; Yi et al. 2019). Candidates are distinct, so a
target that was also drawn as a negative is one candidate, not a false one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from trainer.data.dataset import I32

#: The names that `--loss` takes.
LOSSES = ("auto", "full", "mixed", "in-batch", "sampled")


class Candidates(NamedTuple):
    """What a batch is compared with.

    Parameters
    ----------
    products : int64, shape (C,)
        Distinct catalogue positions in ascending order.
    log_expected : float32, shape (C,)
        Logarithm of how often each is expected in a draw.
    """

    products: NDArray[np.int64]
    log_expected: NDArray[np.float32]


class Sampler:
    """Draws candidates: the batch's targets, and random, popular and same-category products.

    Parameters
    ----------
    popularity : float, shape (N,)
        How often each product was a target.
    categories : int32, shape (N,)
    random, popular, same_category : int
        How many negatives of each kind a batch gets.
    """

    def __init__(
        self,
        popularity: NDArray[np.float64],
        categories: I32,
        random: int,
        popular: int,
        same_category: int,
    ) -> None:
        n = len(popularity)
        self.sizes = (random, popular, same_category)
        self.share = popularity / popularity.sum()
        smooth = popularity**0.75
        self.smooth = smooth / smooth.sum()
        self.cumulative = np.cumsum(self.smooth)
        self.categories = categories
        known = np.flatnonzero(popularity > 0)
        self.members = known[np.argsort(categories[known], kind="stable")]
        self.first = np.searchsorted(categories[self.members], np.arange(categories.max() + 2))
        size = np.diff(self.first)
        category_share = np.bincount(categories, weights=self.share, minlength=len(size))
        self.by_category = (category_share / np.maximum(size, 1))[categories]
        self.n = n
        self.known = known

    def draw(self, targets: NDArray[np.int64], rng: np.random.Generator) -> Candidates:
        """Candidates of one batch."""
        random, popular, same = self.sizes
        place = np.searchsorted(self.cumulative, rng.random(popular) * self.cumulative[-1])
        chosen = self.categories[rng.choice(targets, same)] if same else np.empty(0, np.int64)
        low, high = self.first[chosen], self.first[chosen + 1]
        peers = self.members[low + (rng.random(same) * (high - low)).astype(np.int64)]
        drawn = (
            targets,
            self.known[rng.integers(0, len(self.known), random)],
            np.minimum(place, self.n - 1),
            peers,
        )
        products = np.unique(np.concatenate(drawn).astype(np.int64))
        expected = (
            len(targets) * self.share[products]
            + random / len(self.known)
            + popular * self.smooth[products]
            + same * self.by_category[products]
        )
        # The chance of at least one draw, not the number of draws: candidates are distinct.
        inclusion = -np.expm1(-np.maximum(expected, 1e-9))
        return Candidates(products, np.log(inclusion).astype(np.float32))


def softmax_loss(
    users: Tensor,
    candidates: Tensor,
    temperature: Tensor,
    target: Tensor,
    seen: Tensor,
    log_expected: Tensor | None = None,
    smoothing: float = 0.0,
) -> Tensor:
    """Cross-entropy of each user's next product among the candidates.

    Parameters
    ----------
    users : float, shape (B, D)
    candidates : float, shape (C, D)
    temperature : float, shape ()
        Cosines are multiplied with it.
    target : int64, shape (B,)
        Position among the candidates.
    seen : int64, shape (B, L)
        Positions of the history's products among the candidates; -1 for none.
    log_expected : float, shape (C,), optional
        Sampling correction.
    smoothing : float
        Share of the loss that all candidates bear alike, but for those that are masked.
    """
    logits = (users @ candidates.T) * temperature  # (B, C)
    if log_expected is not None:
        logits = logits - log_expected
    # One more column takes what is not among the candidates.
    mask = torch.zeros(len(users), len(candidates) + 1, dtype=torch.bool, device=users.device)
    mask.scatter_(1, torch.where(seen < 0, len(candidates), seen), True)
    masked = mask[:, :-1]
    log_p = logits.masked_fill(masked, -1e4).log_softmax(dim=1)
    loss = -log_p.gather(1, target[:, None])[:, 0]
    if smoothing:
        # Not cross_entropy's own: it would spread over what is masked, too.
        spread = -log_p.masked_fill(masked, 0.0).sum(1) / (~masked).sum(1)
        loss = (1 - smoothing) * loss + smoothing * spread
    return loss.mean()


def sampled_loss(users: Tensor, targets: Tensor, negatives: Tensor, temperature: Tensor) -> Tensor:
    """The article's loss: each user's next product against n random ones of its own.

    Parameters
    ----------
    users, targets : float, shape (B, D)
    negatives : float, shape (B, n, D)
    temperature : float, shape ()
    """
    positive = (users * targets).sum(1, keepdim=True)
    logits = torch.cat([positive, torch.einsum("bd,bnd->bn", users, negatives)], 1) * temperature
    return functional.cross_entropy(
        logits, torch.zeros(len(users), dtype=torch.long, device=users.device)
    )


def label_loss(q: Tensor, same: Tensor, temperature: float = 10.0) -> Tensor:
    """Pulls products that share a label together, and apart from the others of the batch.

    Parameters
    ----------
    q : float, shape (2K, D)
        K pairs: row i and row K + i share a label.
    same : bool, shape (K, K)
        Where the left and the right product share any label; the diagonal is true.
    """
    k = len(q) // 2
    logits = q[:k] @ q[k:].T * temperature
    others = same & ~torch.eye(k, dtype=torch.bool, device=q.device)
    return functional.cross_entropy(
        logits.masked_fill(others, -1e4), torch.arange(k, device=q.device)
    )
