"""What an operator must hear about weights files that are not served: each exactly once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sidecar.contract.weights import Weights

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Notice:
    """A file that is not served, and why."""

    file: str
    reason: str


class Notices:
    """The files that are refused now, and the one that waits.

    Parameters
    ----------
    on_refused : Callable[[Notice], None]
        Called once for each refusal.
    """

    def __init__(self, on_refused: Callable[[Notice], None]) -> None:
        self._on_refused = on_refused
        self._refused: dict[str, Notice] = {}
        self.waiting: Notice | None = None

    @property
    def refused(self) -> tuple[Notice, ...]:
        """In the order in which they were refused."""
        return tuple(self._refused.values())

    def refuse(self, file: str, reason: str) -> None:
        """Report, unless the same was said of this file already."""
        notice = Notice(file, reason)
        if self._refused.get(file) == notice:
            return
        # Replaced rather than changed in place: other threads may be reading it.
        self._refused = {**self._refused, file: notice}
        log.error("weights file %s is refused, nothing changes: %s", file, reason)
        self._on_refused(notice)

    def wait(self, notice: Notice | None) -> None:
        """Set what waits; said once."""
        if notice is not None and notice != self.waiting:
            log.warning("weights file %s waits: %s", notice.file, notice.reason)
        self.waiting = notice

    def take_back(self, file: str) -> None:
        """The file was replaced, or accepted: what was said of it no longer holds."""
        if file in self._refused:
            self._refused = {k: v for k, v in self._refused.items() if k != file}

    def keep_only(self, files: Iterable[str]) -> None:
        """What is no longer there is no longer reported."""
        present = set(files)
        for file in [file for file in self._refused if file not in present]:
            self.take_back(file)


def other_space(file: str, running: Weights, new: Weights) -> str:
    """Why weights of another product space wait, and the commands that bring both in line."""
    return (
        f"it needs product vectors of {new.product_space}, and those in use are of "
        f"{running.product_space}: run `trainer vectorize --weights {file}`, and after the switch "
        "`sidecar rebuild`"
    )
