"""What a plan must know of the cluster: what an index expression stands for, and the version."""

from __future__ import annotations

import logging

from sidecar.contract.errors import SidecarError
from sidecar.search.limits import Bounded, Deadline, DeadlineExceeded, ShortCache
from sidecar.search.ports import IndexResolver, Resolution, VersionSource

log = logging.getLogger(__name__)


class Catalogue:
    """Looks indices up, within a deadline, and remembers them for a while.

    Parameters
    ----------
    resolve : IndexResolver
    version : VersionSource
    cache_s : float
        Seconds for which it is remembered what an expression stands for.
    """

    def __init__(self, resolve: IndexResolver, version: VersionSource, cache_s: float) -> None:
        self._resolve = resolve
        self._version = version
        self._bounded = Bounded()
        self._resolutions: ShortCache[Resolution | None] = ShortCache(cache_s)

    def version(self, deadline: Deadline) -> tuple[int, int] | None:
        """The server's version; ``None`` where it is not known in time."""
        try:
            return self._bounded.call(lambda seconds: self._version(), deadline)
        except (DeadlineExceeded, SidecarError):
            return None

    def resolution(self, expression: str, deadline: Deadline) -> Resolution | None:
        """What an expression stands for; ``None`` where that could not be found out.

        Raises
        ------
        DeadlineExceeded
        """
        cached = self._resolutions.get(expression)
        if cached is not None:
            return cached[0]
        found = None
        try:
            found = self._bounded.call(lambda left: self._resolve(expression, left), deadline)
        except SidecarError as error:
            log.warning("looking up %s failed: %s", expression, error)
        self._resolutions.put(expression, found)
        return found
