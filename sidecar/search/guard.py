"""Faults of ours stay ours: they are logged, and the request goes on without."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from sidecar.contract.errors import UnreachableError
from sidecar.search.bodies import ClientGone

log = logging.getLogger(__name__)
T = TypeVar("T")


def guarded(doing: str, function: Callable[[], T], default: T) -> T:
    """What a function returns; the default if it fails by a fault of its own.

    Parameters
    ----------
    doing : str
        For the log.
    function : Callable
    default : Any

    Raises
    ------
    UnreachableError, ClientGone
        What the other sides do is no fault of the function's.
    """
    try:
        return function()
    except (UnreachableError, ClientGone):
        raise
    except Exception:
        log.exception("%s failed", doing)
        return default
