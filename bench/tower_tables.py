"""The figures of ``bench/tower.py`` as the tables of ``docs/tower.md``, in Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

#: At one thread: how many times as long the others should take at least, by batch.
GOALS = {1: {"onnxruntime": 1.5, "torch": 3.0}, 64: {"onnxruntime": 2.0, "torch": 4.0}}


def runtimes(threads: int, figures: dict[str, Any]) -> Iterator[str]:
    """All runtimes beside numpy, and what was wanted; microseconds."""
    yield f"### {threads} thread{'s' * (threads > 1)}\n"
    yield f"{figures['setting']}.\n"
    yield "| histories of 20 | runtime | median µs | p99 µs | fastest µs | times numpy: median | fastest |"
    yield "|---|---|---|---|---|---|---|"
    for size, by_name in figures["batches"].items():
        for name, of in by_name.items():
            cells = [f"{of[key]:.0f}" for key in ("median", "p99", "min")]
            cells += [f"{of[key] / by_name['numpy'][key]:.2f}" for key in ("median", "min")]
            yield f"| {size} | {name} | {' | '.join(cells)} |"
    if threads > 1:
        return
    yield "\n| histories of 20 | beside | wanted | median | fastest | |\n|---|---|---|---|---|---|"
    for goal_size, goals in GOALS.items():
        by_name = figures["batches"][str(goal_size)]
        for name, goal in goals.items():
            median, fastest = (by_name[name][k] / by_name["numpy"][k] for k in ("median", "min"))
            verdict = "reached" if min(median, fastest) >= goal else "**not reached**"
            yield f"| {goal_size} | {name} | {goal:g} | {median:.2f} | {fastest:.2f} | {verdict} |"


def cost_tables(figures: dict[str, Any]) -> Iterator[str]:
    """Special cases, lengths and architectures; microseconds."""
    yield "## Cost by length and by architecture\n"
    yield "| numpy on | median µs | p99 µs | fastest µs |\n|---|---|---|---|"
    for name, of in figures["special"].items():
        yield f"| {name} | {of['median']:.0f} | {of['p99']:.0f} | {of['min']:.0f} |"
    alone, many = (figures["lengths"][size] for size in ("1", "64"))
    yield "\n| interactions | alone, fastest µs | 64 together, fastest µs |\n|---|---|---|"
    for name in alone:
        yield f"| {name} | {alone[name]['min']:.0f} | {many[name]['min']:.0f} |"
    yield "\n| m, H, A | alone, fastest µs | ONNX Runtime | torch | 64 together | ONNX Runtime | torch |"
    yield "|---|---|---|---|---|---|---|"
    for name in figures["shapes"]["1"]:
        cells = []
        for size in ("1", "64"):
            of = figures["shapes"][size][name]
            cells.append(f"{of['numpy']['min']:.0f}")
            cells += [
                f"{of[other]['min'] / of['numpy']['min']:.2f} times"
                for other in ("onnxruntime", "torch")
            ]
        yield f"| {name} | {' | '.join(cells)} |"
