"""How fast the user tower is, beside the runtimes that one would reach for instead.

    python bench/tower.py                     everything: about ten minutes
    python bench/tower.py --threads 1 --seconds 3 --no-compile
    python bench/tower.py --json figures.json

One process for each number of threads; in it torch eager, torch.compile, ONNX Runtime and numpy
take turns on the same weights and the same histories of 20 interactions, so that whatever else the
machine does meets all of them. Ratios are of medians. The torch
logger's remarks on an export are left out.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BATCHES = (1, 8, 64, 256)
LENGTH = 20
#: (width m, heads H, head size A)
SHAPES = ((16, 2, 16), (32, 1, 32), (32, 2, 16), (32, 2, 32), (32, 4, 32), (64, 1, 64), (64, 2, 32),
          (64, 2, 64), (64, 4, 64), (128, 2, 64), (128, 2, 128), (128, 4, 32))  # fmt: skip
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: They pin numpy's OpenBLAS to another processor's kernels, which is not what users run.
PINNING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")

Run = Callable[[], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=6.0, help="for each line of the table")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.child, arguments.seconds, not arguments.no_compile)))
        return
    environment = {k: v for k, v in os.environ.items() if k not in PINNING}
    if removed := sorted(set(os.environ) - set(environment)):
        print(f"running without {' and '.join(removed)}: numpy's OpenBLAS is slow with it\n")
    figures = {}
    for threads in arguments.threads:
        limits = dict.fromkeys(THREAD_VARIABLES, str(threads))
        command = [sys.executable, __file__, "--child", str(threads),
                   "--seconds", str(arguments.seconds)]  # fmt: skip
        command += ["--no-compile"] if arguments.no_compile else []
        done = subprocess.run(
            command, env={**environment, **limits}, stdout=subprocess.PIPE, text=True, check=True
        )
        figures[threads] = json.loads(done.stdout.splitlines()[-1])
        show(threads, figures[threads])
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


def measure(threads: int, seconds: float, with_compile: bool) -> dict[str, Any]:
    """All figures of one process."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    import numpy as np
    import onnxruntime
    import torch
    from tower import cases

    logging.disable(logging.WARNING)
    from sidecar.contract.weights import read_weights
    from sidecar.tower.prior import prior_weights
    from sidecar.tower.served import fold, served_tower

    torch.set_num_threads(threads)
    warnings.simplefilter("ignore")
    # As large as what is shipped, with every term in use: trained or not, the runtimes do the same.
    shipped = read_weights(ROOT / "weights" / "user_tower.safetensors").metadata.architecture
    weights = cases.random_weights(0, shipped)
    engines = {
        "torch": torch_eager(weights),
        "onnxruntime": onnx_runtime(weights, threads),
        "numpy": lambda batch: bind(served_tower, fold(weights), *batch),
    }
    if with_compile:
        engines["torch.compile"] = torch_compiled(weights)

    def histories(lengths: list[int], of: Any = weights) -> Any:
        return cases.random_batch(np.random.default_rng(1), lengths, max(lengths), of.metadata)

    note(f"m, H, A = {shipped.width}, {shipped.heads}, {shipped.head_dimension}")
    note(f"{threads} threads: numpy {np.__version__}, torch {torch.__version__}, "
         f"onnxruntime {onnxruntime.__version__}")  # fmt: skip
    figures: dict[str, Any] = {"batches": {}, "lengths": {}, "shapes": {}, "special": {}}
    for size in BATCHES:
        note(f"batch {size}")
        batch = histories([LENGTH] * size)
        runs: dict[str, Run] = {}
        for name, engine in engines.items():
            try:
                runs[name] = engine(batch)
                check(name, runs[name](), runs["torch"]())
            except Exception as error:  # torch.compile wants a C++ compiler, for one
                note(f"{name} left out: {str(error).splitlines()[0]}")
                runs.pop(name, None)
        figures["batches"][size] = turns(runs, seconds)

    mixed = np.random.default_rng(2).integers(1, LENGTH + 1, 64).tolist()
    special = {
        "64 histories of 20": (weights, histories([LENGTH] * 64)),
        "64 histories of 1 to 20": (weights, histories(mixed)),
        "untrained, 1 of 20": (prior_weights(), histories([LENGTH])),
        "untrained, 64 of 20": (prior_weights(), histories([LENGTH] * 64)),
    }
    figures["special"] = turns(
        {name: bind(served_tower, fold(of), *batch) for name, (of, batch) in special.items()},
        seconds,
    )
    lengths = (1, 2, 3, 5, 8, 12, 16, 20)
    for size in (1, 64):
        figures["lengths"][size] = turns(
            {str(n): bind(served_tower, fold(weights), *histories([n] * size)) for n in lengths},
            seconds,
        )
    others = [
        cases.random_weights(0, cases.Architecture(width=m, heads=h, head_dimension=a))
        for m, h, a in SHAPES
    ]
    theirs = [onnx_runtime(other, threads) for other in others]
    for size in (1, 64):
        runs = {}
        batch = histories([LENGTH] * size)
        for (m, h, a), other, engine in zip(SHAPES, others, theirs, strict=True):
            runs[f"{m},{h},{a}"] = bind(served_tower, fold(other), *batch)
            runs[f"onnxruntime {m},{h},{a}"] = engine(batch)
        figures["shapes"][size] = turns(runs, 2 * seconds)
    return figures


def bind(function: Callable[..., Any], *arguments: Any) -> Run:
    return lambda: function(*arguments)


def check(name: str, found: Any, expected: Any) -> None:
    import numpy as np

    worst = float(np.abs(np.asarray(found[0]) - np.asarray(expected[0])).max())
    assert worst <= 1e-5, f"{name} is {worst:.2g} away from torch"


def turns(runs: dict[str, Run], seconds: float) -> dict[str, dict[str, float]]:
    """Median, 99th percentile and minimum of each, and the median of its processor time; in µs.

    On a machine that is busy with other work the fastest call says most of the code, and the
    median and p99 most of the machine.
    """
    import numpy as np

    taken: dict[str, list[int]] = {name: [] for name in runs}
    used: dict[str, list[int]] = {name: [] for name in runs}
    repeats = {}
    for name, run in runs.items():
        for _ in range(5):
            run()
        start = time.perf_counter()
        run()
        # Several calls in a row, as a busy process makes them, but short turns: what another
        # runtime left in the caches is paid once in five calls at most.
        repeats[name] = max(5, min(20, int(2e-3 / (time.perf_counter() - start))))
    gc.disable()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name, run in runs.items():
            for _ in range(repeats[name]):
                start_cpu = time.process_time_ns()
                start_ns = time.perf_counter_ns()
                run()
                taken[name].append(time.perf_counter_ns() - start_ns)
                used[name].append(time.process_time_ns() - start_cpu)
    gc.enable()
    return {
        name: {
            "median": float(np.median(times)) / 1e3,
            "p99": float(np.percentile(times, 99)) / 1e3,
            "min": min(times) / 1e3,
            "cpu": float(np.median(used[name])) / 1e3,
        }
        for name, times in taken.items()
    }


# --- The other runtimes --------------------------------------------------------------------------


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
    import numpy as np
    import torch

    return tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in batch)


def torch_eager(weights: Any) -> Callable[[Any], Run]:
    import torch

    module = torch_module(weights)
    return lambda batch: torch.inference_mode()(bind(module, *tensors(batch)))


def torch_compiled(weights: Any) -> Callable[[Any], Run]:
    import torch

    # One compilation for each batch size: what torch.compile is best at.
    compiled = torch.compile(torch_module(weights), dynamic=False)
    return lambda batch: torch.inference_mode()(bind(compiled, *tensors(batch)))


def onnx_runtime(weights: Any, threads: int) -> Callable[[Any], Run]:
    import onnxruntime
    import torch
    from tower import cases

    example = tensors(cases.random_batch(__import__("numpy").random.default_rng(0), [20, 20], 20,
                                         weights.metadata))  # fmt: skip
    b, length = torch.export.Dim("b", min=1, max=4096), torch.export.Dim("l", min=1, max=1000)
    shapes = ({0: b, 1: length},) * 3 + ({0: b},)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/tower.onnx"
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            program = torch.onnx.export(
                torch_module(weights), example, dynamo=True, verbose=False, dynamic_shapes=shapes
            )
            program.save(path)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda batch: bind(session.run, None, dict(zip(names, batch, strict=True)))


# --- Printing ------------------------------------------------------------------------------------


def note(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def show(threads: int, figures: dict[str, Any]) -> None:
    for line in lines(threads, figures):
        print(line)
    print(flush=True)


def lines(threads: int, figures: dict[str, Any]) -> Iterator[str]:
    """Tables in Markdown; microseconds."""
    yield f"### {threads} thread{'s' * (threads > 1)}\n"
    yield "| histories of 20 | runtime | median µs | p99 µs | fastest µs | times numpy: median | fastest |"
    yield "|---|---|---|---|---|---|---|"
    for size, by_name in figures["batches"].items():
        for name, of in by_name.items():
            cells = [f"{of[key]:.0f}" for key in ("median", "p99", "min")]
            cells += [f"{of[key] / by_name['numpy'][key]:.2f}" for key in ("median", "min")]
            yield f"| {size} | {name} | {' | '.join(cells)} |"
    yield "\n| numpy on | median µs | p99 µs | fastest µs |\n|---|---|---|---|"
    for name, of in figures["special"].items():
        yield f"| {name} | {of['median']:.0f} | {of['p99']:.0f} | {of['min']:.0f} |"
    alone, many = (figures["lengths"][size] for size in ("1", "64"))
    yield "\n| interactions | alone, fastest µs | 64 together, fastest µs |\n|---|---|---|"
    for name in alone:
        yield f"| {name} | {alone[name]['min']:.0f} | {many[name]['min']:.0f} |"
    alone, many = (figures["shapes"][size] for size in ("1", "64"))
    yield "\n| m, H, A | alone, fastest µs | ONNX Runtime | 64 together | ONNX Runtime |"
    yield "|---|---|---|---|---|"
    for name in (name for name in alone if "onnx" not in name):
        cells = []
        for by_name in (alone, many):
            ours, theirs = by_name[name]["min"], by_name[f"onnxruntime {name}"]["min"]
            cells += [f"{ours:.0f}", f"{theirs / ours:.2f} times"]
        yield f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
