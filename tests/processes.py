"""The sidecar's commands as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SIDECAR = str(Path(sys.executable).parent / "sidecar")
PATIENCE_S = 60.0


@contextmanager
def process(command: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    """A command that runs until the end of the block, and then stops by itself."""
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [SIDECAR, command], env=os.environ | environment, stderr=output, stdout=output
        ) as started,
    ):
        try:
            yield
        finally:
            started.send_signal(signal.SIGTERM)
            assert started.wait(30) == 0, log.read_text()


def until(true: Callable[[], bool], what: str) -> None:
    """Wait for a condition; the bound only keeps a broken test from hanging."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
