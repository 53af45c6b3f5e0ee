"""A finished or stopped run, from its checkpoint."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sidecar.contract.history import HistoryLimits
from sidecar.contract.schema import Architecture, Metadata
from trainer.errors import TrainingError
from trainer.learn.loop import Epoch, Run
from trainer.learn.settings import Settings
from trainer.learn.shop import Shop
from trainer.learn.state import restore
from trainer.model.products import ProductTowerModel
from trainer.model.tower import UserTower


def settings_of(path: Path) -> Settings:
    """The settings that a checkpoint was made with.

    Raises
    ------
    TrainingError
    """
    return parse_settings(_progress(path)["settings"])


def parse_settings(raw: dict[str, Any]) -> Settings:
    """The inverse of :meth:`~trainer.learn.settings.Settings.described`."""
    values = {k: v for k, v in raw.items() if k in {f.name for f in fields(Settings)}}
    values["architecture"] = Architecture(**values["architecture"])
    values["limits"] = HistoryLimits(**values["limits"])
    values["mixed"] = tuple(values["mixed"])
    return Settings(**values)


def rebuild_run(path: Path, shop: Shop, metadata: Metadata, settings: Settings) -> Run:
    """The towers of the best epoch.

    Raises
    ------
    TrainingError
        When the checkpoint belongs to other data.
    """
    progress = _progress(path)
    if progress["data"] != [shop.data.fingerprint]:
        raise TrainingError(
            f"{path}: made from other data than --products and --events (or --ties)"
        )
    best = {k.removeprefix("best."): v for k, v in _tensors(path).items() if k.startswith("best.")}
    known = torch.from_numpy(shop.popularity > 0)
    tower = UserTower(metadata, settings.seed)
    vectors = torch.from_numpy(shop.vectors)
    products = ProductTowerModel(vectors, settings.product_tower, known)
    modules: dict[str, nn.Module] = {"tower": tower, "products0": products}
    restore(modules, best)
    curve = [Epoch(**e) for e in progress["curve"]]
    return Run(tower, [products], progress["best"], curve, progress.get("start", {}))


def _progress(path: Path) -> dict[str, Any]:
    try:
        with safe_open(str(path), framework="pt") as file:
            found: dict[str, Any] = json.loads((file.metadata() or {})["progress"])
            return found
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such checkpoint") from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise TrainingError(f"{path}: not a checkpoint of this trainer ({error})") from None


def _tensors(path: Path) -> dict[str, Tensor]:
    with safe_open(str(path), framework="pt") as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
