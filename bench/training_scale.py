"""How training time and memory grow with examples and catalogue: one epoch each, in a process of
its own, on made-up data (time depends on the sizes, not on what the numbers say).

    python bench/training_scale.py            all sizes, as a table
    python bench/training_scale.py 4000 300000    one: products, examples of the epoch
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

SIZES = ((4_000, 30_000), (4_000, 100_000), (20_000, 30_000), (50_000, 30_000), (100_000, 30_000))


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
    marks: list[float] = []
    started = time.perf_counter()
    train(
        [shop],
        Metadata(architecture=settings.architecture, product_tower=settings.product_tower),
        settings,
        on_epoch=lambda e: marks.append(time.perf_counter()),
    )
    return {
        "products": products,
        "examples": min(examples, len(shop.split.train)),
        "loss": settings.chosen_loss(products),
        "start_seconds": round(marks[0] - started, 1),
        "epoch_seconds": round(marks[1] - marks[0], 1),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def main() -> None:
    if len(sys.argv) == 3:
        print(json.dumps(measure(int(sys.argv[1]), int(sys.argv[2]))))
        return
    print("| products | examples | loss | start, s | epoch with validation, s | peak memory, GiB |")
    print("|---|---|---|---|---|---|")
    for products, examples in SIZES:
        command = [sys.executable, __file__, str(products), str(examples)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        row = json.loads(done.stdout)
        print(
            "| "
            + " | ".join(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values())
            + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
