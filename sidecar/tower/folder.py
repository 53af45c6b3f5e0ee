"""The weights folder: what lies in it, the record of what is active, and the kept files.

::

    weights/
      *.safetensors                   dropped by an operator; only ever read
      active.json                     the record, replaced atomically
      .active.lock                    held while the record changes
      kept/<checksum>.safetensors     copies of activated files, for going back

The copies are needed because the usual way to bring new weights overwrites the old ones.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from sidecar.contract.errors import WeightsError
from sidecar.contract.weights import read_checksum
from sidecar.tower.activation import Record, dump_record, parse_record

log = logging.getLogger(__name__)

# lockf excludes other processes, and this other threads. Not flock: that one is inherited by a fork,
# and would stay locked for as long as the child lives.
_THREADS = threading.Lock()


def _after_fork() -> None:
    global _THREADS
    _THREADS = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)

SUFFIX = ".safetensors"


class File(NamedTuple):
    """A candidate, and all that tells whether it changed."""

    name: str
    path: Path
    mtime_ns: int
    size: int
    inode: int


def leaves(path: Path) -> Path | None:
    """Where a symbolic link points to, if that is outside of the folder that it lies in."""
    if not path.is_symlink():
        return None
    target = path.resolve()
    return None if target.is_relative_to(path.parent.resolve()) else target


class WeightsFolder:
    """A folder that is watched; or a single file, for which nothing is written anywhere.

    Parameters
    ----------
    path : str or Path
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.is_file = not self.path.is_dir()
        self._kept = self.path / "kept"
        self._record_path = self.path / "active.json"
        self._memory = self._basis = Record()
        self._damaged = ""
        #: Whether the record outlives this process.
        self.persistent = not self.is_file

    def files(self) -> tuple[list[File], dict[str, str]]:
        """Candidates, newest first; and the names of those that cannot be any, with reasons."""
        if self.is_file:
            paths = [self.path]
        else:
            # Hidden files are a copying tool's own, e.g. rsync's.
            with os.scandir(self.path) as entries:
                names = [entry.name for entry in entries]
            paths = [self.path / n for n in names if n.endswith(SUFFIX) and not n.startswith(".")]
        found, refused = [], {}
        for path in paths:
            try:
                self._check_inside(path)
                status = path.stat()
            except OSError as error:
                refused[path.name] = f"cannot be read ({error.strerror})"
            except WeightsError as error:
                refused[path.name] = error.reason
            else:
                found.append(
                    File(path.name, path, status.st_mtime_ns, status.st_size, status.st_ino)
                )
        found.sort(key=lambda file: (file.mtime_ns, file.name), reverse=True)
        return found, refused

    def _check_inside(self, path: Path) -> None:
        # A link may only point within the folder: who may write a link there could otherwise have
        # any file of the machine opened.
        if not self.is_file and (target := leaves(path)) is not None:
            raise WeightsError(str(path), f"a symbolic link that leaves the folder, to {target}")

    def read_record(self) -> Record:
        """What is on record; an empty record if there is none, or none that can be read."""
        if self.is_file:
            return self._memory
        stored = self._read_stored()
        if self.persistent:
            return stored
        # This process cannot write, but another one may: what that one writes counts.
        if stored != self._basis:
            self._basis = self._memory = stored
        return self._memory

    def _read_stored(self) -> Record:
        try:
            return parse_record(self._record_path.read_text())
        except FileNotFoundError:
            return Record()
        except (OSError, ValueError) as error:
            if str(error) != self._damaged:
                self._damaged = str(error)
                log.error("%s is not usable (%s): starting anew", self._record_path, error)
            return Record()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone among all threads and processes that share the folder."""
        with _THREADS, ExitStack() as stack:
            if self.persistent:
                try:
                    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
                    lock = os.fdopen(os.open(self.path / ".active.lock", flags, 0o666), "r+")
                    fcntl.lockf(stack.enter_context(lock), fcntl.LOCK_EX)
                except OSError as error:
                    self._give_up_writing(error)
            yield

    def write_record(self, record: Record) -> None:
        """Replace the record; in memory alone where the folder cannot be written."""
        if self.persistent:
            try:
                _replace(self._record_path, dump_record(record).encode())
            except OSError as error:
                self._give_up_writing(error)
            else:
                self._forget_copies({one.checksum for one in record.history})
        self._memory = record

    def _give_up_writing(self, error: OSError) -> None:
        self._basis = self._memory = self._read_stored()
        self.persistent = False
        log.warning(
            "%s cannot be written (%s): new weights are still noticed, "
            "but going back to earlier ones is not possible",
            self.path,
            error.strerror,
        )

    def kept(self, checksum: str) -> Path:
        """Where the copy of an activated file stands."""
        return self._kept / f"{checksum}{SUFFIX}"

    def keep(self, path: Path, checksum: str) -> None:
        """Keep a copy for going back. What fails here costs the way back, not the way forward."""
        target = self.kept(checksum)
        if not self.persistent or target.exists():
            return
        partial = target.with_suffix(".partial")
        try:
            self._kept.mkdir(exist_ok=True)
            shutil.copyfile(path, partial)
            if read_checksum(partial) != checksum:
                raise OSError(0, "it changed while it was copied")
            os.replace(partial, target)
        except (OSError, WeightsError) as error:
            with suppress(OSError):
                partial.unlink()
            log.warning("no copy of %s was kept: %s", path, error)

    def _forget_copies(self, needed: set[str]) -> None:
        with suppress(OSError):
            for path in self._kept.iterdir():
                if path.name.removesuffix(SUFFIX) not in needed:
                    path.unlink(missing_ok=True)


def _replace(target: Path, content: bytes) -> None:
    descriptor, partial = tempfile.mkstemp(prefix=".", suffix=".partial", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
