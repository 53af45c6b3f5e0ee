"""A training run as a person sees it: lines, checkpoint, gate, table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from trainer.errors import GateError
from trainer.evaluate.baselines import VECTOR_BASELINES
from trainer.evaluate.compare import TOWER, Comparison, evaluate_tower
from trainer.export import checked, to_weights
from trainer.learn import distributed
from trainer.learn.loop import Epoch, Run, train
from trainer.learn.settings import Settings
from trainer.learn.shop import Shop
from trainer.pipeline import finish, metadata_for, table
from trainer.progress import StepBar, bar, say

#: Names that `on_done` reports: the tower and the baselines.
COMPARED = 9
#: Columns of the table of ``--leave-one-out``.
OTHERS, OWN = "trained on the others", "trained on itself"


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
    """Train on all shops but one, evaluate on that one, nothing adapted; prints a table.

    Beside it stands the same form of tower, trained on that shop alone: what the others could have
    taught it at best.
    """
    names = (OTHERS, OWN, *VECTOR_BASELINES, "item-kNN")
    lines = [f"| NDCG@10 on the shop left out | {' | '.join(names)} |", "|---" * 7 + "|---|"]
    for held in shops:
        others = [s for s in shops if s is not held]
        say(f"{held.data.name} left out")
        found = _evaluated_on(held, others, settings, model)
        say(f"{held.data.name} alone")
        own = _evaluated_on(held, [held], settings, model)
        rows = {OTHERS: found.rankings[TOWER], OWN: own.rankings[TOWER], **found.rankings}
        cells = [f"{rows[name].figures()['ndcg@10']:.4f}" for name in names]
        lines.append(f"| {held.data.name} | {' | '.join(cells)} |")
    click.echo("\n".join(lines))


def _evaluated_on(held: Shop, shops: Sequence[Shop], settings: Settings, model: str) -> Comparison:
    run = run_with_lines(shops, settings, model, None)
    weights = to_weights(run.tower, None, (), metadata_for(shops, settings, model), settings.seed)
    tower = checked(weights, held.data.name)
    return evaluate_tower(tower, held.data, held.split, held.vectors, held.vectors)
