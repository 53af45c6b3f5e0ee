"""Every command of both programs ends its help with an example, and the examples can be meant."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from sidecar.cli import main
from trainer.cli import cli

PROGRAMS: dict[str, click.Command] = {"sidecar": main, "trainer": cli}


def commands(path: tuple[str, ...], command: click.Command) -> Iterator[tuple[str, ...]]:
    """The path of each command, groups included."""
    yield path
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None
            yield from commands((*path, name), found)


ALL = [one for name, root in PROGRAMS.items() for one in commands((name,), root)]


def resolve(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that a line calls, and what is left for it."""
    command, rest = PROGRAMS[words[0]], words[1:]
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, f"{words[0]} has no command {rest[0]}"
        command, rest = found, rest[1:]
    return command, rest


def lines(text: str) -> Iterator[list[str]]:
    """The calls of a help's example, without variables in front."""
    example = text.partition("Example:")[2].partition("\n\n")[0]
    for call in " ".join(example.split()).split("&&"):
        words = shlex.split(call)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        yield words


def test_both_programs_have_commands() -> None:
    assert {len(one) for one in ALL} == {1, 2, 3}
    assert ("sidecar", "experiment", "simulate") in ALL
    assert ("trainer", "train") in ALL


@pytest.mark.parametrize("path", [one for one in ALL if one != ("sidecar",)], ids=" ".join)
def test_help_ends_with_an_example_of_options_that_there_are(path: tuple[str, ...]) -> None:
    result = CliRunner().invoke(PROGRAMS[path[0]], [*path[1:], "--help"])
    assert result.exit_code == 0, result.output
    assert "Example:" in result.output
    calls = [words for words in lines(result.output) if words]
    assert any(tuple(words[: len(path)]) == path for words in calls), calls
    for words in calls:
        command, rest = resolve(words)
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
        for word in rest:
            if word.startswith("-"):
                assert word in known, f"{' '.join(words)}: {word}"
