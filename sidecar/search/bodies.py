"""Request bodies: read up to a limit, or streamed through."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import Any

_PIECE = 64 * 1024


class ClientGone(Exception):  # noqa: N818 - what happened
    """The client stopped in the middle of its body: the request must not look complete."""


class Incoming:
    """The body of a request, not read yet.

    Parameters
    ----------
    environ : Mapping
        WSGI environ.
    """

    __slots__ = ("_has_length", "_read", "_stream", "length")

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._stream = environ["wsgi.input"]
        self._read = b""
        raw = environ.get("CONTENT_LENGTH")
        chunked = environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
        #: Bytes; ``None`` when chunked.
        self.length: int | None = None if chunked else int(raw or 0)
        self._has_length = bool(raw)

    def read(self, limit: int) -> bytes | None:
        """The whole body; ``None`` when it is longer than the limit, and then still to be had
        from :meth:`framed`.

        Raises
        ------
        ClientGone
        """
        if self.length is None:
            self._read = self._receive(limit + 1)
            return self._read if len(self._read) <= limit else None
        if self.length > limit:
            return None
        if self.length:
            self._read = self._receive(self.length)
            if len(self._read) != self.length:
                raise ClientGone
        return self._read

    def header(self) -> list[tuple[str, str]]:
        """The header that frames the body as :meth:`framed` sends it."""
        if self.length is None:
            return [("Transfer-Encoding", "chunked")]
        # A request without a body says nothing, one with an empty body says 0.
        return [("Content-Length", str(self.length))] if self._has_length else []

    def framed(self) -> bytes | Iterator[bytes]:
        """The body as it goes over the wire; small ones in one piece.

        Raises
        ------
        ClientGone
            While it is iterated.
        """
        if self.length is None:
            return self._chunked()
        if self.length <= _PIECE or self._read:
            return self._read or (self.read(_PIECE) or b"")
        return self._pieces(self.length)

    def _receive(self, size: int) -> bytes:
        try:
            piece: bytes = self._stream.read(size)
        # Cut off, malformed, or silent for too long: servers have errors of their own for it, and
        # what was read before must not be taken for the whole.
        except Exception as error:
            raise ClientGone from error
        return piece

    def _pieces(self, left: int) -> Iterator[bytes]:
        while left:
            piece = self._receive(min(left, _PIECE))
            if not piece:
                raise ClientGone
            left -= len(piece)
            yield piece

    def _chunked(self) -> Iterator[bytes]:
        piece = self._read or self._receive(_PIECE)
        while piece:
            yield b"%x\r\n%b\r\n" % (len(piece), piece)
            piece = self._receive(_PIECE)
        yield b"0\r\n\r\n"


def gunzip(body: bytes, limit: int) -> bytes | None:
    """A gzip body unpacked; ``None`` when it is none, or longer than the limit unpacked."""
    unpacker = zlib.decompressobj(31)
    try:
        text = unpacker.decompress(body, limit + 1)
    except zlib.error:
        return None
    if len(text) > limit or not unpacker.eof or unpacker.unused_data:
        return None
    return text
