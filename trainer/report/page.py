"""The report's sections, from a tower and a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidecar.contract.weights import F32
from sidecar.tower.load import Tower
from sidecar.tower.prior import AGE_DECAY, RANK_DECAY
from trainer.evaluate.compare import Comparison, calibrate
from trainer.learn.shop import Shop
from trainer.report.shoppers import shown_shoppers
from trainer.report.svg import bars, histogram, lines

#: How far back the decay is drawn at most: beyond, nothing is left of it by default.
DECAY_HOURS = 168.0
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:760px;margin:2em auto;padding:0 1em;color:#111}
svg{width:100%;height:auto;background:#fafafa;border:1px solid #ddd;margin:.3em 0}
table{border-collapse:collapse;width:100%;font-size:14px}td,th{padding:3px 8px;text-align:right;
border-bottom:1px solid #eee}td:first-child,th:first-child{text-align:left}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1em 1em;margin:0}dt{color:#555}dd{margin:0}
.shopper{border:1px solid #ddd;padding:.6em 1em;margin:1em 0}.shopper li i{color:#555;font-style:normal}
.two{display:grid;grid-template-columns:1fr 1fr;gap:1em}@media(max-width:600px){.two{grid-template-columns:1fr}}
.share{display:inline-block;width:6em;height:.6em;background:#e5e7eb;margin-right:.4em}
.share b{display:block;height:100%;background:#1769aa}ol{margin:.3em 0 .6em;padding-left:1.6em}
"""


def page(tower: Tower, shop: Shop, q: F32, found: Comparison, shoppers: int = 6) -> str:
    """The whole report as one HTML text.

    Parameters
    ----------
    tower : Tower
    shop : Shop
    q : float32, shape (N, D)
        Product vectors in the space of the weights.
    found : Comparison
    shoppers : int
        How many test cases are shown in full.
    """
    data = found.described()
    results: Mapping[str, Mapping[str, float]] = data["results"]
    rows = {n: (r["ndcg@10"], r["ndcg@10_low"], r["ndcg@10_high"]) for n, r in results.items()}
    calibration, ordinary, best = calibrate(tower, shop.data, shop.split.validation, q)
    marks = {"lo": calibration.lo, "hi": calibration.hi}
    samples = {"any product": ordinary, "second best product": best}
    sections = {
        "What this is": _summary(tower, found),
        "Learning curve": _curve(tower),
        "Against the baselines": f"<p>NDCG@10 of {found.cases:,} test cases, all "
        f"{found.products:,} products ranked; lines are 95 % intervals.</p>"
        + bars(rows, "tower")
        + _figures(results),
        "Event weights and decay": _weights(tower),
        "Calibration of the cosine": "<p>Between lo and hi a product's personal score rises from "
        "0 to 1.</p>" + histogram(samples, marks, "cosine of product and shopper"),
        "Slices": _slices(found),
        "Labels": _labels(shop, q),
        "Shoppers": shown_shoppers(tower, shop, q, found.best_vector_baseline, shoppers),
    }
    body = "".join(f"<section><h2>{n}</h2>{html}</section>" for n, html in sections.items())
    title = f"User tower for {escape(found.data)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1>{body}</html>"
    )


def _summary(tower: Tower, found: Comparison) -> str:
    metadata = tower.weights.metadata
    gain = found.gain(found.best_vector_baseline)
    verdict = "passes" if found.passes() else "does not pass"
    limits = metadata.limits
    # The shipped weights say "none" there.
    data = metadata.training.get("data")
    trained_on: Sequence[Mapping[str, Any]] = data if isinstance(data, list) else []
    rows = {
        "weights": f"{tower.weights.fingerprint}, made {metadata.created_at or 'at no stated time'}",
        "trained on": ", ".join(f"{d['name']} ({d['examples']:,} examples)" for d in trained_on)
        or "nothing: the weighted recency mean",
        "product tower": metadata.product_tower,
        "began with": _start(metadata.training.get("start", {})),
        "history": f"{limits.max_interactions} interactions of {limits.window_hours:g} hours",
        "gate": f"{verdict}: NDCG@10 is {gain['ratio']:.2f} times that of the best vector baseline, "
        f"{found.best_vector_baseline} ({gain['difference']:+.4f}, {gain['low']:+.4f} to "
        f"{gain['high']:+.4f})",
    }
    return f"<dl>{''.join(f'<dt>{k}</dt><dd>{escape(v)}</dd>' for k, v in rows.items())}</dl>"


def _start(start: Mapping[str, float]) -> str:
    if not start:
        return "the weighted recency mean"
    offsets = start["offset_scale"]
    beside = f", and offsets of length {offsets:g} beside the texts'" if offsets else ""
    return f"a step back counting {start['step_back']:g}{beside}"


def _figures(results: Mapping[str, Mapping[str, float]]) -> str:
    keys = ("ndcg@10", "recall@10", "recall@20", "mrr", "coverage")
    head = "".join(f"<th>{key}</th>" for key in ("", *keys))
    rows = "".join(
        f"<tr><td>{escape(name)}</td>{''.join(f'<td>{row[key]:.4f}</td>' for key in keys)}</tr>"
        for name, row in results.items()
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _curve(tower: Tower) -> str:
    curve: Sequence[Mapping[str, float]] = tower.weights.metadata.training.get("curve", [])
    if not curve:
        return "<p>None: these weights were not trained.</p>"
    value = [(float(e["epoch"]), float(e["validation"])) for e in curve]
    loss = [(float(e["epoch"]), float(e["loss"])) for e in curve if "loss" in e]
    best = tower.weights.metadata.training.get("best_epoch", "?")
    return (
        f"<p>Best epoch: {best}; epoch 0 is the start.</p>"
        + lines({"validation NDCG@10": value}, "epoch")
        + (lines({"training loss": loss}, "epoch") if len(loss) > 1 else "")
    )


def _weights(tower: Tower) -> str:
    tensors, metadata = tower.weights.tower, tower.weights.metadata
    seen = metadata.training.get("event_types_seen", [])
    largest = float(tensors["g"].max())
    start = max(metadata.vocabulary.weights.values())
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{weight / start:.3f}</td>"
        f"<td>{float(tensors['g'][i]) / largest:.3f}</td><td>{'yes' if name in seen else 'no'}</td></tr>"
        for i, (name, weight) in enumerate(metadata.vocabulary.weights.items())
    )
    age, step = float(tensors["lambda_age"]), float(tensors["lambda_rank"])
    half = f"{np.log(2) / age:.1f} hours" if age > 1e-6 else "never"
    return (
        "<table><tr><th>event</th><th>business weight</th><th>learned</th><th>in the data</th></tr>"
        f"{rows}</table><p>Weights are parts of the largest. Half as much after {half}; each step "
        f"back counts {np.exp(-step):.3f} of the step before. Attention heads over the shopper's own products: "
        f"s = {', '.join(f'{v:.3f}' for v in tensors['s'])}.</p>"
        + _decay(age, step, metadata.limits.window_hours)
    )


def _decay(age: float, step: float, window: float) -> str:
    """What an interaction counts for, by its age and by its place, beside the untrained tower."""
    hours = np.linspace(0, min(window, DECAY_HOURS), 49)
    back = np.arange(8)
    pairs = (("learned", age, step), ("untrained", AGE_DECAY, RANK_DECAY))

    def curves(
        x: NDArray[Any], rates: Mapping[str, float]
    ) -> dict[str, Sequence[tuple[float, float]]]:
        return {
            name: [(float(at), float(np.exp(-rate * at))) for at in x]
            for name, rate in rates.items()
        }

    ages = curves(hours, {name: a for name, a, _ in pairs})
    return lines(ages, "hours before the newest", dots=False) + lines(
        curves(back, {name: s for name, _, s in pairs}), "steps back"
    )


def _slices(found: Comparison) -> str:
    head = ("slice", "cases", "tower", "best vector baseline", "item-kNN")
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{int(part['cases']):,}</td>"
        + "".join(f"<td>{part[key]:.4f}</td>" for key in head[2:])
        + "</tr>"
        for name, part in found.slices.items()
    )
    return f"<table><tr>{''.join(f'<th>{h}</th>' for h in head)}</tr>{rows}</table>"


def _labels(shop: Shop, q: F32) -> str:
    """What the product tower changed between products that share a label, and others."""
    labels = [set(found) for found in shop.data.catalogue.labels]
    tagged = [i for i, found in enumerate(labels) if found]
    if len(tagged) < 2:
        return "<p>This catalogue has no labels.</p>"
    rng = np.random.default_rng(0)
    pairs = rng.choice(tagged, (20_000, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    shared = np.array([bool(labels[a] & labels[b]) for a, b in pairs])
    cells = ""
    for name, mask in (("a common label", shared), ("no common label", ~shared)):
        if mask.any():
            a, b = pairs[mask].T
            text = float((shop.vectors[a] * shop.vectors[b]).sum(1).mean())
            after = float((q[a] * q[b]).sum(1).mean())
            cells += f"<tr><td>{name}</td><td>{text:.4f}</td><td>{after:.4f}</td></tr>"
    return (
        "<p>Mean cosine of two products.</p><table><tr><th>pairs with</th><th>text alone</th>"
        f"<th>product tower</th></tr>{cells}</table>"
    )
