"""The report's sections, from a tower and a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from sidecar.contract.weights import F32
from sidecar.tower.load import Tower
from sidecar.tower.served import served_tower
from trainer.data.cases import pad
from trainer.data.dataset import Catalogue
from trainer.evaluate.compare import Comparison, calibrate
from trainer.learn.shop import Shop
from trainer.report.svg import bars, histogram, lines

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:760px;margin:2em auto;padding:0 1em;color:#111}
svg{width:100%;height:auto;background:#fafafa;border:1px solid #ddd}
table{border-collapse:collapse;width:100%;font-size:14px}td,th{padding:3px 8px;text-align:right;
border-bottom:1px solid #eee}td:first-child,th:first-child{text-align:left}
.shopper{border:1px solid #ddd;padding:.6em 1em;margin:1em 0}li i{color:#666;font-style:normal}
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
        "Learning curve": _curve(tower),
        "Against the baselines": f"<p>NDCG@10 of {found.cases:,} test cases, all "
        f"{found.products:,} products ranked; lines are 95 % intervals.</p>" + bars(rows, "tower"),
        "Event weights and decay": _weights(tower),
        "Calibration of the cosine": "<p>Between lo and hi a product's personal score rises from "
        "0 to 1.</p>" + histogram(samples, marks),
        "Slices": _slices(found),
        "Labels": _labels(shop, q),
        "Shoppers": _shoppers(tower, shop, q, shoppers),
    }
    body = "".join(f"<section><h2>{n}</h2>{html}</section>" for n, html in sections.items())
    title = f"User tower for {escape(found.data)}"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><h1>{title}</h1>{body}</html>"
    )


def _curve(tower: Tower) -> str:
    curve: Sequence[Mapping[str, float]] = tower.weights.metadata.training.get("curve", [])
    value = [(float(e["epoch"]), float(e["validation"])) for e in curve]
    loss = [(float(e["epoch"]), float(e["loss"])) for e in curve if "loss" in e]
    best = tower.weights.metadata.training.get("best_epoch", "?")
    return (
        f"<p>Best epoch: {best}; epoch 0 is the start.</p>"
        + lines({"validation NDCG@10": value}, "epoch")
        + lines({"training loss": loss}, "epoch")
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
        f"{rows}</table><p>Half as much after {half}; each step back counts "
        f"{np.exp(-step):.3f} of the step before. Attention heads over the shopper's own products: "
        f"s = {', '.join(f'{v:.3f}' for v in tensors['s'])}.</p>"
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


def _shoppers(tower: Tower, shop: Shop, q: F32, most: int) -> str:
    cases = shop.split.test.sample(most, np.random.default_rng(1))
    histories = pad(shop.data, cases, tower.weights.metadata.limits.max_interactions)
    products = np.where(histories.valid[..., None], q[histories.products], np.float32(0))
    users, shares = served_tower(
        tower.folded, products, histories.events, histories.ages, histories.lengths
    )
    shown = []
    for row in range(len(cases)):
        length = int(histories.lengths[row])
        own = histories.products[row, :length]
        last = shop.vectors @ shop.vectors[own[-1]]
        target = int(shop.data.product[cases.target[row]])
        listed = "".join(
            f"<li>{_name(shop.data.catalogue, int(p))} "
            f"<i>{shop.data.vocabulary.names[int(e)]}, {s:.2f}</i></li>"
            for p, e, s in zip(own, histories.events[row], shares[row], strict=False)
        )
        shown.append(
            f'<div class="shopper"><b>History</b>, oldest first, with each product\'s share<ol>'
            f"{listed}</ol><b>What came next</b>: {_name(shop.data.catalogue, target)}<br>"
            f"<b>Similar to the last product</b>{_top(shop, last, own, target)}"
            f"<b>Tower</b>{_top(shop, q @ users[row], own, target)}</div>"
        )
    return "".join(shown)


def _top(shop: Shop, scores: F32, own: Sequence[int] | np.ndarray, target: int) -> str:
    scores = scores.copy()
    scores[np.asarray(own)] = -np.inf
    found = np.argsort(-scores)[:5]
    marked = [
        f"<li>{'<mark>' if p == target else ''}{_name(shop.data.catalogue, int(p))}"
        f"{'</mark>' if p == target else ''}</li>"
        for p in found
    ]
    return f"<ol>{''.join(marked)}</ol>"


def _name(catalogue: Catalogue, place: int) -> str:
    return escape(catalogue.texts[place][:90])
