"""What stands in deploy/: parsed, held against the code and against the usual linters' rules."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from sidecar import cli, config, metrics
from sidecar.updates.metrics import UpdateMetrics

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
SETTINGS = {setting.name for setting in config.SETTINGS}
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n\s*", " ", DOCKERFILE)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines]


def known_variables(names: Any) -> None:
    assert {name for name in names if name.startswith("SIDECAR_")} <= SETTINGS


# --- Dockerfile -----------------------------------------------------------------------------------


def test_the_image_is_pinned_and_does_not_run_as_root() -> None:
    found = instructions()
    for image in (rest for name, rest in found if name == "FROM"):
        assert re.match(r"[\w./-]+:(?!latest)[\w.-]+", image), image
    users = [rest for name, rest in found if name == "USER"]
    assert users
    assert users[-1].split(":")[0] not in ("root", "0")
    assert not any(name in ("ADD", "MAINTAINER") for name, _ in found)
    assert not any("sudo" in rest or "apt-get upgrade" in rest for _, rest in found)
    for name, rest in found:
        if name in ("CMD", "ENTRYPOINT"):
            assert json.loads(rest), "exec form: signals must reach the process"
        if name == "WORKDIR":
            assert rest.startswith("/")
    (health,) = (rest for name, rest in found if name == "HEALTHCHECK")
    assert "/_sidecar/health/live" in health


def test_what_the_image_copies_is_there_and_is_not_ignored() -> None:
    allowed = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    copied = set()
    for name, rest in instructions():
        if name == "COPY" and "--from" not in rest:
            copied |= set(rest.split()[:-1])
    for source in copied:
        assert (ROOT / source).exists(), source
    assert copied == allowed


def test_the_image_sets_what_the_code_reads_and_runs_a_command_that_exists() -> None:
    found = instructions()
    known_variables(re.findall(r"(\w+)=", " ".join(rest for name, rest in found if name == "ENV")))
    (command,) = (json.loads(rest) for name, rest in found if name == "CMD")
    assert command[0] in cli.main.commands


# --- Compose --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_compose_service_is_whole(name: str) -> None:
    service = COMPOSE["services"][name]
    image = service["image"]
    assert image == "es-sidecar" or re.search(r":(?!latest)[\w.-]+$", image)
    for other, how in service.get("depends_on", {}).items():
        needed = COMPOSE["services"][other]
        if how["condition"] == "service_healthy":
            assert "healthcheck" in needed, other
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), "reachable from this machine alone"
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        assert source in COMPOSE["volumes"] or (DEPLOY / source).exists(), volume
    known_variables(service.get("environment", {}))
    if image == "es-sidecar" and "entrypoint" not in service:
        assert service["command"][0] in cli.main.commands
        loaded = config.load({k: str(v) for k, v in service["environment"].items()})
        assert loaded.service.api_key


def test_the_queues_of_the_compose_file_are_made() -> None:
    script = DEPLOY / "localstack-queues.sh"
    assert os.access(script, os.X_OK)
    assert subprocess.run(["sh", "-n", script], check=False).returncode == 0
    made = re.findall(r"--queue-name ([\w-]+)", script.read_text())
    environment = COMPOSE["services"]["consume"]["environment"]
    for name in ("SIDECAR_SQS_QUEUE_URL", "SIDECAR_SQS_DEAD_LETTER_URL"):
        assert environment[name].rpartition("/")[2] in made
    attributes = shlex.split(script.read_text().replace("\\\n", " "))[-1]
    policy = json.loads(json.loads(attributes)["RedrivePolicy"])
    assert policy["deadLetterTargetArn"].rpartition(":")[2] == "shop-events-dead"


# --- Kubernetes -----------------------------------------------------------------------------------


def manifests() -> list[dict[str, Any]]:
    return [
        one
        for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
        for one in yaml.safe_load_all(path.read_text())
    ]


def pods() -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    for one in manifests():
        spec = one.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        if "template" in spec:
            yield one, spec["template"]


def test_every_manifest_has_a_kind_and_a_name_of_its_own() -> None:
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests()]
    assert len(names) == len(set(names))
    assert all(one["apiVersion"] for one in manifests())


def test_pods_are_confined_limited_and_probed() -> None:
    config_maps = {
        one["metadata"]["name"]: one["data"] for one in manifests() if one["kind"] == "ConfigMap"
    }
    assert len(list(pods())) == 3
    for manifest, template in pods():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        volumes = {one["name"] for one in spec["volumes"]}
        for container in spec["containers"]:
            assert re.search(r":(?!latest)[\w.-]+$", container["image"])
            assert container["args"][0] in cli.main.commands
            own = container["securityContext"]
            assert own["readOnlyRootFilesystem"] is True
            assert own["allowPrivilegeEscalation"] is False
            assert own["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["requests"].keys() == {"cpu", "memory"}
            assert container["resources"]["limits"]["memory"]
            assert {one["name"] for one in container["volumeMounts"]} <= volumes
            known_variables(one["name"] for one in container.get("env", []))
            for source in container["envFrom"]:
                if "configMapRef" in source:
                    data = config_maps[source["configMapRef"]["name"]]
                    known_variables(data)
                    config.load({**data, "SIDECAR_API_KEY": "x"})
            if manifest["kind"] == "Deployment":
                ports = {one["name"] for one in container["ports"]}
                for probe, path in (
                    ("livenessProbe", "live"),
                    ("readinessProbe", "ready"),
                    ("startupProbe", "live"),
                ):
                    asked = container[probe]["httpGet"]
                    assert asked["path"] == f"/_sidecar/health/{path}"
                    assert asked["port"] in ports


def test_pods_stop_later_than_the_sidecar_does() -> None:
    from sidecar.updates.settings import UpdateSettings

    seconds = {
        one["metadata"]["name"]: template["spec"].get("terminationGracePeriodSeconds", 30)
        for one, template in pods()
    }
    assert seconds["sidecar-serve"] > 30 + 5
    assert seconds["sidecar-consume"] > UpdateSettings().stop_s + 5


def test_selectors_find_their_pods() -> None:
    labels = [template.get("metadata", {}).get("labels", {}) for _, template in pods()]
    for one in manifests():
        selector = one.get("spec", {}).get("selector")
        if selector:
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= own.items() for own in labels), one["metadata"]["name"]


# --- Metrics --------------------------------------------------------------------------------------


def exported() -> set[str]:
    registry = CollectorRegistry()
    metrics.SearchMetrics(registry)
    UpdateMetrics(registry)
    metrics.WeightsMetrics(registry)
    metrics.LogMetrics(registry)
    names = set()
    for one in registry.collect():
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
        names |= {one.name + ending for ending in endings.get(one.type, [""])}
    return names


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    return found


def expressions() -> list[str]:
    rules = yaml.safe_load((DEPLOY / "alerts.yaml").read_text())["groups"][0]["rules"]
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] for rule in rules)
    panels = dashboard()["panels"]
    return [r["expr"] for r in rules] + [t["expr"] for p in panels for t in p["targets"]]


def test_dashboard_and_alarms_ask_for_metrics_that_there_are() -> None:
    known = exported()
    for expression in expressions():
        for name in re.findall(r"sidecar_\w+", expression):
            assert name in known, f"{name} in {expression}"
        assert expression.count("(") == expression.count(")")


def test_panels_of_the_dashboard_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not own & taken, panel["title"]
        taken |= own


def test_the_operations_page_names_metrics_that_there_are() -> None:
    page = (ROOT / "docs/operations.md").read_text()
    known = exported() | {name.rsplit("_", 1)[0] for name in exported()}
    for name in re.findall(r"`(sidecar_\w+)", page):
        assert name in known, name
