"""The weights that are served, exchanged while they are served.

A batch takes ``store.current`` once and works with that one, immutable tower: a swap is the
assignment of an attribute, and happens between two batches by construction.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sidecar.contract.errors import WeightsError
from sidecar.contract.weights import read_checksum
from sidecar.tower.activation import Activation, Drop, Record, activated, is_settled, rolled_back
from sidecar.tower.folder import File, WeightsFolder
from sidecar.tower.load import Tower, load_tower
from sidecar.tower.notices import Notice, Notices, other_space

log = logging.getLogger(__name__)


@dataclass
class _Candidate:
    """What this process knows of a file in the folder; times in seconds, monotonic."""

    file: File
    since: float  # unchanged since then
    tower: Tower | None = None  # set once it was accepted, while it waits
    asked: float = -1e9  # when the product index was asked last
    done: bool = False  # nothing to do until the file changes


class WeightsStore:
    """Watches a weights file or folder from one thread for each process, also after a fork.

    Parameters
    ----------
    path : str or Path
        A folder: dropping a ``*.safetensors`` file there activates it. A file: it alone is
        watched, nothing is written, and there is no way back.
    space_ready : Callable[[str], bool], optional
        Whether the product index holds vectors of this product space. Weights of another product
        space than the running ones are held back until it says so; without it, for ever.
    on_swap : Callable[[Tower], None], optional
        Called after each swap, in the thread that did it.
    on_refused : Callable[[Notice], None], optional
        Called once for each refused file, e.g. to count it.
    poll_s, settle_s, ask_s : float
        Seconds between two looks; for how long a file that cannot be read must have stayed
        unchanged to be refused rather than taken for a copy in progress; between two questions to
        ``space_ready``.
    watch : bool
        ``False``: nothing happens but on :meth:`poll`.

    Raises
    ------
    WeightsError
        If there are no weights to start with.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        space_ready: Callable[[str], bool] = lambda space: False,
        on_swap: Callable[[Tower], None] = lambda tower: None,
        on_refused: Callable[[Notice], None] = lambda notice: None,
        poll_s: float = 1.0,
        settle_s: float = 5.0,
        ask_s: float = 5.0,
        watch: bool = True,
    ) -> None:
        self._folder = WeightsFolder(path)
        self._notices = Notices(on_refused)
        self._space_ready, self._on_swap = space_ready, on_swap
        self._poll_s, self._settle_s, self._ask_s, self._watch = poll_s, settle_s, ask_s, watch
        self._candidates: dict[str, _Candidate] = {}
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        with self._folder.locked():
            self._current = self._first()
        self.poll()
        _reset_after_fork(self)

    # --- What is served -------------------------------------------------------------------------

    @property
    def current(self) -> Tower:
        """The tower to use for one batch: take it once."""
        self._start()
        return self._current

    @property
    def refused(self) -> tuple[Notice, ...]:
        """Files that lie there and are refused, until they are replaced or removed."""
        self._start()
        return self._notices.refused

    @property
    def waiting(self) -> Notice | None:
        """Weights that are held back until the product vectors fit them."""
        self._start()
        return self._notices.waiting

    def status(self) -> dict[str, Any]:
        """Everything that an operator may ask, ready for JSON."""
        self._start()
        record = self._folder.read_record()
        weights = self._current.weights
        on_record = record.active is not None and record.active.checksum == weights.checksum
        return {
            "file": record.active.file if record.active and on_record else self._current.path,
            "activated_at": record.active.at if record.active and on_record else None,
            "fingerprint": weights.fingerprint,
            "product_space": weights.product_space,
            "checksum": weights.checksum,
            "created_at": weights.metadata.created_at,
            "previous": [asdict(one) for one in record.history[1:]],
            "can_roll_back": self._folder.persistent and len(record.history) > 1,
            "waiting": asdict(self.waiting) if self.waiting else None,
            "refused": [asdict(one) for one in self.refused],
        }

    # --- Changing it ----------------------------------------------------------------------------

    def poll(self) -> None:
        """Look once, now: follow what other processes did, and try what is new."""
        with self._lock:
            record = self._folder.read_record()
            self._follow(record)
            files, unusable = self._folder.files()
            present = {file.name for file in files} | unusable.keys()
            self._candidates = {k: v for k, v in self._candidates.items() if k in present}
            self._notices.keep_only(present | {one.file for one in record.history})
            for name, reason in unusable.items():
                self._notices.refuse(name, reason)
            waits = None
            for position, file in enumerate(files):  # newest first
                candidate = self._examine(file, record)
                if candidate is None or candidate.tower is None:
                    continue
                waits = self._wait(candidate, candidate.tower)
                if waits is None:
                    self._activate(candidate, candidate.tower, files[position:])
                break  # what is older than an accepted file is out of date
            self._notices.wait(waits)

    def rollback(self) -> Tower:
        """Go back to the weights that were active before, in every process that shares the folder.

        Raises
        ------
        WeightsError
            If there are none, or the product vectors do not fit them; nothing has changed then.
        """
        where = str(self._folder.path)
        if self._folder.is_file:
            raise WeightsError(where, "a single file has no way back: a folder of weights has")
        if not self._folder.persistent:
            raise WeightsError(where, "the folder cannot be written, so nothing was kept")
        with self._lock:
            with self._folder.locked():
                record = self._folder.read_record()
                tower, to = self._previous(where, record)
                space = tower.weights.product_space
                if space != self._current.weights.product_space and not self._ask(space):
                    raise WeightsError(
                        where, other_space(to.file, self._current.weights, tower.weights)
                    )
                self._folder.write_record(rolled_back(record, to))
            self._swap(tower, f"rolled back to {to.file}")
        return tower

    def close(self) -> None:
        """Stop watching, for good."""
        self._watch = False
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)

    # --- Inside ---------------------------------------------------------------------------------

    def _first(self) -> Tower:
        """The active weights on record, else the newest that are accepted."""
        active = self._folder.read_record().active
        if active is not None and (tower := self._load_kept(active)) is not None:
            return tower
        files, unusable = self._folder.files()
        reasons = [f"{name}: {reason}" for name, reason in unusable.items()]
        for position, file in enumerate(files):
            try:
                tower = load_tower(file.path)
            except WeightsError as error:
                reasons.append(f"{file.name}: {error.reason}")
                continue
            self._write_activation(file, tower, files[position:])
            return tower
        found = "; ".join(reasons) or "it holds no .safetensors file"
        raise WeightsError(str(self._folder.path), f"no weights to start with ({found})")

    def _examine(self, file: File, record: Record) -> _Candidate | None:
        """The file's candidate, with its tower if it is new and accepted."""
        now = time.monotonic()
        known = self._candidates.get(file.name)
        if known is None or known.file != file:
            known = self._candidates[file.name] = _Candidate(file, now)
            self._notices.take_back(file.name)
        if known.done or known.tower is not None:
            return known
        try:
            if Drop(read_checksum(file.path), file.mtime_ns) in record.seen:
                known.done = True
            else:
                known.tower = load_tower(file.path)
        except WeightsError as error:
            if is_settled(now - known.since, self._settle_s):
                known.done = True
                self._notices.refuse(file.name, error.reason)
        return known

    def _wait(self, candidate: _Candidate, tower: Tower) -> Notice | None:
        """Why the accepted file must wait, if it must."""
        running = self._current.weights
        if tower.weights.product_space == running.product_space:
            return None
        if time.monotonic() - candidate.asked >= self._ask_s:
            candidate.asked = time.monotonic()
            if self._ask(tower.weights.product_space):
                return None
        name = candidate.file.name
        return Notice(name, other_space(name, running, tower.weights))

    def _activate(self, candidate: _Candidate, tower: Tower, files: list[File]) -> None:
        drop = Drop(tower.weights.checksum, candidate.file.mtime_ns)
        with self._folder.locked():
            record = self._folder.read_record()
            is_mine = drop not in record.seen
            if is_mine:
                self._write_activation(candidate.file, tower, files)
        candidate.tower, candidate.done = None, True
        if is_mine:
            self._swap(tower, f"activated {candidate.file.name}")
        else:  # another process was faster
            self._follow(record)

    def _write_activation(self, file: File, tower: Tower, files: list[File]) -> None:
        weights = tower.weights
        self._folder.keep(file.path, weights.checksum)
        at = datetime.now(tz=UTC).isoformat(timespec="seconds")
        new = Activation(
            weights.checksum, weights.fingerprint, weights.product_space, file.name, at
        )
        drops = {Drop(weights.checksum, file.mtime_ns), *_drops(files)}
        self._folder.write_record(activated(self._folder.read_record(), new, sorted(drops)))

    def _follow(self, record: Record) -> None:
        """Serve what is on record, e.g. after another process activated it or went back."""
        active = record.active
        if active is None or active.checksum == self._current.weights.checksum:
            return
        if (tower := self._load_kept(active)) is not None:
            self._swap(tower, f"following the record to {active.file}")

    def _load_kept(self, activation: Activation) -> Tower | None:
        """The kept copy, else the dropped file: the disk may have been full when it was copied."""
        paths = [self._folder.kept(activation.checksum)]
        paths += [file.path for file in self._folder.files()[0] if _is(file, activation)]
        reason = ""
        for path in paths:
            try:
                return self._named(load_tower(path), activation)
            except WeightsError as error:
                reason = reason or str(error)
        self._notices.refuse(activation.file, f"its kept copy is not usable: {reason}")
        return None

    def _named(self, kept: Tower, activation: Activation) -> Tower:
        """Under the name by which people know it: that of the file that was dropped."""
        return replace(kept, path=str(self._folder.path / activation.file))

    def _previous(self, where: str, record: Record) -> tuple[Tower, Activation]:
        for one in record.history[1:]:
            try:
                return self._named(load_tower(self._folder.kept(one.checksum)), one), one
            except WeightsError as error:
                log.warning("rollback passes over %s: %s", one.file, error)
        raise WeightsError(where, "there are no earlier weights to go back to")

    def _ask(self, space: str) -> bool:
        try:
            return self._space_ready(space)
        except Exception as error:
            log.warning("could not find out about the product vectors: %s", error)
            return False

    def _swap(self, tower: Tower, how: str) -> None:
        self._current = tower
        log.info("%s: weights %s", how, tower.weights.fingerprint)
        self._on_swap(tower)

    # --- The thread -----------------------------------------------------------------------------

    def _start(self) -> None:
        # With the first use, whatever it is.
        if self._thread is not None or not self._watch:
            return
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="weights-store", daemon=True)
                self._thread = thread
                thread.start()

    def _run(self) -> None:
        failure = ""
        while not self._stop.wait(self._poll_s):
            try:
                self.poll()
                failure = ""
            except Exception as error:
                if str(error) != failure:  # said once, not once a second
                    failure = str(error)
                    log.exception("could not look at %s", self._folder.path)

    def _after_fork(self) -> None:
        # Threads do not survive a fork, and a lock that one of them held would stay locked.
        watched = self._thread is not None
        self._lock, self._stop, self._thread = threading.RLock(), threading.Event(), None
        if watched:
            # At once: an idle worker's first request must not meet the weights of long ago.
            self._start()


def _reset_after_fork(store: WeightsStore) -> None:
    reference = weakref.ref(store)

    def reset() -> None:
        if (alive := reference()) is not None:
            alive._after_fork()

    os.register_at_fork(after_in_child=reset)


def _is(file: File, activation: Activation) -> bool:
    try:
        return read_checksum(file.path) == activation.checksum
    except WeightsError:
        return False


def _drops(files: list[File]) -> list[Drop]:
    drops = []
    for file in files:
        try:
            drops.append(Drop(read_checksum(file.path), file.mtime_ns))
        except WeightsError:
            continue  # reported when it is tried
    return drops
