"""Everything that decides what a training run makes, with its defaults."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field

from sidecar.contract.errors import ConfigError
from sidecar.contract.history import HistoryLimits
from sidecar.contract.schema import PRODUCT_TOWERS, Architecture
from trainer.model.losses import LOSSES


@dataclass(frozen=True)
class Settings:
    """Parameters of a training run; the defaults are the recipe of docs/training.md.

    Parameters
    ----------
    architecture : Architecture
    limits : HistoryLimits
    product_tower : str
        ``none``, ``linear`` or ``linear+id``.
    loss : str
        ``auto`` is ``full`` up to ``full_softmax`` products and ``mixed`` beyond.
    full_softmax : int
        Largest catalogue for the full softmax.
    negatives : int
        Negatives of each example for ``sampled``.
    mixed : tuple[int, int, int]
        Random, popular and same-category negatives of each batch for ``mixed``.
    epochs, patience : int
        Most epochs; epochs without a better validation before stopping.
    examples_per_epoch : int
    batch_size : int
        0: 1024, or 256 for fewer than 50,000 examples.
    learning_rate, product_learning_rate, offset_learning_rate : float
        Of the user tower, of A, and of the products' offsets. Falls to 0 along a cosine.
    decay, offset_decay : float
        Pull of W_out, b_out and A towards 0, and of the offsets towards their start: the share
        that is lost at a learning rate of 1.
    temperature : float
        What cosines are multiplied with at the start; learned.
    smoothing : float
        Share of the softmax loss that is spread over all candidates (Szegedy et al. 2016).
    history_dropout : float
        Share of a history (not of its newest interaction) that is left out of an example.
    relabel : float
        Share of examples whose event types are drawn at random, so that types that the data lack
        still work.
    offset_scale : float, optional
        Length of the offsets at the start, from the factorised co-occurrence; 0: all zero; by
        default the best of three on the validation part.
    average : float
        Decay for each step of the moving average of all parameters, which is what is validated
        and kept (Polyak and Juditsky 1992); 0: the parameters themselves.
    label_weight : float
        Weight of the term that pulls products with a common label together; 0 is off.
    shift : bool
        Whether W_out and b_out are trained. Off when a tower is to serve shops it never saw.
    max_cases : int
        Validation cases that choose the epoch.
    seed : int

    Raises
    ------
    ConfigError
    """

    architecture: Architecture = field(default_factory=Architecture)
    limits: HistoryLimits = field(default_factory=HistoryLimits)
    product_tower: str = "linear+id"
    loss: str = "auto"
    full_softmax: int = 20_000
    negatives: int = 10
    mixed: tuple[int, int, int] = (2048, 2048, 1024)
    epochs: int = 10
    patience: int = 3
    examples_per_epoch: int = 100_000
    batch_size: int = 0
    learning_rate: float = 2e-3
    product_learning_rate: float = 1e-3
    offset_learning_rate: float = 2e-3
    decay: float = 0.01
    offset_decay: float = 0.0
    temperature: float = 10.0
    smoothing: float = 0.1
    history_dropout: float = 0.2
    relabel: float = 0.1
    offset_scale: float | None = None
    average: float = 0.99
    label_weight: float = 0.05
    shift: bool = True
    max_cases: int = 10_000
    seed: int = 0

    def __post_init__(self) -> None:
        _one_of("product_tower", self.product_tower, PRODUCT_TOWERS)
        _one_of("loss", self.loss, LOSSES)
        for name in ("epochs", "patience", "examples_per_epoch", "negatives", "max_cases"):
            if getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "1 or more")
        for name in ("history_dropout", "relabel", "average", "smoothing"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(name, getattr(self, name), "0 or more, below 1")
        for name in ("learning_rate", "temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(name, getattr(self, name), "above 0")
        for name in (
            "product_learning_rate", "offset_learning_rate", "decay", "offset_decay",
            "offset_scale", "label_weight", "batch_size", "seed",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ConfigError(name, value, "0 or more")

    def chosen_loss(self, products: int) -> str:
        """The loss for a catalogue of this size."""
        if self.loss != "auto":
            return self.loss
        return "full" if products <= self.full_softmax else "mixed"

    def chosen_batch_size(self, examples: int) -> int:
        """Examples in a step: smaller data get smaller steps, and more of them."""
        return self.batch_size or (1024 if examples >= 50_000 else 256)

    def described(self) -> dict[str, object]:
        """For metadata and messages."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]

    def fingerprint(self, *data: str) -> str:
        """16 hex digits of these settings on this data: what a checkpoint belongs to."""
        text = json.dumps([self.described(), *data], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _one_of(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(key, value, f"one of {', '.join(allowed)}")
