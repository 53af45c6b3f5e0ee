"""One exception tree for the whole project.

Two families stay apart on purpose: :class:`UnreachableError` ("could not reach": try again) and
:class:`RefusedError` ("reached, but refused": somebody has to change something).
"""

from __future__ import annotations


class SidecarError(Exception):
    """Root of every error that the project raises on purpose.

    The message is one line that a person can act on: what, where, and what was expected.
    """


class ConfigError(SidecarError):
    """A setting or an argument is not usable.

    Parameters
    ----------
    key : str
        Name of the setting, as the operator wrote it.
    value : object
        What was found.
    expected : str
        What would have been accepted.
    """

    def __init__(self, key: str, value: object, expected: str) -> None:
        super().__init__(f"{key}={value!r}: expected {expected}")
        self.key = key
        self.value = value
        self.expected = expected


class MessageError(SidecarError):
    """A message that can never become an interaction.

    Parameters
    ----------
    reason : str
        One of ``sidecar.contract.messages.REASONS``: short, for counters and dead letters.
    detail : str
        Key, value and what was expected, for people.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class WeightsError(SidecarError):
    """A weights file that is refused.

    Parameters
    ----------
    path : str
        The file.
    reason : str
        What is wrong with it, and what was expected.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class MappingConflictError(SidecarError):
    """An index maps one of the sidecar's fields in a way that cannot work."""


class UnreachableError(SidecarError):
    """A server did not answer: the same request may pass later."""


class RefusedError(SidecarError):
    """A server answered, and said no: the same request will fail again."""


class MalformedError(RefusedError):
    """A server said no to the request itself (400), whoever wrote it."""
