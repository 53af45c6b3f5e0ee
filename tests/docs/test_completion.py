"""The lines of docs/commands.md that switch shell completion on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import cli
from trainer.cli import COMMANDS

BIN = Path(sys.executable).parent
PAGE = (Path(__file__).parents[2] / "docs/commands.md").read_text(encoding="utf-8")
SETUPS = re.findall(r"_(\w+)_COMPLETE=(\w+)_source (\w+)", PAGE)


def run(program: str, **variables: str) -> str:
    done = subprocess.run(
        [BIN / program],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_each_shell_is_named_for_each_program() -> None:
    wanted = {(p, s) for p in ("sidecar", "trainer") for s in ("bash", "zsh", "fish")}
    assert {(program, shell) for _, shell, program in SETUPS} == wanted
    assert all(prefix == program.upper() for prefix, _, program in SETUPS)


@pytest.mark.parametrize(("prefix", "shell", "program"), SETUPS)
def test_a_script_for_each_shell_that_is_named(
    prefix: str, shell: str, program: str, tmp_path: Path
) -> None:
    script = run(program, **{f"_{prefix}_COMPLETE": f"{shell}_source"})
    assert f"_{prefix}_COMPLETE" in script
    if shutil.which(shell):  # bash is everywhere
        file = tmp_path / "completion"
        file.write_text(script)
        parsed = subprocess.run([shell, "-n", file], capture_output=True, text=True, check=False)
        assert parsed.returncode == 0, parsed.stderr


def test_the_line_for_bash_works_in_bash() -> None:
    (line,) = re.findall(r"^(eval .*bash_source sidecar\)\")", PAGE, re.M)
    done = subprocess.run(
        ["bash", "-c", f"{line}; complete -p sidecar"],
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "_sidecar_completion" in done.stdout, done.stderr


def test_commands_and_options_are_completed() -> None:
    def complete(program: str, words: str) -> list[str]:
        told = run(
            program,
            **{f"_{program.upper()}_COMPLETE": "bash_complete"},
            COMP_WORDS=f"{program} {words}",
            COMP_CWORD=str(len(f"{program} {words}".split(" ")) - 1),
        )
        return [line.partition(",")[2] for line in told.split()]

    assert set(complete("sidecar", "")) >= cli.main.commands.keys()
    assert complete("sidecar", "demo --o") == ["--once"]
    assert complete("sidecar", "experiment ") == ["report", "simulate"]
    assert set(complete("trainer", "")) >= set(COMMANDS)
