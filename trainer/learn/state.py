"""Checkpoints: everything that a stopped run needs to go on, in one safetensors file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainer.learn.average import Average

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


@dataclass(frozen=True)
class Stored:
    """What a checkpoint holds.

    Parameters
    ----------
    progress : Mapping
        Curve, best epoch and its score, settings, fingerprints of the data.
    best : Snapshot
        Parameters of the best epoch.
    tensors : Snapshot
        Everything, under the names of the file.
    """

    progress: Mapping[str, Any]
    best: Snapshot
    tensors: Snapshot

    def put_back(
        self,
        modules: Mapping[str, nn.Module],
        average: Average,
        optimizers: Sequence[torch.optim.Optimizer],
    ) -> None:
        """Parameters, their average and the optimizers' state, as they were."""
        restore(modules, _part(self.tensors, "current"))
        restore(average.modules, _part(self.tensors, "average"))
        average.model.n_averaged.copy_(self.tensors["averaged"])
        for o, optimizer in enumerate(optimizers):
            state: dict[int, dict[str, Any]] = {}
            for name, value in _part(self.tensors, f"adam.{o}").items():
                number, key = name.split(".")
                plain = int(value) if key == "step" and value.dtype == torch.int64 else value
                state.setdefault(int(number), {})[key] = plain
            optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def save_checkpoint(
    path: Path,
    fingerprint: str,
    progress: Mapping[str, Any],
    current: Snapshot,
    best: Snapshot,
    average: Average,
    optimizers: Sequence[torch.optim.Optimizer],
) -> None:
    """Write atomically; what stood there before survives a full disk.

    Raises
    ------
    OSError
    """
    tensors = {f"current.{k}": v for k, v in current.items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    tensors |= {f"average.{k}": v for k, v in snapshot(average.modules).items()}
    tensors["averaged"] = average.model.n_averaged.detach().cpu()
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


def load_checkpoint(path: Path, fingerprint: str) -> Stored | None:
    """What a run left behind; ``None`` unless the file belongs to this run."""
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
    return Stored(json.loads(raw["progress"]), _part(tensors, "best"), tensors)


def _part(tensors: Snapshot, prefix: str) -> Snapshot:
    start = prefix + "."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
