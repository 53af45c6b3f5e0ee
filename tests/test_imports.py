"""Imports run one way, and serving runs without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = {
    "contract": set(),
    "tower": {"contract"},
    "elastic": {"contract", "tower"},
    "search": {"contract", "tower"},
    "updates": {"contract", "tower", "elastic", "search"},
    "web": {"contract", "tower", "elastic", "search", "updates"},
    "embedded": {"contract", "elastic"},
}
#: The composition root and what it composes: these may import any layer.
ROOT_MODULES = {
    "__init__",
    "cli",
    "commands",
    "compose",
    "config",
    "config_text",
    "consuming",
    "demo",
    "doctor",
    "logs",
    "serving",
}
#: Leaves that any layer may use.
SHARED = {"resources", "metrics", "tracing"}
OUTSIDE = {"boto3": "sidecar/updates/sqs.py", "botocore": "sidecar/updates/sqs.py"}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def sources(folder: str) -> list[Path]:
    return [p for p in sorted((ROOT / folder).rglob("*.py")) if "__pycache__" not in p.parts]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_what_is_below_it(layer: str) -> None:
    allowed = LAYERS[layer] | {layer} | SHARED
    files = sources(f"sidecar/{layer}")
    assert files
    for path in files:
        for name in imports(path):
            if name.startswith("sidecar."):
                assert name.split(".")[1] in allowed | {"__version__"}, f"{path} imports {name}"


def test_every_module_has_its_place() -> None:
    known = {*LAYERS, *ROOT_MODULES, *SHARED}
    for path in sources("sidecar"):
        part = path.relative_to(ROOT / "sidecar").parts[0].removesuffix(".py")
        assert part in known, f"{path} belongs to no layer: see docs/contracts.md"


def test_only_the_composition_root_reads_the_settings() -> None:
    for path in sources("sidecar"):
        part = path.relative_to(ROOT / "sidecar").parts[0].removesuffix(".py")
        if part not in ROOT_MODULES:
            assert not any(n.startswith("sidecar.config") for n in imports(path)), path
            assert "os.environ[" not in path.read_text(), path


def test_serving_knows_neither_torch_nor_trainer_nor_pickle() -> None:
    for path in sources("sidecar"):
        roots = {name.split(".")[0] for name in imports(path)}
        assert not roots & {"torch", "sentence_transformers", "trainer", "pickle"}, path


#: The trainer's one door to Elasticsearch, whose code stands in the sidecar (docs/architecture.md).
DOOR = "trainer/vectors/index.py"


def test_trainer_uses_contract_and_tower_and_one_door_to_elasticsearch() -> None:
    for path in sources("trainer"):
        allowed = {"contract", "tower"}
        if path.relative_to(ROOT).as_posix() == DOOR:
            allowed |= {"elastic", "resources"}
        for name in imports(path):
            if name.split(".")[0] == "sidecar":
                assert name.split(".")[1] in allowed, f"{path} imports {name}"
            assert name.split(".")[0] not in {"elasticsearch", "elastic_transport"}, path


def test_only_vectorize_opens_the_door() -> None:
    door = DOOR.removesuffix(".py").replace("/", ".")
    users = [path for path in sources("trainer") if any(n.startswith(door) for n in imports(path))]
    assert [path.relative_to(ROOT).as_posix() for path in users] == ["trainer/vectors/run.py"]


def test_one_module_for_each_outside_library() -> None:
    for path in sources("sidecar"):
        place = path.relative_to(ROOT).as_posix()
        for name in imports(path):
            root = name.split(".")[0]
            if root in OUTSIDE:
                assert place == OUTSIDE[root], f"{place} imports {name}"
            if root in {"elasticsearch", "elastic_transport"}:
                assert place.startswith(("sidecar/elastic/", "sidecar/embedded/")), place


def test_serving_runs_where_torch_is_not_installed() -> None:
    script = """
import sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "sentence_transformers", "pandas", "pyarrow", "duckdb"}:
            raise ImportError(f"{name} is not installed in a serving environment")

sys.meta_path.insert(0, NoTorch())
import sidecar.cli
assert "torch" not in sys.modules and "pandas" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
