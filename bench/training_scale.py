"""How training time and memory grow with examples and catalogue: one epoch each, in a process of
its own, on made-up data (time depends on the sizes, not on what the numbers say).

    python bench/training_scale.py            all sizes, as a table, for ten minutes at most
    python bench/training_scale.py 4000 300000    one: products, examples of the epoch

Seconds by the clock mean something on a machine with nothing else to do; those of the processor
(both cores together) also where others are at work.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

SIZES = (
    (1_000, 10_000),
    (4_000, 10_000),
    (20_000, 10_000),
    (50_000, 10_000),
    (100_000, 10_000),
    (4_000, 20_000),
    (4_000, 40_000),
    (4_000, 100_000),
    (100_000, 100_000),
)
#: Seconds for all of them; what does not fit any more is left out, and the table says so.
BUDGET = 600


def measure(products: int, examples: int) -> dict[str, float | str]:
    """Seconds and peak memory of one epoch with the default settings."""
    import numpy as np

    from sidecar.contract.events import EventVocabulary
    from sidecar.contract.schema import Metadata
    from trainer.data.dataset import Catalogue, Dataset
    from trainer.data.split import split_by_time
    from trainer.learn.loop import train
    from trainer.learn.settings import Settings
    from trainer.learn.shop import Shop

    rng = np.random.default_rng(0)
    events = int(examples * 1.45)  # 80 % of them train, some are no examples
    customer = np.sort(rng.integers(0, events // 10, events)).astype(np.int32)
    at = np.sort(rng.integers(0, 10**12, events))
    order = np.lexsort((at, customer))
    ids = tuple(map(str, range(products)))
    catalogue = Catalogue(ids, ids, rng.integers(0, 50, products).astype(np.int32))
    vectors = rng.normal(size=(products, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    data = Dataset(
        "made up",
        catalogue,
        EventVocabulary(),
        customer=customer,
        product=(products * rng.random(events) ** 2).astype(np.int32),
        event=np.zeros(events, np.int32),
        at=np.sort(at)[np.argsort(order)] // 10**4,  # visits within two days
    )
    order = np.lexsort((data.at, data.customer))
    data = Dataset(
        data.name, catalogue, data.vocabulary, data.customer[order], data.product[order],
        data.event, data.at[order],
    )  # fmt: skip
    settings = Settings(epochs=1, examples_per_epoch=examples)
    shop = Shop(data, vectors, split_by_time(data))
    marks: list[tuple[float, float]] = []
    started = now()
    train(
        [shop],
        Metadata(architecture=settings.architecture, product_tower=settings.product_tower),
        settings,
        on_epoch=lambda e: marks.append(now()),
    )
    return {
        "products": products,
        "examples": min(examples, len(shop.split.train)),
        "loss": settings.chosen_loss(products),
        "start_seconds": round(marks[0][0] - started[0], 1),
        "epoch_seconds": round(marks[1][0] - marks[0][0], 1),
        "start_cpu": round(marks[0][1] - started[1], 1),
        "epoch_cpu": round(marks[1][1] - marks[0][1], 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def now() -> tuple[float, float]:
    """Seconds by the clock, and of the processor."""
    return time.perf_counter(), time.process_time()


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
        return
    print(
        "| products | examples | loss | start, s | epoch with validation, s "
        "| start, processor s | epoch, processor s | peak memory, GiB |"
    )
    print("|---|---|---|---|---|---|---|---|")
    ends = time.monotonic() + BUDGET
    for products, examples in SIZES:
        command = [sys.executable, __file__, str(products), str(examples)]
        try:
            left = max(1.0, ends - time.monotonic())
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=left)
        except subprocess.TimeoutExpired:
            print(f"| {products:,} | {examples:,} | left out: the {BUDGET} s are over |" + " |" * 5)
            continue
        row = json.loads(done.stdout)
        cells = " | ".join(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values())
        print(f"| {cells} |", flush=True)


if __name__ == "__main__":
    main()
