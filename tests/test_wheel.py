"""What `pip install .` puts on a machine: complete, and without the trainer's libraries."""

from __future__ import annotations

import configparser
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | environment, cwd="/"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as installed, apart from the checkout. Builds without the network."""
    source = tmp_path_factory.mktemp("source")
    tracked = ("sidecar", "trainer", "weights", "mappings", "setup.cfg", "pyproject.toml")
    for name in (*tracked, "README.md", "LICENSE"):
        run("cp", "-R", str(ROOT / name), str(source))
    target = tmp_path_factory.mktemp("installed")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation")
    run(*pip, "--target", str(target), str(source))
    return target


def test_the_files_that_belong_to_the_code_come_along(installed: Path) -> None:
    script = f"""
import sidecar, pathlib
from sidecar import resources
from sidecar.embedded import catalogue
from sidecar.tower.load import load_tower
assert pathlib.Path(sidecar.__file__).is_relative_to(pathlib.Path({str(installed)!r})), sidecar.__file__
print(load_tower(resources.shipped_weights()).weights.fingerprint)
for name in ("products", "users", "pages"):
    resources.mapping(name)
assert catalogue.VECTORS.is_file()
"""
    assert len(run(sys.executable, "-c", script, PYTHONPATH=str(installed)).strip()) == 16


def test_templates_and_style_sheets_come_along(installed: Path) -> None:
    for path in (ROOT / "sidecar").rglob("*"):
        if path.suffix in {".html", ".css", ".js", ".json"}:
            assert (installed / path.relative_to(ROOT)).is_file(), path


def test_the_requirements_of_serving_are_few_and_light() -> None:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "setup.cfg")
    lines = parser["options"]["install_requires"].split("\n")
    names = {line.split(">")[0].strip() for line in lines if line and not line.startswith("#")}
    assert len(names) <= 12
    assert not names & {"torch", "sentence-transformers", "pandas", "pyarrow", "scipy"}
