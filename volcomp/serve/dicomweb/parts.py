"""Parts of a request that is being received, written to files as they come (RFC 2046, 5.1; RFC 2387).

The body is never in memory as a whole: what a part has beyond a megabyte goes to a file without a name.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, NamedTuple, cast

from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser
from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..work import Work

_IN_MEMORY = 1 << 20  # bytes of a part
_GATHERED = 1 << 20  # bytes that are parsed and written at once
_PARTS = 20_000
_BOUNDARY = 200  # characters; RFC 2046 allows 70


class Part(NamedTuple):
    """A part: its media type in small letters, "" where it names none, and its data, at their beginning."""

    kind: str
    file: BinaryIO


class _Receiver:
    """Takes a body apart; `done` are the parts that are complete."""

    def __init__(self, boundary: str, folder: Path) -> None:
        self.done: list[Part] = []
        self.complete = False  # the last boundary was seen
        self.count = 0
        self._folder = folder
        self._open: BinaryIO | None = None
        self._kind = self._field = self._value = b""
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_header_field": self._of_field,
            "on_header_value": self._of_value,
            "on_header_end": self._header,
            "on_end": self._all,
        }
        self._parser = MultipartParser(boundary, callbacks)

    def write(self, data: bytes) -> None:
        """Take more of the body. Raises HTTPException (400) for what are no parts."""
        try:
            self._parser.write(data)
        except MultipartParseError:
            raise HTTPException(400, "the body is not in parts with the boundary that Content-Type names") from None

    def close(self) -> None:
        """Drop what is not taken."""
        for file in (self._open, *(part.file for part in self.done)):
            if file is not None:
                file.close()

    def _begin(self) -> None:
        self.count += 1
        if self.count > _PARTS:
            raise HTTPException(413, f"a request has at most {_PARTS} parts; send several requests")
        self._kind = b""
        self._open = _file(self._folder)

    def _data(self, data: bytes, begin: int, end: int) -> None:
        assert self._open is not None
        self._open.write(memoryview(data)[begin:end])

    def _end(self) -> None:
        assert self._open is not None
        self._open.seek(0)
        kind = self._kind.decode("latin-1").partition(";")[0].strip().lower()
        self.done.append(Part(kind, self._open))
        self._open = None

    def _of_field(self, data: bytes, begin: int, end: int) -> None:
        self._field += data[begin:end]

    def _of_value(self, data: bytes, begin: int, end: int) -> None:
        self._value += data[begin:end]

    def _header(self) -> None:
        if self._field.strip().lower() == b"content-type":
            self._kind = self._value
        self._field = self._value = b""

    def _all(self) -> None:
        self.complete = True


def _file(folder: Path) -> BinaryIO:
    """Return a file without a name, which whoever takes it closes."""
    return cast(BinaryIO, SpooledTemporaryFile(_IN_MEMORY, dir=str(folder)))


def boundary(content_type: str) -> str:
    """Return the boundary that a header Content-Type names. Raises HTTPException (400)."""
    found = re.search(r';\s*boundary\s*=\s*(?:"([^"]+)"|([^\s;"]+))', content_type, re.IGNORECASE)
    name = (found[1] or found[2]) if found else ""
    if not name or len(name) > _BOUNDARY or not name.isascii():
        raise HTTPException(400, "Content-Type names no boundary, which multipart/related needs")
    return name


async def received(request: Request, work: Work, folder: Path) -> AsyncGenerator[Part, None]:
    """Yield the parts of a request as they come; whoever takes one closes it.

    Raises HTTPException: (400) the body is not in parts, or ends within one; what came before it has been yielded.
    """
    receiver = _Receiver(boundary(request.headers.get("content-type", "")), folder)
    try:
        async for data in _gathered(request):
            await work.quickly(receiver.write, data)
            while receiver.done:
                yield receiver.done.pop(0)
        if not receiver.complete:
            raise HTTPException(400, "the body ends before the last boundary")
    finally:
        receiver.close()


async def single(request: Request, work: Work, folder: Path) -> Part:
    """Return the whole body as one part."""
    file = _file(folder)
    try:
        async for data in _gathered(request):
            await work.quickly(file.write, data)
    except BaseException:
        file.close()
        raise
    file.seek(0)
    return Part(request.headers.get("content-type", "").partition(";")[0].strip().lower(), file)


async def _gathered(request: Request) -> AsyncGenerator[bytes, None]:
    """Yield the body in larger pieces than it comes in."""
    gathered = bytearray()
    async for data in request.stream():
        gathered += data
        if len(gathered) >= _GATHERED:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)
