"""What all commands share: errors in one line, settings, stopping, progress."""

from __future__ import annotations

import inspect
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec

import click

from sidecar import config, logs
from sidecar.contract.errors import SidecarError

P = ParamSpec("P")
_EPILOG = "Settings are environment variables: see docs/settings.md."
#: A person sees a bar; a log sees a line for each so many.
_LINE_EVERY = 10_000


def command(example: str, name: str | None = None) -> Callable[[Callable[P, None]], click.Command]:
    """A command of ``sidecar``: its docstring is its help, and the example ends it.

    Errors that the project raises on purpose become one line and exit code 2.

    Parameters
    ----------
    example : str
        A line that works.
    name : str, optional
        Else the function's own.
    """

    def wrap(function: Callable[P, None]) -> click.Command:
        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                function(*args, **kwargs)
            except SidecarError as error:
                fail(str(error))
            except KeyboardInterrupt:
                fail("stopped", code=130)

        run.__doc__ = f"{inspect.getdoc(function)}\n\n\b\nExample:\n  {example}"
        return click.command(name or function.__name__.replace("_", "-"), epilog=_EPILOG)(run)

    return wrap


def fail(message: str, code: int = 2) -> None:
    """Say why in one line, and end."""
    click.echo(f"sidecar: {' '.join(message.split())}", err=True)
    sys.exit(code)


def settings() -> config.Config:
    """The settings of this process; sets the log up on the way.

    Raises
    ------
    ConfigError
    """
    loaded = config.load(os.environ)
    logs.set_up(loaded.service.log_format, loaded.service.log_level)
    for name in config.unknown_variables(os.environ):
        click.echo(f"sidecar: {name} is no setting, and is ignored: see docs/settings.md", err=True)
    return loaded


def stop_on_signals() -> threading.Event:
    """An event that SIGTERM and Ctrl-C set: long work ends after the piece in hand."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


@contextmanager
def progress(label: str, length: int | None = None) -> Iterator[Callable[[int], None]]:
    """Progress of long work: a bar when a person watches, else a plain line now and then.

    Yields
    ------
    Callable[[int], None]
        Takes how many are done so far, in all.
    """
    if sys.stderr.isatty() and length:
        with click.progressbar(length=length, label=label, file=sys.stderr) as bar:
            yield lambda done: bar.update(done - bar.pos)
        return
    said = 0

    def say(done: int) -> None:
        nonlocal said
        if done // _LINE_EVERY > said:
            said = done // _LINE_EVERY
            click.echo(f"{label}: {done}" + (f" of {length}" if length else ""), err=True)

    yield say
