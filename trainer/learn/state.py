"""Checkpoints: everything that a stopped run needs to go on, in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

Snapshot = dict[str, Tensor]


def snapshot(modules: Mapping[str, nn.Module]) -> Snapshot:
    """A copy of all parameters, named ``module.parameter``."""
    return {
        f"{prefix}.{name}": value.detach().cpu().clone()
        for prefix, module in modules.items()
        for name, value in module.named_parameters()
    }


def restore(modules: Mapping[str, nn.Module], values: Mapping[str, Tensor]) -> None:
    """Put a snapshot back."""
    with torch.no_grad():
        for prefix, module in modules.items():
            for name, parameter in module.named_parameters():
                parameter.copy_(values[f"{prefix}.{name}"])


def save_checkpoint(
    path: Path,
    fingerprint: str,
    progress: Mapping[str, Any],
    current: Snapshot,
    best: Snapshot,
    optimizers: Sequence[torch.optim.Optimizer],
) -> None:
    """Write atomically; what stood there before survives a full disk.

    Raises
    ------
    OSError
    """
    tensors = {f"current.{k}": v for k, v in current.items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    for o, optimizer in enumerate(optimizers):
        for i, state in optimizer.state_dict()["state"].items():
            for key, value in state.items():
                tensors[f"adam.{o}.{i}.{key}"] = torch.as_tensor(value).detach().cpu().clone()
    partial = path.with_name(path.name + ".partial")
    try:
        save_file(
            {k: v.contiguous() for k, v in tensors.items()},
            partial,
            metadata={"fingerprint": fingerprint, "progress": json.dumps(progress)},
        )
        os.replace(partial, path)
    except SafetensorError as error:
        raise OSError(f"{path}: cannot be written ({error})") from None
    finally:
        partial.unlink(missing_ok=True)


def load_checkpoint(
    path: Path, fingerprint: str, optimizers: Sequence[torch.optim.Optimizer]
) -> tuple[dict[str, Any], Snapshot, Snapshot] | None:
    """Progress, current and best parameters; ``None`` unless the file belongs to this run.

    The optimizers' state is put back as well.
    """
    if not path.exists():
        return None
    try:
        with safe_open(str(path), framework="pt") as file:
            raw = file.metadata() or {}
            if raw.get("fingerprint") != fingerprint:
                return None
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return None
    for o, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            kind, *rest = key.split(".")
            if kind == "adam" and rest[0] == str(o):
                plain = int(value) if rest[2] == "step" and value.dtype == torch.int64 else value
                state.setdefault(int(rest[1]), {})[rest[2]] = plain
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    current = {
        k.removeprefix("current."): v for k, v in tensors.items() if k.startswith("current.")
    }
    best = {k.removeprefix("best."): v for k, v in tensors.items() if k.startswith("best.")}
    return json.loads(raw["progress"]), current, best
