"""The usual linters over deploy/ and the scripts: what they find fails the build."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.conftest import missing

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def lint(program: str, *arguments: str) -> None:
    if not (BIN / program).exists():
        missing(program)
    done = subprocess.run(
        [BIN / program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    lint("hadolint", "deploy/Dockerfile")


def test_the_compose_file_fits_the_specifications_schema() -> None:
    lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")


def test_the_manifests_fit_kubernetes_own_schemas() -> None:
    files = [str(path) for path in sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))]
    assert files
    lint("kubernetes-validate", "--strict", *files)


def test_shellcheck_finds_nothing_in_the_scripts() -> None:
    scripts = ["deploy/localstack-queues.sh", "scripts/environment.sh", ".ci/run"]
    lint("shellcheck", *scripts)


def test_dashboard_and_alarms_are_promql() -> None:
    try:
        import promql_parser
    except ImportError:
        missing("promql-parser")
        return
    panels = json.loads((ROOT / "deploy/grafana-dashboard.json").read_text())["panels"]
    rules = yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text())["groups"][0]["rules"]
    expressions = [t["expr"] for panel in panels for t in panel["targets"]]
    expressions += [rule["expr"] for rule in rules]
    assert len(expressions) > 20
    for expression in expressions:
        promql_parser.parse(expression)
    with pytest.raises(ValueError, match="."):
        promql_parser.parse("sum(rate(x[5m]")
