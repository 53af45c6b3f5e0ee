"""What can be wrong with training data or a training run, in one line."""

from __future__ import annotations

from sidecar.contract.errors import SidecarError


class DataError(SidecarError):
    """A file of products or events is not usable.

    Parameters
    ----------
    where : str
        The file, or the part of the data.
    problem : str
        What was found, and what was expected.
    """

    def __init__(self, where: str, problem: str) -> None:
        super().__init__(f"{where}: {problem}")


class TrainingError(SidecarError):
    """Training cannot go on (a loss that is not finite, a checkpoint of other settings)."""


class GateError(SidecarError):
    """Weights that are not good enough to be served."""
