"""JSON bodies of the sidecar's own routes."""

from __future__ import annotations

import json
from typing import Any

from flask import request

from sidecar.contract.errors import ConfigError


def read_json(max_bytes: int) -> Any:
    """The request's JSON body.

    Parameters
    ----------
    max_bytes : int
        A larger one is answered with 413.

    Raises
    ------
    ConfigError
    """
    request.max_content_length = max_bytes
    if not request.is_json:
        raise ConfigError("Content-Type", request.content_type, "application/json")
    try:
        return json.loads(request.get_data())
    # Flask's own reader takes deep nesting for a fault of the server.
    except (ValueError, RecursionError):
        raise ConfigError("body", f"{request.content_length} bytes", "JSON") from None
