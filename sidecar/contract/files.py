"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: str | Path) -> Iterator[Path]:
    """A file beside ``target`` to write into, that takes its place when everything went well.

    The folder is made where there is none.

    Raises
    ------
    OSError
        With the target's name; what stood there before still does, and nothing is left behind.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(suffix=".partial", dir=target.parent)
        os.close(descriptor)
    except OSError as error:
        raise _named(error, target) from None
    partial = Path(name)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        # mkstemp is private to its owner; a weights file is read by other accounts' services.
        partial.chmod(0o644)
        partial.replace(target)
    except OSError as error:
        raise _named(error, target) from None
    finally:
        partial.unlink(missing_ok=True)


def _named(error: OSError, target: Path) -> OSError:
    return OSError(error.errno or errno.EIO, error.strerror or str(error), str(target))
