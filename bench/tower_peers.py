"""The runtimes that ``bench/tower.py`` compares with: each takes a batch, and returns what to time."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

Run = Callable[[], Any]
#: From a batch's four arrays to a call on them.
Engine = Callable[[Any], Run]


def bind(function: Callable[..., Any], *arguments: Any) -> Run:
    """The call, with its arguments."""
    return lambda: function(*arguments)


def torch_module(weights: Any) -> Any:
    """The plain form in torch, as one would write it: queries, keys and values in one product, as
    ``torch.nn.MultiheadAttention`` has them.

    That class itself is no faster (64, 2, 32: a few per cent slower), and cannot have heads of
    another size than m / H.
    """
    import numpy as np
    import torch
    from torch.nn.functional import linear, normalize

    class Tower(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.heads = weights.metadata.architecture.heads
            self.scale = weights.metadata.architecture.attention_scale
            for name, tensor in weights.tower.items():
                self.register_buffer(name, torch.from_numpy(np.copy(tensor)))
            self.register_buffer("W_qkv", torch.cat([self.W_q, self.W_k, self.W_v]))
            self.register_buffer("b_qkv", torch.cat([self.b_q, self.b_k, self.b_v]))

        def forward(self, products: Any, events: Any, ages: Any, lengths: Any) -> Any:
            b, length, _ = products.shape
            position = torch.arange(length)
            padding = position >= lengths[:, None]
            x = linear(torch.cat([products, self.E[events]], -1), self.W_in, self.b_in)
            qkv = linear(x, self.W_qkv, self.b_qkv).reshape(b, length, 3, self.heads, -1)
            q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, L, A) each
            scores = (q @ k.transpose(-1, -2)) * self.scale
            attention = torch.softmax(scores.masked_fill(padding[:, None, None], -1e30), -1)
            mixed = (attention @ v).transpose(1, 2).reshape(b, length, -1)
            y = x + linear(mixed, self.W_o, self.b_o)
            rank = (lengths[:, None] - 1 - position).float()
            recency = self.lambda_age * ages + self.lambda_rank * rank
            alpha = torch.softmax((self.g.log()[events] - recency).masked_fill(padding, -1e30), -1)
            c = (alpha[:, None, None] @ attention)[:, :, 0]
            own = alpha + (self.s[:, None] * c).sum(1)
            shift = linear((alpha[:, None] @ y)[:, 0], self.W_out, self.b_out)
            return normalize((own[:, None] @ products)[:, 0] + shift, dim=-1, eps=1e-12), own

    return Tower().eval()


def tensors(batch: Any) -> tuple[Any, ...]:
    """Made once, outside of what is measured."""
    import numpy as np
    import torch

    return tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in batch)


def torch_eager(weights: Any) -> Engine:
    """The module as it is, without gradients."""
    import torch

    module = torch_module(weights)
    return lambda batch: torch.inference_mode()(bind(module, *tensors(batch)))


def torch_compiled(weights: Any) -> Engine:
    """One compilation for each batch size: what torch.compile is best at."""
    import torch

    compiled = torch.compile(torch_module(weights), dynamic=False)
    return lambda batch: torch.inference_mode()(bind(compiled, *tensors(batch)))


def onnx_runtime(weights: Any, threads: int, example: Any) -> Engine:
    """An export of the same module, for any batch and length, with all optimisations."""
    import onnxruntime
    import torch

    b, length = torch.export.Dim("b", min=1, max=4096), torch.export.Dim("l", min=1, max=1000)
    shapes = ({0: b, 1: length},) * 3 + ({0: b},)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/tower.onnx"
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            program = torch.onnx.export(
                torch_module(weights),
                tensors(example),
                dynamo=True,
                verbose=False,
                dynamic_shapes=shapes,
            )
            program.save(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda batch: bind(session.run, None, dict(zip(names, batch, strict=True)))
