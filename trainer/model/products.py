"""The product tower in PyTorch: q = normalize(p + A p + delta), for all products or some."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ProductTowerModel(nn.Module):
    """Starts as the text vectors themselves, or at given offsets.

    Parameters
    ----------
    vectors : float, shape (N, D)
        Unit text vectors; never trained.
    kind : str
        ``none``, ``linear`` or ``linear+id``.
    known : bool, shape (N,)
        Products that the training part speaks of. All others keep an offset of zero, or else the
        softmax would push them away from everybody, and a new product could never be found.
    sparse : bool
        Only the rows that a step uses get a gradient: for large catalogues.
    """

    vectors: Tensor
    known: Tensor
    A: nn.Parameter
    delta: nn.Embedding

    def __init__(
        self,
        vectors: Tensor,
        kind: str,
        known: Tensor,
        sparse: bool = False,
    ) -> None:
        super().__init__()
        n, d = vectors.shape
        self.kind = kind
        self.register_buffer("vectors", vectors, persistent=False)
        self.register_buffer("known", known.to(vectors.dtype)[:, None], persistent=False)
        if kind != "none":
            self.A = nn.Parameter(torch.zeros(d, d))
        if kind == "linear+id":
            self.delta = nn.Embedding(n, d, sparse=sparse)
            self.set_offsets(None)

    def set_offsets(self, offsets: Tensor | None) -> None:
        """Let ``delta`` be these, shape (N, D), or zero; without effect where there is none."""
        if self.kind != "linear+id":
            return
        with torch.no_grad():
            self.delta.weight.zero_()
            if offsets is not None:
                self.delta.weight.copy_(offsets.to(self.known.device) * self.known)

    def forward(self, rows: Tensor | None = None) -> Tensor:
        """Unit vectors of all products (N, D), or of some (R, D)."""
        p = self.vectors if rows is None else self.vectors[rows]
        if self.kind == "none":
            return p
        q = p + p @ self.A.T
        if self.kind == "linear+id":
            known = self.known if rows is None else self.known[rows]
            q = q + known * (self.delta.weight if rows is None else self.delta(rows))
        return functional.normalize(q, dim=1)

    def is_sparse(self, name: str) -> bool:
        """Whether a parameter gets gradients of single rows."""
        return name == "delta.weight" and bool(self.delta.sparse)
