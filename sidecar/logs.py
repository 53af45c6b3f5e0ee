"""Log lines for people or for machines. Secrets and customer ids are never logged."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from sidecar import tracing


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, ``stack``, and of the
    request at hand ``request_id``, ``opaque_id``, ``trace_id``."""

    def format(self, record: logging.LogRecord) -> str:
        """The line for a record."""
        line = {
            "time": datetime.fromtimestamp(record.created, tz=UTC).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **tracing.log_fields(),
        }
        if record.exc_info:
            line["stack"] = self.formatException(record.exc_info)
        return json.dumps(line)


class HumanFormatter(logging.Formatter):
    """Time, level, what happened, and in brackets which request it happened to."""

    default_time_format = "%H:%M:%S"
    default_msec_format = ""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s%(ids)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - its base's name
        """The line for a record, without its stack."""
        ids = " ".join(f"{name}={value}" for name, value in tracing.log_fields().items())
        record.ids = f" [{ids}]" if ids else ""
        return super().formatMessage(record)


def set_up(style: str, level: str, stream: TextIO | None = None) -> None:
    """Send the log to a stream (standard error), replacing what was set up before.

    Parameters
    ----------
    style : str
        ``human`` or ``json``.
    level : str
        For the project's own loggers; other libraries speak up from WARNING on.
    stream : TextIO, optional
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else HumanFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("sidecar").setLevel(level.upper())
    # Its transport logs every request at INFO, and every refused one as a warning with the body.
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)
