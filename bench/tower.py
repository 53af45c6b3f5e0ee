"""How fast the user tower is, beside the runtimes that one would reach for instead.

    python bench/tower.py                     everything: about six minutes
    python bench/tower.py --threads 1 --seconds 3 --no-compile
    python bench/tower.py --architecture 64 4 64      instead of the shipped m, H, A
    python bench/tower.py --json figures.json

Prints the tables of ``docs/tower.md``, in Markdown. One process for each number of threads; in it
torch eager, torch.compile, ONNX Runtime and numpy take turns on the same weights and the same
histories of 20 interactions, so that whatever else the machine does meets all of them. The torch
logger's remarks on an export are left out.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import platform
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

from tower_peers import Run, bind, onnx_runtime, torch_compiled, torch_eager
from tower_tables import cost_tables, runtimes

ROOT = Path(__file__).resolve().parent.parent
BATCHES = (1, 8, 64, 256)
LENGTH = 20
LENGTHS = (1, 2, 3, 5, 8, 12, 16, 20)
#: (width m, heads H, head size A)
SHAPES = ((32, 4, 8), (32, 4, 32), (32, 8, 32), (48, 4, 48), (48, 6, 48), (64, 2, 32), (64, 2, 64),
          (64, 3, 64), (64, 4, 64), (64, 6, 64), (128, 4, 32), (128, 4, 128))  # fmt: skip
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
#: They pin numpy's OpenBLAS to another processor's kernels, which is not what users run.
PINNING = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
#: Threads of a pool spin for a while after their work: long enough to be gone before the next
#: runtime's turn.
REST_S = 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=6.0, help="for each runtime and batch")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--architecture", type=int, nargs=3, metavar=("m", "H", "A"))
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--costs", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        cases, _ = ours()
        shipped = architecture(cases, arguments.architecture)
        weights = cases.random_weights(0, shipped)
        figures = measure(arguments.child, arguments.seconds, weights, not arguments.no_compile)
        if arguments.costs:
            figures |= costs(arguments.child, arguments.seconds, weights)
        print(json.dumps(figures))
        return
    environment = {k: v for k, v in os.environ.items() if k not in PINNING}
    if removed := sorted(set(os.environ) - set(environment)):
        note(f"running without {' and '.join(removed)}: numpy's OpenBLAS is slow with it")
    everything = {}
    for threads in arguments.threads:
        limits = dict.fromkeys(THREAD_VARIABLES, str(threads))
        command = [sys.executable, __file__, "--child", str(threads),
                   "--seconds", str(arguments.seconds)]  # fmt: skip
        command += ["--no-compile"] if arguments.no_compile else []
        if arguments.architecture:
            command += ["--architecture", *map(str, arguments.architecture)]
        command += ["--costs"] if threads == arguments.threads[0] else []
        done = subprocess.run(
            command, env={**environment, **limits}, stdout=subprocess.PIPE, text=True, check=True
        )
        everything[threads] = json.loads(done.stdout.splitlines()[-1])
    if arguments.json:
        arguments.json.write_text(json.dumps(everything, indent=1))
    for threads, figures in everything.items():
        print("\n".join(runtimes(threads, figures)), end="\n\n")
    print("\n".join(cost_tables(everything[arguments.threads[0]])))


# --- Measuring -----------------------------------------------------------------------------------


def architecture(cases: Any, sizes: list[int] | None) -> Any:
    """The shipped one, unless another is asked for."""
    from sidecar.contract.weights import read_weights

    if sizes:
        return cases.Architecture(width=sizes[0], heads=sizes[1], head_dimension=sizes[2])
    return read_weights(ROOT / "weights" / "user_tower.safetensors").metadata.architecture


def measure(threads: int, seconds: float, weights: Any, with_compile: bool) -> dict[str, Any]:
    """All runtimes on one architecture with every term in use; batch to name to figures."""
    import torch

    cases, served = ours()
    torch.set_num_threads(threads)
    engines = {
        "torch": torch_eager(weights),
        "onnxruntime": onnx_runtime(weights, threads, histories(cases, [LENGTH] * 2)),
        "numpy": served(weights),
    }
    if with_compile:
        engines["torch.compile"] = torch_compiled(weights)
    figures: dict[str, Any] = {"batches": {}, "setting": setting(threads, weights)}
    for size in BATCHES:
        note(f"threads: {threads}, batch: {size}")
        batch = histories(cases, [LENGTH] * size)
        runs: dict[str, Run] = {}
        for name, engine in engines.items():
            try:
                runs[name] = engine(batch)
                check(name, runs[name](), runs["torch"]())
            except Exception as error:  # torch.compile wants a C++ compiler, for one
                note(f"{name} left out: {str(error).splitlines()[0]}")
                runs.pop(name, None)
        figures["batches"][size] = turns(runs, seconds * len(runs), REST_S if threads > 1 else 0)
    return figures


def costs(threads: int, seconds: float, weights: Any) -> dict[str, Any]:
    """Numpy by length, untrained, and by architecture beside the other runtimes."""
    import numpy as np

    cases, served = ours()
    from sidecar.tower.prior import prior_weights

    prior = prior_weights(weights.metadata)
    mixed = np.random.default_rng(2).integers(1, LENGTH + 1, 64).tolist()
    note("special cases and lengths")
    special = {
        "64 histories of 20": (weights, [LENGTH] * 64),
        "64 histories of 1 to 20": (weights, mixed),
        "untrained, 1 of 20": (prior, [LENGTH]),
        "untrained, 64 of 20": (prior, [LENGTH] * 64),
    }
    figures: dict[str, Any] = {"lengths": {}, "shapes": {}}
    figures["special"] = turns(
        {name: served(of)(histories(cases, lengths)) for name, (of, lengths) in special.items()},
        seconds,
    )
    for size in (1, 64):
        figures["lengths"][size] = turns(
            {str(n): served(weights)(histories(cases, [n] * size)) for n in LENGTHS}, seconds
        )
    note("architectures")
    engines = {}
    for m, h, a in SHAPES:
        other = cases.random_weights(0, architecture(cases, [m, h, a]))
        engines[f"{m}, {h}, {a}"] = {
            "numpy": served(other),
            "onnxruntime": onnx_runtime(other, threads, histories(cases, [LENGTH] * 2)),
            "torch": torch_eager(other),
        }
    for size in (1, 64):
        batch = histories(cases, [LENGTH] * size)
        figures["shapes"][size] = {
            name: turns({one: engine(batch) for one, engine in by_name.items()}, seconds / 2)
            for name, by_name in engines.items()
        }
    return figures


def ours() -> tuple[Any, Any]:
    """The tests' random weights and histories, and the engine that is measured."""
    if str(ROOT) not in sys.path:
        sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from tower import cases

    from sidecar.tower.served import fold, served_tower

    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")

    def served(weights: Any) -> Any:
        folded = fold(weights)
        return lambda batch: bind(served_tower, folded, *batch)

    return cases, served


def histories(cases: Any, lengths: list[int]) -> Any:
    import numpy as np

    return cases.random_batch(np.random.default_rng(1), lengths, max(lengths), cases.Metadata())


def setting(threads: int, weights: Any) -> str:
    import numpy as np
    import onnxruntime
    import torch

    shipped = weights.metadata.architecture
    lines = Path("/proc/cpuinfo").read_text() if platform.system() == "Linux" else ""
    field = {
        k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines.split("\n"))
    }
    kind = f"family {field['cpu family']}, " if "cpu family" in field else ""
    avx512 = "with" if "avx512f" in field.get("flags", "") else "without"
    return (
        f"m, H, A = {shipped.width}, {shipped.heads}, {shipped.head_dimension}; "
        f"{threads} thread{'s' * (threads > 1)} of {os.cpu_count()} cores, "
        f"{field.get('model name', platform.processor())} ({kind}{avx512} AVX-512); "
        f"numpy {np.__version__}, torch {torch.__version__.partition('+')[0]}, "
        f"ONNX Runtime {onnxruntime.__version__}; load {os.getloadavg()[0]:.1f}"
    )


def check(name: str, found: Any, expected: Any) -> None:
    import numpy as np

    worst = float(np.abs(np.asarray(found[0]) - np.asarray(expected[0])).max())
    assert worst <= 1e-5, f"{name} is {worst:.2g} away from torch"


def turns(runs: dict[str, Run], seconds: float, rest_s: float = 0.0) -> dict[str, dict[str, float]]:
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
            time.sleep(rest_s)
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


def note(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
