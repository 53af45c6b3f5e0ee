"""What the search proxy asks of others: values, and callables that somebody else implements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from sidecar.contract.schema import Calibration
from sidecar.contract.weights import F32
from sidecar.search.planned import Plan


@dataclass(frozen=True, slots=True)
class Shopper:
    """A shopper as far as ranking needs to know.

    Parameters
    ----------
    vector : float32 array of shape (D,), optional
        ``None`` as long as no interaction's product has a vector.
    evidence : float
        Sum of the event weights of the history.
    product_space : str
        Space of the product vectors that the vector was made of.
    expires_at : int
        Microseconds since 1970-01-01 UTC from which on the vector is too old to be used.
    """

    vector: F32 | None
    evidence: float
    product_space: str
    expires_at: int


class Model(NamedTuple):
    """What ranking needs of the weights that are being served."""

    product_space: str
    calibration: Calibration


class Resolution(NamedTuple):
    """What an index expression stands for.

    Parameters
    ----------
    indices : tuple[str, ...]
        Concrete indices, sorted.
    fits : bool
        Whether each maps the vector field as needed, or not at all; ``False`` where there is
        no index, or none with the field.
    documents : int
        How many they hold together.
    """

    indices: tuple[str, ...]
    fits: bool
    documents: int = 0


class Pin(NamedTuple):
    """What page 1 of a search ranked by.

    Parameters
    ----------
    vector_json : str
        Empty when page 1 was not personalised.
    evidence : float
    calibration : Calibration
    """

    vector_json: str
    evidence: float
    calibration: Calibration


#: A shopper by id, within so many seconds; ``None`` for an unknown one. Raises SidecarError.
ShopperLookup = Callable[[str, float], Shopper | None]
#: What an expression stands for, within so many seconds. Raises SidecarError.
IndexResolver = Callable[[str, float], Resolution]
#: The weights being served; ``None`` as long as there are none.
ModelSource = Callable[[], Model | None]
#: The server's version; ``None`` as long as it is not known.
VersionSource = Callable[[], tuple[int, int] | None]


class PinStore(Protocol):
    """Where pins are kept, so that every replica finds them."""

    def put(self, key: str, customer_id: str, pin: Pin) -> None:
        """Keep a pin. Must not wait and must not raise."""

    def get(self, key: str, timeout_s: float) -> Pin | None:
        """A pin that has not expired. Raises SidecarError."""


class Answered(NamedTuple):
    """A search and its answer, for the log of queries.

    Parameters
    ----------
    plan : Plan
        With what was asked, for each search of the request.
    body : bytes, optional
        The answer's, as it came; ``None`` where it was cut off or too long.
    encoding : str
        The body's ``Content-Encoding``, in lower case.
    request_id : str
    at : float
        When it was answered, seconds since 1970-01-01 UTC.
    """

    plan: Plan
    body: bytes | None
    encoding: str
    request_id: str
    at: float


class QueryLog(Protocol):
    """Where searches and their answers are noted down."""

    def put(self, answered: Answered) -> None:
        """Note one down. Must not wait and must not raise."""
