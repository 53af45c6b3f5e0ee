"""Timestamps in every form that event pipelines use, to microseconds."""

from __future__ import annotations

import math
from datetime import UTC, datetime

#: 9999-12-31 in seconds: the end of what ISO 8601 can write with four digits.
_LAST_SECOND = 253_402_300_799
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_microseconds(value: object) -> int:
    """Microseconds since 1970-01-01 UTC.

    Parameters
    ----------
    value : object
        ISO 8601 text (without an offset it is UTC), or a number, or a number as text: epoch
        seconds (below 10^11), milliseconds (below 10^14) or microseconds.

    Raises
    ------
    ValueError
        For anything else; the message says what was found and what was expected.
    """
    expected = "ISO 8601, or epoch seconds, milliseconds or microseconds"
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"timestamp={value!r}: expected {expected}")
    if isinstance(value, str):
        text = value.strip()
        if len(text) > 64:
            raise ValueError(f"timestamp={text[:64]!r}...: expected {expected}")
        number = _number(text)
        if number is None:
            try:
                moment = datetime.fromisoformat(text)
            except ValueError:
                raise ValueError(f"timestamp={text!r}: expected {expected}") from None
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            delta = moment - _EPOCH
            return _not_negative(
                (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds, value
            )
        value = number
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"timestamp={value!r}: expected {expected}")
    if abs(value) < 1e11:
        micros = round(value * 1_000_000)
    elif abs(value) < 1e14:
        micros = round(value * 1_000)
    else:
        micros = round(value)
    return _not_negative(micros, value)


def _number(text: str) -> int | float | None:
    """A number written as text. Asked before ISO 8601, since Python reads a run of thirteen
    digits as a date too; eight digits are a date (20240131)."""
    if len(text) == 8 and text.isdecimal():
        return None
    try:
        return int(text) if text.lstrip("-").isdecimal() else float(text)
    except ValueError:
        return None


def _not_negative(micros: int, value: object) -> int:
    if not 0 <= micros <= _LAST_SECOND * 1_000_000:
        raise ValueError(f"timestamp={value!r}: expected a moment from 1970 to 9999")
    return micros


def to_iso(micros: int) -> str:
    """ISO 8601 in UTC, with microseconds and ``Z``; the inverse of :func:`to_microseconds`."""
    seconds, rest = divmod(micros, 1_000_000)
    moment = datetime.fromtimestamp(seconds, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:06d}Z"
