"""Where the products' offsets start: the co-occurrence of products, factorised.

Two products that the same histories hold get offsets that point the same way. Without this a
softmax has to find thousands of directions from nothing, and on a catalogue whose texts repeat it
never got beyond popularity.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from sidecar.contract.weights import F32
from trainer.data.cases import Cases
from trainer.data.dataset import Dataset

#: What a step further back in a history counts, as a share of the step before.
STEP = 0.8


def cooccurrence(
    dataset: Dataset, cases: Cases, max_interactions: int, step: float = STEP
) -> sparse.csr_matrix:
    """How often product j came next when product i was in the history; shape (N, N).

    An interaction n steps before the next product counts ``step ** n``. Not symmetric.
    """
    n = len(dataset.catalogue)
    total = sparse.csr_matrix((n, n), dtype=np.float32)
    for back in range(max_interactions):
        inside = cases.target - 1 - back >= cases.start
        if not inside.any():
            break
        target = cases.target[inside]
        pairs = (dataset.product[target - 1 - back], dataset.product[target])
        weight = np.full(len(target), step**back, np.float32)
        total = total + sparse.coo_matrix((weight, pairs), shape=(n, n)).tocsr()
    return total


def cosine(counts: sparse.csr_matrix, shrink: float = 0.0) -> sparse.csr_matrix:
    """Co-occurrence both ways, divided by the root of both products' counts; diagonal 0.

    ``shrink`` is added to each count: a pair that was seen once says less.
    """
    both = (counts + counts.T).tocsr()
    both.setdiag(0)
    both.eliminate_zeros()
    size = np.asarray(both.sum(axis=1)).ravel() + shrink
    scale = sparse.diags((1 / np.sqrt(np.maximum(size, 1e-9))).astype(np.float32))
    return (scale @ both @ scale).tocsr()


def offsets(
    dataset: Dataset, cases: Cases, max_interactions: int, vectors: F32, seed: int = 0
) -> F32:
    """Unit offsets whose products follow the co-occurrence; shape (N, D), zero where unknown.

    The strongest directions of the co-occurrence are laid on the directions that the text vectors
    use least, so that text and company disturb each other as little as possible.

    Parameters
    ----------
    dataset : Dataset
    cases : Cases
        Of the train part.
    max_interactions : int
    vectors : float32, shape (N, D)
    seed : int
    """
    n, d = vectors.shape
    similar = cosine(cooccurrence(dataset, cases, max_interactions), shrink=1.0)
    values, directions = _eigen(similar, min(d, n - 1), seed)
    factors = directions * np.sqrt(np.maximum(values, 0))  # (N, K)
    norm = np.linalg.norm(factors, axis=1, keepdims=True)
    factors = np.where(norm > 1e-6, factors / np.maximum(norm, 1e-6), 0)
    least_used = np.linalg.eigh(np.cov(vectors.T))[1].T  # rows from least to most variance
    return np.ascontiguousarray(factors @ least_used[: factors.shape[1]], dtype=np.float32)


def _eigen(matrix: sparse.csr_matrix, rank: int, seed: int) -> tuple[F32, F32]:
    """The largest eigenvalues and their vectors, by randomized subspace iteration.

    Halko, Martinsson, Tropp 2011 (arXiv:0909.4061). The matrix is shifted by the identity: its
    eigenvalues lie in [-1, 1], and it is the positive ones that are wanted.
    """
    rng = np.random.default_rng(seed)
    n = matrix.shape[0]
    width = min(n, rank + 32)
    basis = rng.normal(size=(n, width)).astype(np.float32)
    for _ in range(8):
        basis = np.linalg.qr(matrix @ basis + basis)[0]
    values, small = np.linalg.eigh(basis.T @ (matrix @ basis))
    order = np.argsort(-values)[:rank]
    return values[order].astype(np.float32), (basis @ small[:, order]).astype(np.float32)
