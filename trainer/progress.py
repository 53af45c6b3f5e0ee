"""Progress bars when a person watches, plain lines when not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import click
from tqdm import tqdm


def speaks() -> bool:
    """Whether this process is the one that says something: the first, under torchrun."""
    return os.environ.get("RANK", "0") == "0"


def watched() -> bool:
    """Whether a person looks at standard error."""
    return sys.stderr.isatty() and speaks()


def say(line: str) -> None:
    """A line about the work, to standard error: standard output is for results."""
    if watched():
        tqdm.write(line, file=sys.stderr)
    elif speaks():
        click.echo(line, err=True)


def bar(label: str, unit: str) -> Callable[[int, int], Callable[[int], object]]:
    """A bar that is made when the work's size is known: (done, total) to what advances it."""

    def start(done: int, total: int) -> Callable[[int], object]:
        shown = tqdm(
            desc=label, unit=unit, total=total, initial=done, disable=not watched(), leave=False,
            file=sys.stderr,
        )  # fmt: skip
        if not watched():
            say(f"{label}: {total - done:,} of {total:,} {unit}s to do")

        def advance(n: int) -> None:
            shown.update(n)
            if shown.total is not None and shown.n >= shown.total:
                shown.close()

        return advance

    return start


class StepBar:
    """One bar for each epoch, made anew when the count starts again."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.shown: tqdm[None] | None = None

    def __call__(self, done: int, total: int) -> None:
        if not watched():
            return
        if self.shown is None or done <= 1:
            self.close()
            self.shown = tqdm(desc=self.label, total=total, unit="step", leave=False)
        self.shown.update(1)

    def close(self) -> None:
        """Take the bar away."""
        if self.shown is not None:
            self.shown.close()
            self.shown = None
