"""What serving needs of the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sidecar.contract.history import HistoryLimits
from sidecar.contract.schema import Calibration


@dataclass(frozen=True)
class ServedModel:
    """What searches need of the weights that are being served.

    Parameters
    ----------
    fingerprint : str
        Of the weights: what tells that others made a vector.
    product_space : str
    calibration : Calibration
    event_weights : Mapping[str, float]
        Canonical event name to business weight.
    limits : HistoryLimits
    """

    fingerprint: str
    product_space: str
    calibration: Calibration
    event_weights: Mapping[str, float]
    limits: HistoryLimits

    def expires_at(self, newest_at: int) -> int:
        """When a vector is too old, for the time of its newest interaction (microseconds)."""
        return newest_at + self.limits.window + 1


#: The weights being served; ``None`` as long as there are none. Asked anew for every search.
ServedModelSource = Callable[[], ServedModel | None]
