"""The command line: `trainer vectorize | dataset | train | evaluate | export | report`."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import warnings

import click

from sidecar.contract.errors import SidecarError

#: Command to the one line of `trainer --help`, so that help needs no torch.
COMMANDS = ("dataset", "vectorize", "train", "evaluate", "export", "report")


class LazyGroup(click.Group):
    """Imports a command's module when the command is asked for: `--help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"trainer.commands.{cmd_name}")
        return module.command  # type: ignore[no-any-return]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: trainer train --products products.parquet --events events.parquet "
    "--out weights/user_tower.safetensors",
)
def cli() -> None:
    """Train the user tower on a shop's own products and events."""


def main(arguments: list[str] | None = None) -> None:
    """Run a command: 0 when it did its work, 2 with one line when not, 130 after Ctrl-C or SIGTERM."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning)
    try:
        if threading.current_thread() is threading.main_thread():
            # What an orchestrator sends: ends as Ctrl-C does, so that as much is kept.
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        cli.main(args=arguments, prog_name="trainer", standalone_mode=False)
    except click.exceptions.Abort:
        _fail("stopped; what was done so far is kept, the same command goes on from there", 130)
    except KeyboardInterrupt:
        _fail("stopped; what was done so far is kept, the same command goes on from there", 130)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.UsageError as error:
        _fail(f"{error.format_message()} (trainer --help)", 2)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except ModuleNotFoundError as error:
        _fail(f"{error.name} is not installed: pip install '.[trainer]' in a clone", 2)
    except SidecarError as error:
        _fail(str(error), 2)
    except MemoryError:
        _fail("out of memory: fewer --test-cases or a smaller --full-softmax need less", 2)
    except OSError as error:
        _fail(f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), 2)


def _fail(line: str, code: int) -> None:
    number = os.environ.get("RANK", "0")  # under torchrun
    name = "trainer" if number == "0" else f"trainer, process {number}"
    click.echo(f"{name}: {line}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
