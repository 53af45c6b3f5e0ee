"""A training run as a person sees it: lines, checkpoint, gate, table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from trainer.errors import GateError
from trainer.evaluate.compare import evaluate_tower
from trainer.export import checked, to_weights
from trainer.learn import distributed
from trainer.learn.loop import Epoch, Run, train
from trainer.learn.settings import Settings
from trainer.learn.shop import Shop
from trainer.pipeline import finish, metadata_for, table
from trainer.progress import StepBar, bar, say

#: Names that `on_done` reports: the tower and the baselines.
COMPARED = 9


def checkpoint_path(out: Path) -> Path:
    """Where a run that writes ``out`` keeps what is done so far."""
    return out.with_name(out.stem + ".checkpoint")


def train_and_write(
    shops: Sequence[Shop], settings: Settings, model: str, out: Path, force: bool
) -> None:
    """Train, compare, gate, write; prints the tables to standard output.

    Raises
    ------
    GateError, TrainingError
        The checkpoint is kept.
    """
    metadata = metadata_for(shops, settings, model)
    checkpoint = checkpoint_path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    run = run_with_lines(shops, settings, model, checkpoint)
    if distributed.start()[0] != 0:
        return
    advance = bar("comparing", "ranking")(0, COMPARED * len(shops))
    try:
        comparisons = finish(
            run, shops, metadata, settings, out, force=force, on_done=lambda name: advance(1)
        )
    except GateError as error:
        raise GateError(f"{error}; the run is kept in {checkpoint}") from None
    for comparison in comparisons:
        click.echo(table(comparison))
    say(f"{out} written (best epoch {run.best}); kept beside it: {checkpoint.name}")


def run_with_lines(
    shops: Sequence[Shop], settings: Settings, model: str, checkpoint: Path | None
) -> Run:
    """Train, with a line for each epoch and a bar when a person watches."""
    metadata = metadata_for(shops, settings, model)
    steps = StepBar("epoch")

    def line(e: Epoch) -> None:
        steps.close()
        if e.number == 0:
            say(f"epoch  0: validation NDCG@10 {e.validation:.4f} before training")
        else:
            say(
                f"epoch {e.number:2}: loss {e.loss:.4f}, validation NDCG@10 {e.validation:.4f}, "
                f"temperature {e.temperature:.1f}, {e.seconds:.0f} s"
            )

    try:
        return train(shops, metadata, settings, checkpoint=checkpoint, on_epoch=line, on_step=steps)
    finally:
        steps.close()


def leave_one_shop_out(shops: Sequence[Shop], settings: Settings, model: str) -> None:
    """Train on all shops but one, evaluate on that one, nothing adapted; prints a table."""
    click.echo("leave one shop out: NDCG@10 of the shop that was left out")
    for held in shops:
        others = [s for s in shops if s is not held]
        run = run_with_lines(others, settings, model, None)
        metadata = replace(metadata_for(others, settings, model))
        tower = checked(to_weights(run.tower, None, (), metadata, settings.seed), held.data.name)
        found = evaluate_tower(tower, held.data, held.split, held.vectors, held.vectors)
        row = {k: round(r.figures()["ndcg@10"], 4) for k, r in found.rankings.items()}
        click.echo(f"{held.data.name}: {json.dumps(row)}")
