"""SASRec: self-attention over ids (Kang and McAuley 2018, ICDM), as a baseline.

The paper's model: learned item and position vectors, two blocks of causal attention with one head
and a pointwise feed-forward, each ``x + Dropout(f(LayerNorm(x)))``, and scores by the items' own
vectors. Trained on every position of the train part's visits. Up to ``FULL_SOFTMAX`` products the
loss is a softmax over all of them, which is known to be stronger than the paper's one random
negative with a binary loss (Klenitskiy and Vasilev 2023, RecSys); beyond, it is the paper's.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sidecar.contract.history import HistoryLimits
from sidecar.contract.weights import F32
from trainer.data.cases import Histories
from trainer.data.dataset import I32, Dataset
from trainer.data.split import Split
from trainer.evaluate.metrics import Scorer, rank

DIMENSION, BLOCKS, HEADS, DROPOUT = 64, 2, 1, 0.2
BATCH, LEARNING_RATE, BETAS = 128, 1e-3, (0.9, 0.98)
EPOCHS, PATIENCE = 200, 5
FULL_SOFTMAX = 20_000
#: Validation cases that choose the epoch.
MAX_CASES = 4_000


class SASRec(nn.Module):
    """Scores of N products after each of L products.

    Parameters
    ----------
    n : int
        Products.
    length : int
        L, the most that is looked back.
    """

    def __init__(self, n: int, length: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n, DIMENSION)
        self.positions = nn.Embedding(length, DIMENSION)
        self.blocks = nn.ModuleList(_Block() for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(DIMENSION, eps=1e-8)
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=DIMENSION**-0.5)

    def forward(self, products: Tensor, lengths: Tensor) -> Tensor:
        """Hidden states; products (B, L), padded at the end, and lengths (B,) to (B, L, D)."""
        length = products.shape[1]
        # The newest of a history is at the last position, as in the paper, which pads in front.
        place = torch.arange(length, device=products.device) - lengths[:, None]
        place = (place + self.positions.num_embeddings).clamp(0, self.positions.num_embeddings - 1)
        x = self.items(products) * math.sqrt(DIMENSION) + self.positions(place)
        x = functional.dropout(x, DROPOUT, self.training)
        for block in self.blocks:
            x = block(x)
        hidden: Tensor = self.norm(x)
        return hidden


class _Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(DIMENSION, eps=1e-8)
        self.query_key_value = nn.Linear(DIMENSION, 3 * DIMENSION)
        self.out = nn.Linear(DIMENSION, DIMENSION)
        self.feed_norm = nn.LayerNorm(DIMENSION, eps=1e-8)
        self.feed = nn.Sequential(
            nn.Linear(DIMENSION, DIMENSION),
            nn.ReLU(),
            nn.Dropout(DROPOUT),
            nn.Linear(DIMENSION, DIMENSION),
        )

    def forward(self, x: Tensor) -> Tensor:
        b, length, _ = x.shape
        parts = self.query_key_value(self.attention_norm(x))
        # (3, B, H, L, D / H)
        q, k, v = parts.view(b, length, 3, HEADS, DIMENSION // HEADS).permute(2, 0, 3, 1, 4)
        # What pads the end is in no position's past.
        mixed = functional.scaled_dot_product_attention(
            q, k, v, dropout_p=DROPOUT if self.training else 0.0, is_causal=True
        )
        mixed = self.out(mixed.transpose(1, 2).reshape(b, length, DIMENSION))
        x = x + functional.dropout(mixed, DROPOUT, self.training)
        fed: Tensor = functional.dropout(self.feed(self.feed_norm(x)), DROPOUT, self.training)
        return x + fed


def visits(dataset: Dataset, split: Split, limits: HistoryLimits) -> tuple[I32, I32]:
    """The train part's events in pieces of at most L + 1, without a gap as long as the window.

    Returns
    -------
    products : int32, shape (V, L + 1)
        Padded at the end with 0.
    lengths : int32, shape (V,)
        2 or more.
    """
    kept = np.flatnonzero(dataset.at < split.cuts[0])
    customer, at, product = dataset.customer[kept], dataset.at[kept], dataset.product[kept]
    new = np.ones(len(kept), bool)
    new[1:] = (customer[1:] != customer[:-1]) | (np.diff(at) >= limits.window)
    first = np.flatnonzero(new)
    number = np.cumsum(new) - 1
    inside = np.arange(len(kept)) - first[number]
    # Long visits are cut so that the last of a piece is the first of the next: every step once.
    step = limits.max_interactions
    starts = np.flatnonzero(inside % step == 0)
    ends = np.append(first[1:], len(kept))[number[starts]]
    lengths = np.minimum(ends - starts, step + 1)
    starts, lengths = starts[lengths > 1], lengths[lengths > 1]
    columns = np.arange(step + 1)
    valid = columns < lengths[:, None]
    place = np.where(valid, starts[:, None] + columns, 0)
    return np.where(valid, product[place], 0).astype(np.int32), lengths.astype(np.int32)


def sasrec(
    dataset: Dataset,
    split: Split,
    limits: HistoryLimits,
    *,
    seed: int = 0,
    epochs: int | None = None,
    on_epoch: Callable[[int, float], object] = lambda number, value: None,
) -> Scorer:
    """Train on the train part, keep the epoch that is best on the validation part.

    Parameters
    ----------
    dataset : Dataset
    split : Split
    limits : HistoryLimits
    seed : int
    epochs : int, optional
        Most epochs (``EPOCHS``); ``PATIENCE`` without a better one end it.
    on_epoch : Callable, optional
        Called with number and validation NDCG@10.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    n, length = len(dataset.catalogue), limits.max_interactions
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = SASRec(n, length).to(device)
        optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE, BETAS)
        cases = split.validation.sample(MAX_CASES, np.random.default_rng(0))
        products, lengths = visits(dataset, split, limits)
        rng = np.random.default_rng(seed)
        best, chosen, kept = -1.0, 0, copy.deepcopy(model.state_dict())
        for number in range(1, (epochs or EPOCHS) + 1):
            model.train()
            for rows in _batches(len(products), rng):
                optimizer.zero_grad(set_to_none=True)
                loss = _loss(model, products[rows], lengths[rows], n, rng, device)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            model.eval()
            value = rank(dataset, cases, _scorer(model, device), length).figures()["ndcg@10"]
            on_epoch(number, value)
            if value > best:
                best, chosen, kept = value, number, copy.deepcopy(model.state_dict())
            elif number - chosen >= PATIENCE:
                break
    model.load_state_dict(kept)
    return _scorer(model.eval(), device)


def _batches(rows: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    order = rng.permutation(rows)
    for start in range(0, rows, BATCH):
        yield order[start : start + BATCH]


def _loss(
    model: SASRec,
    products: I32,
    lengths: I32,
    n: int,
    rng: np.random.Generator,
    device: torch.device,
) -> Tensor:
    given = torch.from_numpy(products[:, :-1].astype(np.int64)).to(device)
    targets = torch.from_numpy(products[:, 1:].astype(np.int64)).to(device)
    steps = torch.from_numpy(lengths.astype(np.int64) - 1).to(device)
    valid = torch.arange(given.shape[1], device=device) < steps[:, None]
    hidden, targets = model(given, steps)[valid], targets[valid]
    if n <= FULL_SOFTMAX:
        return functional.cross_entropy(hidden @ model.items.weight.T, targets)
    others = torch.from_numpy(rng.integers(0, n, len(targets))).to(device)
    positive = (hidden * model.items(targets)).sum(1)
    negative = (hidden * model.items(others)).sum(1)
    return -(functional.logsigmoid(positive) + functional.logsigmoid(-negative)).mean()


def _scorer(model: SASRec, device: torch.device) -> Scorer:
    def score(histories: Histories) -> F32:
        lengths = torch.from_numpy(histories.lengths.astype(np.int64)).to(device)
        products = torch.from_numpy(histories.products.astype(np.int64)).to(device)
        with torch.no_grad():
            hidden = model(products, lengths)
            newest = hidden[torch.arange(len(lengths), device=device), lengths - 1]
            return np.asarray((newest @ model.items.weight.T).cpu().numpy(), np.float32)

    return score
