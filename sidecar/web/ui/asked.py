"""What the inspector's pages read from a request, and what every answer carries."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from flask import Response, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from sidecar.contract.messages import MAX_ID_BYTES
from sidecar.web.shoppers import Shoppers

HOME = "/_sidecar/ui"
#: Nothing from elsewhere, nothing inline, no frame around it.
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
#: How long a click waits for the consumer, in seconds.
PATIENCE_S = 3.0


def too_long(name: str) -> str:
    """Why an id cannot be one; empty if it can."""
    if len(name.encode("utf-8", "replace")) <= MAX_ID_BYTES:
        return ""
    return f"An id has at most {MAX_ID_BYTES} bytes."


def wanted(default_impact: float) -> dict[str, Any]:
    """The parameters that every form of a shopper's page carries along."""
    try:
        impact = float(request.values.get("impact", default_impact))
    except ValueError:
        impact = default_impact
    return {
        "id": request.values.get("id", "").strip(),
        "q": request.values.get("q", "")[:200],
        # min() and max() in this order turn NaN into 100.
        "impact": round(max(0.0, min(100.0, impact))),
    }


def back(customer_id: str, **more: int) -> AnyResponse:
    """To the shopper's page, with the search that was being looked at."""
    carried = wanted(50.0) | {"id": customer_id}
    return redirect(f"{HOME}/shopper?{urlencode(carried | more)}", 303)


def notice() -> str:
    """What came of the click that led here; empty where none did."""
    stored = request.args.get("stored", "")
    if stored.isdecimal() and stored.isascii() and len(stored) < 10:
        return f"The event went through the queue: the vector was there after {int(stored)} ms."
    if "sent" in request.args:
        return "The event is in the queue. It counts as soon as a consumer has stored it: reload."
    return ""


def wait(shoppers: Shoppers, customer_id: str, event_id: str, started: float) -> bool:
    """Whether the consumer stored the event while somebody still waits for the page."""
    while time.monotonic() - started < PATIENCE_S:
        user = shoppers.get(customer_id)
        if user is not None and any(i.event_id == event_id for i in user.history):
            return True
        time.sleep(0.02)
    return False


def secured(answer: Response) -> Response:
    """The headers that every page carries."""
    answer.headers["Content-Security-Policy"] = POLICY
    answer.headers["X-Content-Type-Options"] = "nosniff"
    # Not "no-referrer": then browsers would hide the origin of forms from us, too.
    answer.headers["Referrer-Policy"] = "same-origin"
    answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"
    answer.headers.setdefault("Cache-Control", "no-store")
    return answer
