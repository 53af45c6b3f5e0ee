"""The lines of docs/commands.md that switch shell completion on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import cli

SIDECAR = str(Path(sys.executable).parent / "sidecar")
PAGE = (Path(__file__).parents[2] / "docs/commands.md").read_text(encoding="utf-8")


def run(**variables: str) -> str:
    done = subprocess.run(
        [SIDECAR], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    return done.stdout


@pytest.mark.parametrize("shell", re.findall(r"_SIDECAR_COMPLETE=(\w+)_source", PAGE))
def test_a_script_for_each_shell_that_is_named(shell: str) -> None:
    assert "_SIDECAR_COMPLETE" in run(_SIDECAR_COMPLETE=f"{shell}_source")


def test_commands_and_options_are_completed() -> None:
    told = run(_SIDECAR_COMPLETE="bash_complete", COMP_WORDS="sidecar ", COMP_CWORD="1")
    assert {line.partition(",")[2] for line in told.split()} >= cli.main.commands.keys()
    told = run(_SIDECAR_COMPLETE="bash_complete", COMP_WORDS="sidecar demo --o", COMP_CWORD="2")
    assert told.split() == ["plain,--once"]
