"""Pins as Elasticsearch keeps them."""

from __future__ import annotations

from sidecar.contract.errors import ConfigError
from sidecar.contract.schema import Calibration
from sidecar.elastic.pages import Pages
from sidecar.search.ports import Pin


class StoredPins:
    """Keeps pins in the index of pages; see :class:`sidecar.search.ports.PinStore`.

    Parameters
    ----------
    pages : Pages
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def put(self, key: str, customer_id: str, pin: Pin) -> None:
        """Keep a pin; does not wait."""
        calibration = pin.calibration
        self._pages.put(
            key,
            customer_id,
            {
                "vector": pin.vector_json,
                "evidence": pin.evidence,
                "lo": calibration.lo,
                "hi": calibration.hi,
                "space": pin.product_space,
            },
        )

    def get(self, key: str, timeout_s: float) -> Pin | None:
        """A pin that has not expired.

        Raises
        ------
        UnreachableError, RefusedError
        """
        found = self._pages.get(key, timeout_s)
        if found is None:
            return None
        try:
            calibration = Calibration(float(found["lo"]), float(found["hi"]))
            space = str(found["space"])
            return Pin(str(found["vector"]), float(found["evidence"]), calibration, space)
        except (KeyError, TypeError, ValueError, ConfigError):
            return None  # written by another release
