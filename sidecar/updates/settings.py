"""What can be set about the update path."""

from __future__ import annotations

from dataclasses import dataclass

from sidecar.contract.errors import ConfigError


@dataclass(frozen=True)
class UpdateSettings:
    """Settings of the consumer; all have defaults that fit one small process.

    Parameters
    ----------
    receivers : int
        Threads that poll the queue (1 to 32).
    wait_s : int
        Seconds for which a poll waits for messages (0 to 8, and two less than ``stop_s``), so that
        a consumer that is told to stop can wait for its last polls, and nothing that they bring
        is left behind.
    batch_size : int
        Most messages in one micro-batch (1 to 1000).
    linger_ms : float
        Milliseconds for which a micro-batch waits for more messages after its first (0 to 10000).
    max_in_flight : int
        Messages that were received and are not finished; at that many, receiving stops (10 to
        100000).
    max_in_flight_mb : float
        The same in megabytes (10^6 bytes) of message bodies (1 to 10000).
    visibility_s : int
        Seconds for which a received message is hidden from other consumers (10 to 43200); it is
        extended, at half that time, for as long as the message is being worked on.
    conflict_attempts : int
        How often a shopper that others write at the same time is read and merged again before
        the batch takes a rest (1 to 100).
    backoff_base_ms, backoff_cap_ms : float
        Milliseconds of the first pause after a fault, and the most that it grows to. Pauses
        double and are drawn at random below that ("full jitter").
    stop_s : float
        Seconds in which a consumer that is told to stop must be done (1 to 60).
    catch_up_s : float
        Seconds between looks for shoppers whose products have got their vectors; 0: never.
    dead_letter_url : str, optional
        Queue that takes messages which can never be stored, with the reason as an attribute;
        without one they are left to the queue's own redrive policy.

    Raises
    ------
    ConfigError
    """

    receivers: int = 2
    wait_s: int = 5
    batch_size: int = 100
    linger_ms: float = 3.0
    max_in_flight: int = 1000
    max_in_flight_mb: float = 64.0
    visibility_s: int = 60
    conflict_attempts: int = 10
    backoff_base_ms: float = 100.0
    backoff_cap_ms: float = 10_000.0
    stop_s: float = 9.0
    catch_up_s: float = 30.0
    dead_letter_url: str | None = None

    def __post_init__(self) -> None:
        for name, low, high in (
            ("receivers", 1, 32),
            ("wait_s", 0, 8),
            ("batch_size", 1, 1000),
            ("linger_ms", 0, 10_000),
            ("max_in_flight", 10, 100_000),
            ("max_in_flight_mb", 1, 10_000),
            ("visibility_s", 10, 43_200),
            ("conflict_attempts", 1, 100),
            ("backoff_base_ms", 1, 60_000),
            ("backoff_cap_ms", 1, 300_000),
            ("stop_s", 1, 60),
            ("catch_up_s", 0, 86_400),
        ):
            value = getattr(self, name)
            # Not "value < low or ...": NaN must be refused too.
            if isinstance(value, bool) or not low <= value <= high:
                raise ConfigError(name, value, f"{low} to {high}")
        if self.wait_s > self.stop_s - 2:
            expected = (
                f"at most {self.stop_s - 2:g}, two seconds less than stop_s ({self.stop_s:g})"
            )
            raise ConfigError("wait_s", self.wait_s, expected)
        if self.backoff_cap_ms < self.backoff_base_ms:
            expected = f"at least backoff_base_ms ({self.backoff_base_ms})"
            raise ConfigError("backoff_cap_ms", self.backoff_cap_ms, expected)
