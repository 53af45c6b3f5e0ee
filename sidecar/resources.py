"""Files that come with the code: ``mappings/`` and ``weights/``.

In a checkout they stand beside the package, in an installation inside it (``package_dir`` in
setup.cfg puts them there).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent


def folder(name: str) -> Path:
    """The folder ``mappings`` or ``weights``."""
    checkout = _PACKAGE.parent / name
    return checkout if (_PACKAGE.parent / "setup.cfg").is_file() else _PACKAGE / name


def mapping(name: str) -> dict[str, Any]:
    """``mappings/<name>.json``: the body that creates an index."""
    body: dict[str, Any] = json.loads((folder("mappings") / f"{name}.json").read_text())
    return body


def shipped_weights() -> Path:
    """The weights file that comes with this release."""
    return folder("weights") / "user_tower.safetensors"
