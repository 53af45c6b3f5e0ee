"""The inspector's routes: pages from the server, that work without JavaScript."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from flask import (
    Blueprint,
    Response,
    make_response,
    redirect,
    render_template,
    request,
    send_from_directory,
)
from werkzeug.wrappers import Response as AnyResponse

from sidecar.contract.errors import SidecarError
from sidecar.updates.explain import ago, in_words
from sidecar.web.auth import COOKIE, SESSION_S, Guard
from sidecar.web.comparison import DEPTH, Comparison
from sidecar.web.events import SendEvents
from sidecar.web.recommend import Recommender
from sidecar.web.shoppers import Shoppers, name_of, reason_in_words
from sidecar.web.ui import glance
from sidecar.web.ui.asked import HOME, back, notice, secured, too_long, wait, wanted
from sidecar.web.ui.lately import lately, newest
from sidecar.web.ui.rows import SHOWN, details_of, in_short, rows
from sidecar.web.wanted import Wanted

FOLDER = Path(__file__).parent
ASSETS = {"inspector.css": "text/css", "inspector.js": "text/javascript"}
#: What a click in the inspector sends.
ACTS = {"view": "product_viewed", "click": "product_clicked", "cart": "product_added_to_cart"}
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" '
    'rx="4" fill="#0b5fa5"/><path d="M4 11l3-4 2 2 3-4" stroke="#fff" stroke-width="2" '
    'fill="none"/></svg>'
)


@dataclass(frozen=True)
class Inspected:
    """What the pages show, as callables and values.

    Parameters
    ----------
    shoppers : Shoppers
    recommender : Recommender
    comparison : Comparison
    send : Callable, optional
        Puts events on the queue; ``None``: clicks are not offered.
    forget : Callable[[str], bool]
    recent : Callable[[int], Sequence]
        So many shoppers, those who were written last.
    health, weights, flow : Callable[[], glance.Part]
    guard : Guard
    fields : Mapping[str, str]
        Our names of what a product says about itself, to the catalogue's.
    """

    shoppers: Shoppers
    recommender: Recommender
    comparison: Comparison
    send: SendEvents | None
    forget: Callable[[str], bool]
    recent: Callable[[int], Any]
    health: Callable[[], glance.Part]
    weights: Callable[[], glance.Part]
    flow: Callable[[], glance.Part]
    guard: Guard
    fields: Mapping[str, str]


def inspector_blueprint(shown: Inspected) -> Blueprint:
    """The pages.

    Parameters
    ----------
    shown : Inspected
    """
    routes = Blueprint("inspector", __name__, url_prefix=HOME, template_folder=str(FOLDER))
    routes.after_request(secured)
    lined = partial(rows, fields=shown.fields)
    for name, words in (("ago", ago), ("in_words", in_words), ("name_of", name_of)):
        routes.add_app_template_filter(words, name)

    @routes.errorhandler(SidecarError)
    def failed(error: SidecarError) -> tuple[str, int]:
        return _problem(str(error), 503)

    @routes.get("/")
    def overview() -> str:
        flow = shown.flow()  # first: it makes what was just written visible to the others
        active, error = glance.attempt(lambda: shown.recent(10))
        sources, _ = glance.attempt(lambda: shown.recommender.products(newest(active or ())))
        trend, trend_error = glance.attempt(lambda: shown.recommender.trending(Wanted(size=5)))
        health, weights = shown.health(), shown.weights()
        told, well = glance.headline(health, weights, flow)
        return _page(
            "overview.html",
            active=lately(active or (), sources or {}, time.time()),
            active_error=error,
            trend=lined(trend.answer["hits"]["hits"]) if trend else [],
            trend_error=trend_error,
            told=told,
            well=well,
            parts={"Health": health, "Event flow": flow, "Weights": weights},
        )

    @routes.get("/shopper")
    def shopper() -> str | AnyResponse | tuple[str, int]:
        asked = wanted(shown.comparison.impact)
        if not asked["id"]:
            return redirect(f"{HOME}/", 303)
        if line := too_long(asked["id"]):
            return _problem(line, 400)
        portrait = shown.shoppers.portrait(asked["id"])
        usable = portrait is not None and not portrait.expired
        compared = shown.comparison.run(
            asked["q"],
            portrait.user.vector if portrait and usable else None,
            portrait.evidence if portrait else 0.0,
            asked["impact"],
        )
        personal = None
        if compared.personal is not None and portrait is not None:
            personal = lined(compared.personal, compared.plain)
            why = shown.shoppers.why(portrait, [row.product_id for row in personal])
            personal = [
                row._replace(
                    because=reason_in_words(
                        found.because[0], portrait, when=False, product_id=row.product_id
                    )
                )
                if (found := why.get(row.product_id)) and found.because
                else row
                for row in personal
            ]
        return _page(
            "shopper.html",
            **asked,
            portrait=portrait,
            lead=glance.lead(portrait) if portrait else "",
            summary=glance.summary(portrait) if portrait else [],
            details_of=details_of,
            plain=lined(compared.plain, after=compared.personal),
            personal=personal,
            in_short="" if personal is None else in_short(personal),
            configured=round(shown.comparison.impact),
            total=compared.total,
            depth=DEPTH,
            can_act=shown.send is not None,
            acts=ACTS,
            notice=notice(),
        )

    @routes.get("/similar")
    def similar() -> str | tuple[str, int]:
        product_id = request.args.get("product", "")
        if line := too_long(product_id):
            return _problem(line, 400)
        found = shown.recommender.similar(product_id, Wanted(size=SHOWN))
        if found is None:
            return _problem(f"No index of products holds {product_id!r}.", 404)
        source = shown.recommender.products([product_id]).get(product_id, {})
        return _page(
            "similar.html",
            **wanted(shown.comparison.impact),
            product_id=product_id,
            name=name_of(source, product_id),
            details=details_of(source),
            hits=lined(found.answer["hits"]["hits"]),
            fallback=found.action == "fallback",
        )

    @routes.post("/act")
    def act() -> AnyResponse | tuple[str, int]:
        customer_id, product_id = request.form.get("id", ""), request.form.get("product", "")
        event = ACTS.get(request.form.get("act", ""))
        if shown.send is None or event is None or not customer_id or not product_id:
            line = "Nothing was sent: a click needs a shopper, a product and a queue."
            return _problem(line, 400)
        event_id = f"inspector-{uuid.uuid4().hex}"
        started = time.monotonic()
        (sent,) = shown.send(
            [
                {
                    "customer_id": customer_id,
                    "product_id": product_id,
                    "event_name": event,
                    "event_id": event_id,
                }
            ]
        )
        if sent.message_id is None:
            return _problem(sent.detail, 400)
        stored = wait(shown.shoppers, customer_id, event_id, started)
        taken = {"stored": round((time.monotonic() - started) * 1000)} if stored else {"sent": 1}
        return back(customer_id, **taken)

    @routes.post("/forget")
    def forget() -> AnyResponse | tuple[str, int]:
        customer_id = request.form.get("id", "")
        if line := too_long(customer_id):
            return _problem(f"Nothing was forgotten. {line}", 400)
        if customer_id:
            shown.forget(customer_id)
        return redirect(f"{HOME}/?{urlencode({'forgotten': 1})}", 303)

    @routes.route("/login", methods=["GET", "POST"])
    def login() -> AnyResponse | str | tuple[str, int]:
        if request.method == "GET":
            return render_template("login.html", wrong=False, home=HOME)
        if not shown.guard.fits(request.form.get("key")):
            return render_template("login.html", wrong=True, home=HOME), 401
        answer = make_response(redirect(f"{HOME}/", 303))
        answer.set_cookie(
            COOKIE,
            shown.guard.session(),
            max_age=SESSION_S,
            path="/_sidecar",
            # Said by whoever ends TLS in front of us; a lie only makes the browser stricter.
            secure=request.is_secure or request.headers.get("X-Forwarded-Proto") == "https",
            httponly=True,
            samesite="Strict",
        )
        return answer

    @routes.get("/static/<name>")
    def static(name: str) -> Response | tuple[str, int]:
        if name == "icon.svg":
            return Response(_ICON, content_type="image/svg+xml")
        if name not in ASSETS:
            return "not found", 404
        return send_from_directory(FOLDER, name, mimetype=ASSETS[name])

    return routes


def _page(template: str, **values: Any) -> str:
    return render_template(template, home=HOME, **values)


def _problem(line: str, status: int) -> tuple[str, int]:
    return render_template("problem.html", error=line, home=HOME), status
