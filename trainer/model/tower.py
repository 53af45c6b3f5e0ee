"""The user tower in PyTorch: the formula of :mod:`sidecar.tower.plain`, in its folded form.

Behind the attention weights everything is linear, so the pooling stands in front of the value,
output and final projections; the attention itself is only needed as weights (B, H, L, L).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from sidecar.contract.schema import Metadata
from sidecar.contract.weights import F32
from sidecar.tower.prior import prior_tower

#: Standard deviation of W_in at the start. Larger than Glorot's: unit vectors have small entries.
INPUT_SCALE = 0.3


class UserTower(nn.Module):
    """Starts as the weighted recency mean: ``s``, ``W_out`` and ``b_out`` are 0.

    Parameters
    ----------
    metadata : Metadata
        Sizes, event vocabulary, history limits.
    seed : int
    """

    E: Tensor  # (T, E)
    W_in: Tensor  # (m, D + E)
    b_in: Tensor  # (m,)
    W_q: Tensor  # (HA, m), as W_k and W_v
    b_q: Tensor  # (HA,), as b_k and b_v
    W_k: Tensor
    b_k: Tensor
    W_v: Tensor
    b_v: Tensor
    W_o: Tensor  # (m, HA)
    b_o: Tensor  # (m,)
    log_g: Tensor  # (T,)
    raw_lambda_age: Tensor  # ()
    raw_lambda_rank: Tensor  # ()
    s: Tensor  # (H,)
    W_out: Tensor  # (D, m)
    b_out: Tensor  # (D,)

    def __init__(self, metadata: Metadata, seed: int = 0) -> None:
        super().__init__()
        self.architecture = metadata.architecture
        start = {k: torch.from_numpy(v.copy()) for k, v in prior_tower(metadata, seed).items()}
        generator = torch.Generator().manual_seed(seed)
        start["W_in"] = torch.randn(start["W_in"].shape, generator=generator) * INPUT_SCALE
        for name in ("W_q", "W_k", "W_v", "W_o"):
            shape = start[name].shape
            start[name] = torch.randn(shape, generator=generator) * shape[1] ** -0.5
        # Positive by construction: g = exp(log_g), lambda = softplus(raw).
        start["log_g"] = start.pop("g").log()
        for name in ("lambda_age", "lambda_rank"):
            start[f"raw_{name}"] = inverse_softplus(start.pop(name))
        for name, value in start.items():
            self.register_parameter(name, nn.Parameter(value))

    def forward(
        self,
        products: Tensor,
        events: Tensor,
        ages: Tensor,
        valid: Tensor,
        relabelled: Tensor | None = None,
    ) -> Tensor:
        """User vectors of B histories.

        Parameters
        ----------
        products : float, shape (B, L, D)
            Unit vectors, oldest to newest.
        events : int, shape (B, L)
        ages : float, shape (B, L)
        valid : bool, shape (B, L)
            False for padding, and for what history dropout left out.
        relabelled : bool, shape (B,), optional
            Histories whose event types are random: no weight of an event is learned from them.

        Returns
        -------
        float, shape (B, D)
            Unit vectors.
        """
        a = self.architecture
        b, length, d = products.shape
        h, size = a.heads, a.head_dimension
        product_in, event_in = self.W_in[:, :d], self.W_in[:, d:]
        x = products @ product_in.T + (self.E @ event_in.T + self.b_in)[events]  # (B, L, m)

        # Queries and keys as one m x m matrix a head; b_k adds the same to a whole row, which a
        # softmax does not see.
        w_q, w_k = self.W_q.view(h, size, -1), self.W_k.view(h, size, -1)
        both = torch.einsum("ham,han->mhn", w_q, w_k).reshape(x.shape[-1], -1)  # (m, Hm)
        row = torch.einsum("ha,han->hn", self.b_q.view(h, size), w_k).reshape(-1)  # (Hm,)
        keyed = (x @ both + row).view(b, length * h, -1)
        scores = (keyed @ x.transpose(1, 2)).view(b, length, h, length).transpose(1, 2)
        attention = _softmax(scores * a.attention_scale, valid[:, None, None])  # (B, H, L, L)

        # Rank counts what is left: 0 for the newest that is valid.
        rank = valid.flip(1).cumsum(1).flip(1).to(ages.dtype) - 1
        lambda_age, lambda_rank = (
            functional.softplus(self.raw_lambda_age),
            functional.softplus(self.raw_lambda_rank),
        )
        weight = self.log_g[events]
        if relabelled is not None:
            # Random types say nothing about what a type is worth; learned from, they would make
            # all alike, and a view count as much as a purchase where the data hold no views.
            weight = torch.where(relabelled[:, None], weight.detach(), weight)
        alpha = _softmax(weight - lambda_age * ages - lambda_rank * rank, valid)
        c = torch.einsum("bi,bhij->bhj", alpha, attention)  # (B, H, L)

        mix = alpha + torch.einsum("h,bhj->bj", self.s, c)  # (B, L)
        own = torch.bmm(mix[:, None], products)[:, 0]  # (B, D)
        pooled = torch.einsum("bhj,bjm->bhm", c, x)  # (B, H, m)
        value = torch.einsum("bhm,ham->bha", pooled, self.W_v.view(h, size, -1)).reshape(b, -1)
        y = torch.einsum("bi,bim->bm", alpha, x) + (value + self.b_v) @ self.W_o.T + self.b_o
        return functional.normalize(own + y @ self.W_out.T + self.b_out, dim=1)

    def tensors(self) -> dict[str, F32]:
        """The tensors of a weights file."""
        found = {name: p.detach().float().cpu() for name, p in self.named_parameters()}
        found["g"] = found.pop("log_g").exp()
        for name in ("lambda_age", "lambda_rank"):
            found[name] = functional.softplus(found.pop(f"raw_{name}"))
        return {name: value.numpy().copy() for name, value in found.items()}


def _softmax(scores: Tensor, valid: Tensor) -> Tensor:
    return scores.masked_fill(~valid, -1e30).softmax(-1)


def inverse_softplus(value: Tensor) -> Tensor:
    """What softplus makes ``value`` of; shape ()."""
    return torch.tensor(math.log(math.expm1(float(value))))
