"""From files to a weights file: what `trainer train`, `evaluate` and `export` have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sidecar.contract.schema import EMBEDDING_MODEL, Metadata
from sidecar.contract.weights import Weights, write_weights
from sidecar.tower.load import Tower
from trainer.data.fields import Fields
from trainer.data.load import OURS, load_dataset
from trainer.data.split import split_by_time
from trainer.errors import GateError
from trainer.evaluate.compare import Comparison, calibrate, evaluate_tower
from trainer.evaluate.extra import ALS, SASREC
from trainer.export import checked, created_at, gate, to_weights
from trainer.learn import distributed
from trainer.learn.loop import Run
from trainer.learn.settings import Settings
from trainer.learn.shop import Shop
from trainer.progress import bar, say
from trainer.vectors.cache import product_vectors
from trainer.vectors.space import apply_product_tower

#: Test cases that are ranked at most.
TEST_CASES = 20_000


def load_shop(
    products: str | Path,
    events: str | Path,
    settings: Settings,
    *,
    vectors: Path | None,
    ties: str = "file",
    model: str = EMBEDDING_MODEL,
    metadata: Metadata | None = None,
    test_cases: int = TEST_CASES,
    fields: Fields = OURS,
) -> Shop:
    """Read, embed, split; warnings go to standard error.

    Parameters
    ----------
    products, events : str or Path
    settings : Settings
        History limits and seed.
    vectors : Path, optional
        File that keeps the text vectors.
    ties : str
    model : str
    metadata : Metadata, optional
        Of the weights that are evaluated: their vocabulary and price limits are used.
    test_cases : int
    fields : Fields
        Where the products' file keeps what their texts are made of.

    Raises
    ------
    DataError, ConfigError
    """
    data = load_dataset(
        products,
        events,
        ties=ties,
        seed=settings.seed,
        vocabulary=metadata.vocabulary if metadata else None,
        price_tiers=metadata.price_tiers if metadata and metadata.price_tiers else None,
        fields=fields,
    )
    for note in data.warnings:
        say(f"warning: {data.name}: {note}")
    # Before the vectors: an empty split must not cost an hour of embedding first.
    split = split_by_time(data, settings.limits, test_cases, settings.seed)
    for note in split.warnings:
        say(f"warning: {data.name}: {note}")
    with _first_process_first():
        made = product_vectors(
            data.catalogue, vectors, model=model, progress=bar("embedding", "text")
        )
    say(
        f"{data.name}: {len(data.catalogue):,} products, {len(data.at):,} events, "
        f"{len(split.train):,} examples to train on, {len(split.validation):,} to choose by, "
        f"{len(split.test):,} to report"
    )
    return Shop(data, made, split)


@contextmanager
def _first_process_first() -> Iterator[None]:
    """Under torchrun the first process makes the vectors, and the others read what it wrote."""
    number, world = distributed.start()
    if number:
        torch.distributed.barrier()
    yield
    if world > 1 and not number:
        torch.distributed.barrier()


def metadata_for(shops: Sequence[Shop], settings: Settings, model: str) -> Metadata:
    """What a weights file says before it has figures."""
    tiers = shops[0].data.catalogue.price_tiers if len(shops) == 1 else {}
    return Metadata(
        architecture=settings.architecture,
        vocabulary=shops[0].data.vocabulary,
        limits=settings.limits,
        product_tower=settings.product_tower,
        embedding_model=model,
        price_tiers=tiers,
        training={
            "data": [
                {
                    "name": s.data.name,
                    "fingerprint": s.data.fingerprint,
                    "products": len(s.data.catalogue),
                    "events": len(s.data.at),
                    "examples": len(s.split.train),
                }
                for s in shops
            ],
            "event_types_seen": _types_seen(shops),
            "settings": settings.described(),
        },
        created_at=created_at(),
    )


def _types_seen(shops: Sequence[Shop]) -> list[str]:
    names = shops[0].data.vocabulary.names
    return [name for i, name in enumerate(names) if any((s.data.event == i).any() for s in shops)]


def finish(
    run: Run,
    shops: Sequence[Shop],
    metadata: Metadata,
    settings: Settings,
    out: Path,
    *,
    force: bool = False,
    on_done: Callable[[str], object] = lambda name: None,
) -> list[Comparison]:
    """Export, calibrate, compare, pass the gate, write.

    Raises
    ------
    GateError
        Nothing is written then.
    """
    metadata = replace(
        metadata,
        training={
            **metadata.training,
            "best_epoch": run.best,
            "start": run.start,
            "curve": [
                {"epoch": e.number, "validation": round(e.validation, 6)}
                | ({"loss": round(e.loss, 5)} if e.number else {})
                for e in run.curve
            ],
        },
    )
    one = len(shops) == 1
    ids = tuple(shops[0].data.catalogue.ids)
    weights = to_weights(run.tower, run.products[0] if one else None, ids, metadata, settings.seed)
    tower = checked(weights, str(out))
    calibration, _, _ = calibrate(
        tower, shops[0].data, shops[0].split.validation, _space(tower, shops[0])
    )
    comparisons = [
        evaluate_tower(tower, s.data, s.split, s.vectors, _space(tower, s), on_done) for s in shops
    ]
    verdicts: list[Mapping[str, Any]] = []
    for comparison in comparisons:
        try:
            verdicts.append(gate(comparison, force))
        except GateError as error:
            name = f"{comparison.data}: " if not one else ""
            raise GateError(f"{name}{error}") from None
    metrics = {
        c.data: {"gate": dict(v), "cases": c.cases, "results": _rounded(c)}
        for c, v in zip(comparisons, verdicts, strict=True)
    }
    metadata = replace(metadata, calibration=calibration, metrics=metrics)
    write(out, replace(weights, metadata=metadata))
    return comparisons


def _space(tower: Tower, shop: Shop) -> Any:
    return apply_product_tower(tower.weights, shop.data.catalogue.ids, shop.vectors)


def _rounded(comparison: Comparison) -> dict[str, dict[str, float]]:
    return {
        name: {key: round(value, 5) for key, value in ranking.figures().items()}
        for name, ranking in comparison.rankings.items()
    }


def write(out: Path, weights: Weights) -> None:
    """Write atomically, in a folder that is made."""
    out.parent.mkdir(parents=True, exist_ok=True)
    write_weights(out, weights)


def table(comparison: Comparison) -> str:
    """The comparison as lines of text."""
    described = comparison.described()
    lines = [
        f"{comparison.data}: {comparison.cases:,} test cases, full ranking of "
        f"{comparison.products:,} products",
        f"{'':24}{'NDCG@10':>9}{'95 % interval':>20}{'R@10':>8}{'R@20':>8}{'MRR':>8}{'coverage':>10}",
    ]
    for name, row in described["results"].items():
        low, high = row["ndcg@10_low"], row["ndcg@10_high"]
        lines.append(
            f"{name:24}{row['ndcg@10']:9.4f}{f'{low:.4f} to {high:.4f}':>20}{row['recall@10']:8.4f}"
            f"{row['recall@20']:8.4f}{row['mrr']:8.4f}{row['coverage']:10.3f}"
        )
    learned = [name for name in (ALS, SASREC) if name in comparison.rankings]
    for name in (comparison.best_vector_baseline, "item-kNN", "item-kNN tuned", *learned):
        gain = comparison.gain(name)
        lines.append(
            f"tower against {name}: {gain['ratio']:.2f} times, {gain['difference']:+.4f} "
            f"({gain['low']:+.4f} to {gain['high']:+.4f})"
        )
    return "\n".join(lines)
