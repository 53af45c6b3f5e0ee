"""The training loop: epochs over one shop or several, and the best of them by validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from sidecar.contract.schema import Metadata
from trainer.data.cases import Histories
from trainer.errors import TrainingError
from trainer.evaluate.metrics import Scorer, rank
from trainer.learn import distributed
from trainer.learn.average import Average
from trainer.learn.batches import epoch as batches_of
from trainer.learn.objective import Objective
from trainer.learn.optimize import Optimizers
from trainer.learn.settings import Settings
from trainer.learn.shop import Shop
from trainer.learn.start import Start, begin_with, best_start
from trainer.learn.state import load_checkpoint, restore, save_checkpoint, snapshot
from trainer.model.products import ProductTowerModel
from trainer.model.tower import UserTower

#: Validation cases that choose the start.
START_CASES = 2000


@dataclass(frozen=True)
class Epoch:
    """A line of the learning curve. ``number`` 0 is the start."""

    number: int
    loss: float
    validation: float
    temperature: float
    seconds: float


@dataclass
class Run:
    """What training made.

    Parameters
    ----------
    tower : UserTower
        With the parameters of the best epoch.
    products : list[ProductTowerModel]
        One for each shop.
    best : int
        Number of that epoch; 0 when nothing was better than the start.
    curve : list[Epoch]
    start : dict[str, float]
        Which untrained model it began with.
    """

    tower: UserTower
    products: list[ProductTowerModel]
    best: int = 0
    curve: list[Epoch] = field(default_factory=list)
    start: dict[str, float] = field(default_factory=dict)


def train(
    shops: Sequence[Shop],
    metadata: Metadata,
    settings: Settings,
    *,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], object] = lambda e: None,
    on_step: Callable[[int, int], object] = lambda done, total: None,
) -> Run:
    """Train a tower, and keep the epoch that is best on the validation part.

    Parameters
    ----------
    shops : Sequence[Shop]
        With more than one the batches take turns, and the geometric mean over the shops chooses.
    metadata : Metadata
    settings : Settings
    checkpoint : Path, optional
        Written after each epoch; read first when it belongs to the same run.
    on_epoch, on_step : Callable, optional

    Raises
    ------
    TrainingError
        When the loss is not finite.
    """
    torch.manual_seed(settings.seed)
    rank_, world = distributed.start()
    device = distributed.device()
    tower = UserTower(metadata, settings.seed).to(device)
    products = [_product_model(shop, settings, world).to(device) for shop in shops]
    objectives = [Objective(shop, settings).to(device) for shop in shops]
    towers: dict[str, torch.nn.Module] = {"tower": tower}
    towers |= {f"products{i}": model for i, model in enumerate(products)}
    modules = towers | {f"objective{i}": one for i, one in enumerate(objectives)}
    sizes = [min(settings.examples_per_epoch // len(shops), len(s.split.train)) for s in shops]
    batch = settings.chosen_batch_size(sum(sizes))
    per_epoch = sum(math.ceil(n / batch) for n in sizes)
    prints = [s.data.fingerprint for s in shops]
    fingerprint = settings.fingerprint(*prints, metadata.embedding_model, str(world))
    run = Run(tower, products)
    first, start = _start(tower, products, shops, settings)
    run.curve.append(first)
    run.start = start.described()
    optimizers = Optimizers(tower, products, objectives, settings, per_epoch * settings.epochs)
    average = Average(towers, settings.average)
    best, score = snapshot(towers), run.curve[0].validation
    stored = load_checkpoint(checkpoint, fingerprint) if checkpoint else None
    if stored:
        best, score = stored.best, stored.progress["score"]
        run.curve = [Epoch(**e) for e in stored.progress["curve"]]
        run.best = stored.progress["best"]
        stored.put_back(modules, average, optimizers.all)
    for line in run.curve:
        on_epoch(line)
    started = time.monotonic()
    for number in range(len(run.curve), settings.epochs + 1):
        if number - 1 - run.best >= settings.patience:
            break
        loss = _one_epoch(
            shops, tower, products, objectives, optimizers, average, settings,
            number, sizes, batch, per_epoch, (rank_, world), on_step,
        )  # fmt: skip
        value = _validate(average.tower, average.products, shops, settings)
        temperature = float(objectives[0].log_temperature.detach().exp())
        run.curve.append(Epoch(number, loss, value, temperature, time.monotonic() - started))
        on_epoch(run.curve[-1])
        if value > score:
            run.best, score, best = number, value, snapshot(average.modules)
        if checkpoint and rank_ == 0:
            progress = {
                "curve": [vars(e) for e in run.curve],
                "best": run.best,
                "start": run.start,
                "score": score,
                "settings": settings.described(),
                "data": prints,
            }
            save_checkpoint(
                checkpoint, fingerprint, progress, snapshot(modules), best, average, optimizers.all
            )
    restore(towers, best)
    return run


def _product_model(shop: Shop, settings: Settings, world: int) -> ProductTowerModel:
    large = settings.chosen_loss(len(shop.data.catalogue)) != "full" and world == 1
    known = torch.from_numpy(shop.popularity > 0)
    vectors = torch.from_numpy(shop.vectors)
    return ProductTowerModel(vectors, settings.product_tower, known, sparse=large)


def _start(
    tower: UserTower,
    products: Sequence[ProductTowerModel],
    shops: Sequence[Shop],
    settings: Settings,
) -> tuple[Epoch, Start]:
    """Put the best start into the models."""
    begin = time.monotonic()

    def value(start: Start) -> float:
        begin_with(start, tower, products)
        return _validate(tower, products, shops, settings, START_CASES)

    start = best_start(shops, settings, value)
    begin_with(start, tower, products)
    score = _validate(tower, products, shops, settings)
    return Epoch(0, math.nan, score, settings.temperature, time.monotonic() - begin), start


def _one_epoch(
    shops: Sequence[Shop],
    tower: UserTower,
    products: Sequence[ProductTowerModel],
    objectives: Sequence[Objective],
    optimizers: Optimizers,
    average: Average,
    settings: Settings,
    number: int,
    sizes: Sequence[int],
    batch_size: int,
    per_epoch: int,
    share: tuple[int, int],
    on_step: Callable[[int, int], object],
) -> float:
    # Own generator for each epoch: a resumed run draws what the whole one would have drawn.
    rng = np.random.default_rng([settings.seed, number])
    streams: list[tuple[int, Any]] = []
    for i, shop in enumerate(shops):
        own = np.random.default_rng([settings.seed, number, i])
        data, cases = shop.examples(settings.limits, own)
        batches = batches_of(
            data, cases, most=sizes[i], batch_size=batch_size,
            max_interactions=settings.limits.max_interactions,
            history_dropout=settings.history_dropout, relabel=settings.relabel,
            rng=own, share=share,
        )  # fmt: skip
        streams.append((i, batches))
    total, count, step = 0.0, 0, (number - 1) * per_epoch
    while streams:
        for pair in list(streams):
            i, stream = pair
            batch = next(stream, None)
            if batch is None:
                streams.remove(pair)
                continue
            optimizers.zero()
            loss = objectives[i](tower, products[i], batch, rng)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise TrainingError(
                    f"the loss is {value} in epoch {number}, step {step}: expected a finite number "
                    "(a smaller --learning-rate helps); the checkpoint of the last epoch is kept"
                )
            loss.backward()
            distributed.average_gradients(optimizers.parameters, share[1])
            optimizers.step(step)
            average.step()
            total, count, step = total + value, count + 1, step + 1
            on_step(count, per_epoch)
    return total / max(count, 1)


def _validate(
    tower: UserTower,
    products: Sequence[ProductTowerModel],
    shops: Sequence[Shop],
    settings: Settings,
    at_most: int | None = None,
) -> float:
    """NDCG@10 on the validation part; for several shops the geometric mean.

    Figures of one shop are easily ten times those of another: in a plain mean it alone would choose.
    """
    values = []
    for shop, model in zip(shops, products, strict=True):
        cases = shop.split.validation.sample(settings.max_cases, np.random.default_rng(0))
        # A large catalogue chooses its epoch by fewer cases.
        most = max(1000, 400_000_000 // len(shop.data.catalogue))
        most = min(most, at_most or most)
        cases = cases.sample(most, np.random.default_rng(0))
        scorer = torch_scorer(tower, model)
        found = rank(shop.data, cases, scorer, settings.limits.max_interactions)
        values.append(found.figures()["ndcg@10"])
    return float(np.prod(values) ** (1 / len(values)))


def torch_scorer(tower: UserTower, products: ProductTowerModel) -> Scorer:
    """Scores of all products by the torch model as it is now."""
    device = products.vectors.device
    with torch.no_grad():
        q = products()

    def score(histories: Histories) -> np.ndarray[Any, Any]:
        with torch.no_grad():
            history = torch.from_numpy(histories.products.astype(np.int64)).to(device)
            users = tower(
                functional.embedding(history, q),
                torch.from_numpy(histories.events.astype(np.int64)).to(device),
                torch.from_numpy(histories.ages).to(device),
                torch.from_numpy(histories.valid).to(device),
            )
            return (users @ q.T).cpu().numpy()  # type: ignore[no-any-return]

    return score
