"""Version, changelog, package list and documentation agree with the code."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

import click

import sidecar
from sidecar import cli, config

ROOT = Path(__file__).parent.parent


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_package_is_listed() -> None:
    listed = set(setup_cfg()["options"]["packages"].split())
    found = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for top in ("sidecar", "trainer")
        for path in (ROOT / top).rglob("__init__.py")
    }
    assert listed == found | {"sidecar.mappings", "sidecar.weights"}


def test_the_version_stands_in_the_changelog() -> None:
    versions = re.findall(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert versions[0] == sidecar.__version__


def test_every_setting_is_documented_as_it_is() -> None:
    documented = (ROOT / "docs/settings.md").read_text()
    rows = [line for line in documented.splitlines() if line.startswith("| `SIDECAR_")]
    expected = [config.table_row(setting) for setting in config.SETTINGS]
    assert rows == expected, "docs/settings.md should hold:\n" + "\n".join(expected)


def test_every_field_can_be_set() -> None:
    """A field of the settings that no variable reaches could never be changed by anybody."""
    reachable = {(s.group, s.attribute) for s in config.SETTINGS}
    fields = {
        (group, name)
        for group, kind in config._GROUPS.items()
        for name in kind.__dataclass_fields__
    }
    assert fields - reachable == {("search", "vector_field"), ("search", "dimension")}


def test_every_command_is_documented_and_has_an_example() -> None:
    documented = (ROOT / "docs/commands.md").read_text()
    commands = [command for command in cli.main.commands.values() if not command.hidden]
    assert commands
    for command in commands:
        assert f"`sidecar {command.name}`" in documented, command.name
        text = command.get_help(click.Context(command, info_name=command.name))
        assert "Example:" in text, command.name
    names = re.findall(r"^\| `sidecar ([a-z-]+)`", documented, re.M)
    assert set(names) == {command.name for command in commands}


def test_the_readme_starts_with_the_two_commands() -> None:
    first_screen = (ROOT / "README.md").read_text().splitlines()[:30]
    assert any("make demo" in line for line in first_screen)
    assert any("make test" in line for line in first_screen)


def test_links_of_the_documentation_lead_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "weights").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
