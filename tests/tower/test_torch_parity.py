"""Both forms against torch's own attention: what a trainer would write without reading ours."""

from __future__ import annotations

import os
from importlib.util import find_spec

import numpy as np
import pytest

from sidecar.contract.weights import Weights
from sidecar.tower.plain import user_tower
from sidecar.tower.served import fold, served_tower
from tower import cases

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _needs_torch() -> None:
    if find_spec("torch") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("torch is missing: in CI the parity with it must be checked")
        pytest.skip("torch is not installed")


def torch_tower(weights: Weights, batch: cases.Batch) -> np.ndarray:
    """The formula on torch.nn.MultiheadAttention.

    Its heads are of size width / heads. Where ours are larger, x is widened by zeros: what they
    are multiplied with does not count.
    """
    import torch

    t = {name: torch.from_numpy(np.copy(v)) for name, v in weights.tower.items()}
    a = weights.metadata.architecture
    d, m, ha = a.dimension, a.width, a.heads * a.head_dimension
    assert ha >= m, "torch's own attention has no heads as small as these"
    attention = torch.nn.MultiheadAttention(ha, a.heads, batch_first=True).eval()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        attention.in_proj_weight[:, :m] = torch.cat([t["W_q"], t["W_k"], t["W_v"]])
        attention.in_proj_bias.copy_(torch.cat([t["b_q"], t["b_k"], t["b_v"]]))
        attention.out_proj.weight[:m] = t["W_o"]
        attention.out_proj.bias[:m] = t["b_o"]

        p, events = torch.from_numpy(batch.products), torch.from_numpy(batch.events)
        ages, lengths = torch.from_numpy(batch.ages), torch.from_numpy(batch.lengths)
        position = torch.arange(p.shape[1])
        padding = position >= lengths[:, None]
        x = torch.nn.functional.linear(torch.cat([p, t["E"][events]], -1), t["W_in"], t["b_in"])
        wide = torch.nn.functional.pad(x, (0, ha - m))
        mixed, by_head = attention(
            wide,
            wide,
            wide,
            key_padding_mask=padding,
            need_weights=True,
            average_attn_weights=False,
        )
        y = x + mixed[..., :m]
        rank = lengths[:, None] - 1 - position
        scores = t["g"].log()[events] - t["lambda_age"] * ages - t["lambda_rank"] * rank
        alpha = torch.softmax(scores.masked_fill(padding, -torch.inf), -1)
        c = torch.einsum("bi,bhij->bhj", alpha, by_head)
        u = torch.einsum("bi,bid->bd", alpha, p)
        u = u + torch.einsum("h,bhj,bjd->bd", t["s"], c, p)
        u = u + torch.einsum("bi,bim->bm", alpha, y) @ t["W_out"].T + t["b_out"]
        assert u.shape == (len(p), d)
        return torch.nn.functional.normalize(u, dim=-1, eps=1e-12).numpy()


ARCHITECTURES = {
    "shipped": cases.SHIPPED,
    "A = m / H": cases.Architecture(width=64, heads=2, head_dimension=32),
    "A = m": cases.Architecture(width=64, heads=4, head_dimension=64),
    "A < m / 2": cases.Architecture(width=64, heads=4, head_dimension=16),
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_parity_with_torch(name: str, seed: int) -> None:
    weights = cases.random_weights(seed, ARCHITECTURES[name])
    rng = np.random.default_rng(seed)
    batch = cases.random_batch(rng, [1, 2, 3, 5, 11, 19, 20], 20, weights.metadata)
    expected = torch_tower(weights, batch)
    plain = user_tower(weights.tower, weights.metadata.architecture, *batch)
    served, _ = served_tower(fold(weights), *batch)
    np.testing.assert_allclose(plain, expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(served, expected, atol=1e-5, rtol=0)
    # The same neighbours in the same order, which is what a shopper sees.
    catalogue = rng.normal(size=(2000, cases.SHIPPED.dimension)).astype(np.float32)
    catalogue /= np.linalg.norm(catalogue, axis=-1, keepdims=True)
    ours, theirs = served @ catalogue.T, expected @ catalogue.T
    top = np.argsort(-theirs, axis=1)[:, :20]
    ranked = np.take_along_axis(ours, top, axis=1)
    assert (np.diff(ranked, axis=1) <= 1e-5).all()
