"""The command line, and with it the composition root."""

from __future__ import annotations

import os

# One user vector is too small a piece of work for two threads, and pools of several workers that
# share the cores make each other wait a hundred times as long. numpy reads these when it is
# imported, so they come first; what an operator has set stays.
for _threads in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
    os.environ.setdefault(_threads, "1")

# ruff: noqa: E402
import click

from sidecar import __version__
from sidecar.commands import experiment, service, upkeep, weights

_COMMANDS: tuple[click.Command, ...] = (
    service.demo,
    service.setup,
    service.serve,
    service.consume,
    service.doctor,
    upkeep.backfill,
    upkeep.rebuild,
    upkeep.prune,
    upkeep.forget,
    upkeep.redrive,
    experiment.experiment,
    weights.check_weights,
    weights.rollback_weights,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sidecar")
def main() -> None:
    """Personalised re-ranking for people who already run Elasticsearch."""


for _command in _COMMANDS:
    main.add_command(_command)

if __name__ == "__main__":
    main()
