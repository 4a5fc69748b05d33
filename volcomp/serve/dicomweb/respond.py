"""Answers: JSON, bytes, ranges of bytes, parts one after another; and what tells a client that it has them already."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from hashlib import blake2b
from secrets import token_hex
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from ... import __version__
from ..store.instance import Instance
from ..work import while_connected

_PIECE = 1 << 18  # bytes that are handed to the connection at once
_WORTHWHILE = 1 << 10  # bytes of JSON that are compressed
_LEVEL = 5  # of zlib


@dataclass(frozen=True)
class Stamp:
    """What tells one version of something from others: an entity tag (RFC 9110, 8.8.3) and seconds since 1970."""

    tag: str
    modified: float

    @property
    def headers(self) -> dict[str, str]:
        """The headers of an answer with it."""
        return {"ETag": self.tag, "Last-Modified": formatdate(self.modified, usegmt=True)}


def stamp(instance: Instance, *form: object) -> Stamp:
    """Return the stamp of an instance in a form, as (transfer syntax, frames): of its bytes, wherever they lie.

    Another version of volcomp may make something else of them.
    """
    facts = repr((instance.sop, instance.syntax, instance.size, instance.sha256, form, __version__)).encode()
    return Stamp(f'"{blake2b(facts, digest_size=16).hexdigest()}"', instance.modified / 1e9)


def unchanged(request: Request, mark: Stamp) -> Response | None:
    """Return 304 where the client has what it asks for (RFC 9110, 13.2.2), else None."""
    tags = request.headers.get("if-none-match")
    if tags is not None:
        known = tags.strip() == "*" or mark.tag in [tag.strip().removeprefix("W/") for tag in tags.split(",")]
    else:
        # Equal, and not merely later: an archive may be replaced by one that was modified before it.
        known = _seconds(request.headers.get("if-modified-since")) == int(mark.modified)
    return Response(status_code=304, headers=mark.headers) if known else None


def _seconds(date: str | None) -> float | None:
    """Parse a date of HTTP; None for none."""
    try:
        return parsedate_to_datetime(date).timestamp() if date else None
    except (ValueError, OverflowError):
        return None


def dumped(value: Any) -> bytes:
    """Return JSON in UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def takes_gzip(request: Request) -> bool:
    """Return whether the client takes gzip."""
    for entry in request.headers.get("accept-encoding", "").lower().split(","):
        name, _, quality = entry.partition(";")
        if name.strip() in ("gzip", "*"):
            return not re.fullmatch(r"\s*q=0(\.0*)?\s*", quality)
    return False


def as_json(
    request: Request,
    value: Any,
    kind: str = "application/dicom+json",
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Make an answer of JSON, compressed where the client takes that. It may take milliseconds: run it in a thread."""
    body = dumped(value)
    made = {"Vary": "Accept, Accept-Encoding", **(headers or {}), "Content-Type": kind}
    if takes_gzip(request) and len(body) >= _WORTHWHILE:
        body = b"".join(Zipper().all([body]))
        made["Content-Encoding"] = "gzip"
    return Response(body, status, made)


class Zipper:
    """Compresses as gzip, piece by piece."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)

    def add(self, data: bytes) -> bytes:
        """Return what is there to send of more data."""
        return self._zlib.compress(data)

    def end(self) -> bytes:
        """Return the rest."""
        return self._zlib.flush()

    def all(self, pieces: list[bytes]) -> Iterator[bytes]:
        """Yield all of it."""
        yield from map(self.add, pieces)
        yield self.end()


class Stream(StreamingResponse):
    """An answer in pieces, whose source is closed at once when the client hangs up; it gives `room` back at its end."""

    def __init__(
        self,
        source: AsyncIterator[bytes | memoryview],
        status: int,
        headers: Mapping[str, str],
        room: AsyncExitStack | None = None,
    ) -> None:
        super().__init__(source, status, headers)
        self._room = room or AsyncExitStack()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with self._room:
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send the pieces."""
        source: Any = self.body_iterator
        async with aclosing(source):
            await super().stream_response(send)


def headers_alone(headers: Mapping[str, str], status: int = 200) -> Response:
    """Make the answer to HEAD: of a length that nobody knows nothing is said, and not that it is 0 (RFC 9110, 8.6)."""
    made = Response(None, status, headers)
    if "content-length" not in {name.lower() for name in headers}:
        del made.headers["content-length"]
    return made


def pieces(data: bytes | memoryview) -> Iterator[memoryview]:
    """Yield data in pieces, so that a slow client does not make the connection copy all of it."""
    view = memoryview(data)
    for begin in range(0, len(view), _PIECE):
        yield view[begin : begin + _PIECE]


def boundary() -> str:
    """Return a boundary of parts (RFC 2046, 5.1.1) that no data has, but by a chance of 2^-128."""
    return token_hex(16)


def head(mark: str, headers: Mapping[str, str]) -> bytes:
    """Return what precedes a part's data."""
    lines = [f"\r\n--{mark}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode()


def tail(mark: str) -> bytes:
    """Return what follows the last part."""
    return f"\r\n--{mark}--\r\n".encode()


def related(kind: str, mark: str) -> str:
    """Return the header Content-Type of parts of one kind (RFC 2387)."""
    return f'multipart/related; type="{kind}"; boundary={mark}'


def in_parts(
    parts: list[tuple[Mapping[str, str], bytes]], kind: str, headers: Mapping[str, str], status: int = 200
) -> Response:
    """Make an answer of parts that are there already: headers and data of each."""
    mark = boundary()
    body = b"".join([piece for of_part, data in parts for piece in (head(mark, of_part), data)] + [tail(mark)])
    return Response(body, status, {**headers, "Content-Type": related(kind, mark)})


async def begun(
    request: Request, source: AsyncIterator[bytes | memoryview], headers: Mapping[str, str], status: int = 200
) -> Response:
    """Make an answer of pieces, the first of which is made now, so that what fails is still an error of its own.

    Raises ClientDisconnect when the client hangs up meanwhile.
    """
    first = await while_connected(request, anext(source))

    async def all_of_it() -> AsyncIterator[bytes | memoryview]:
        async with aclosing(source):  # type: ignore[type-var]
            yield first
            async for piece in source:
                yield piece

    return Stream(all_of_it(), status, headers)


def asked_range(request: Request, size: int, mark: Stamp) -> tuple[int, int] | None:
    """Return the first and past-the-end byte of the header Range (RFC 9110, 14.2); None where all is asked for.

    What is no range of bytes, or several, is ignored, as the standard allows. Raises HTTPException (416) where none of
    the bytes is there.
    """
    found = re.fullmatch(r"\s*bytes\s*=\s*(\d*)\s*-\s*(\d*)\s*", request.headers.get("range", ""))
    if not found or not (found[1] or found[2]) or len(found[0]) > 60:
        return None
    condition = request.headers.get("if-range")
    if condition is not None and condition.strip() not in (mark.tag, mark.headers["Last-Modified"]):
        return None
    if not found[1]:
        begin, end = max(size - int(found[2]), 0), size
    else:
        begin, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < int(found[1]):
            return None
    if begin >= end:
        raise HTTPException(
            416, f"there are {size} bytes, and none of those asked for", {"Content-Range": f"bytes */{size}"}
        )
    return begin, end
