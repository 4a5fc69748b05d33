"""Frames and bulk data (PS3.18, 10.4.1.1.5 and 10.4.1.1.6)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ...errors import MissingError
from ..store.faults import ChangedError
from ..store.instance import Instance
from ..store.protocol import Store
from ..work import while_connected
from . import paths, plain, respond
from .accept import BIG, LITTLE, OCTETS, Answer, accepted, of_bytes, of_frames, refused
from .retrieve import AT_ONCE, Rooms, found_one

_GROWTH = 4  # how many times larger frames may become when they are decoded; an estimate, for the room they take


def numbers(text: str, one: Instance) -> list[int]:
    """Parse a list of frames, numbered from 1 (PS3.18, table 10.4.1-5): "1,3,5". The standard has no ranges.

    Raises HTTPException: (400) no such list, (404) a frame that the instance does not have.
    """
    if not re.fullmatch(r"[0-9]{1,9}(,[0-9]{1,9})*", text):
        raise HTTPException(400, "frames are a list of numbers with commas between, as 1,2,3; ranges are not read")
    given = [int(word) for word in text.split(",")]
    if not one.frames:
        raise HTTPException(404, "this instance has no frames")
    if min(given) < 1 or max(given) > one.frames:
        raise HTTPException(404, f"this instance has frames 1 to {one.frames}, and not all of those asked for")
    if len(given) > one.frames:
        raise HTTPException(400, f"{len(given)} frames are asked for, and there are {one.frames}; name each once")
    return given


async def frames(request: Request, rooms: Rooms) -> Response:
    """Answer with frames of an instance."""
    one = await found_one(request, rooms)
    wanted = numbers(request.path_params["frames"], one)
    answer = of_frames(accepted(request), one.syntax, single=len(wanted) == 1)
    if answer is None:
        raise refused(one.syntax)
    mark = respond.stamp(one, answer, wanted)
    if (known := respond.unchanged(request, mark)) is not None:
        return known
    headers = {**mark.headers, "Vary": "Accept"}
    at = f"{paths.url_of(paths.base(request), one)}/frames"
    border = respond.boundary()
    headers["Content-Type"] = respond.related(answer.name, border) if answer.parts else answer.kind
    if request.method == "HEAD":
        return respond.headers_alone(headers)

    def heads(some: list[int]) -> list[bytes]:
        if not answer.parts:
            return [b""] * len(some)
        return [
            respond.head(border, {"Content-Type": answer.kind, "Content-Location": f"{at}/{number}"}) for number in some
        ]

    end = respond.tail(border) if answer.parts else b""
    stored = _stored(one, answer)
    need = one.size // one.frames * (1 if stored else _GROWTH)  # bytes of a frame, about
    if need * len(wanted) <= AT_ONCE:
        data = await while_connected(request, rooms.work.slowly(_load, rooms.store, one, answer, wanted))
        body = b"".join([piece for pair in zip(heads(wanted), data, strict=True) for piece in pair] + [end])
        return Response(body, headers=headers)
    batch = len(wanted) if one.syntax == BIG and not stored else max(AT_ONCE // max(need, 1), 1)

    async def source() -> AsyncIterator[bytes | memoryview]:
        for begin in range(0, len(wanted), batch):
            some = wanted[begin : begin + batch]
            async with rooms.work.room.taken(need * len(some)):
                data = await rooms.work.slowly(_load, rooms.store, one, answer, some)
                for before, frame in zip(heads(some), data, strict=True):
                    if before:
                        yield before
                    for piece in respond.pieces(frame):
                        yield piece
                del data, frame, piece
        if end:
            yield end

    return await respond.begun(request, source(), headers)


def _stored(one: Instance, answer: Answer) -> bool:
    """Return whether frames go out as they are stored; those of little endian are the same in all its syntaxes."""
    return answer.syntax == one.syntax or (answer.syntax in LITTLE and one.syntax in LITTLE)


def _load(store: Store, one: Instance, answer: Answer, wanted: list[int]) -> list[bytes]:
    """Return frames in the form in which they go out."""
    if _stored(one, answer):
        return store.frames(one, wanted).frames
    if one.syntax == BIG:
        return plain.frames_of_file(store.file(one), wanted)
    attributes = store.metadata(one, str)
    return plain.frames(
        attributes,
        one.syntax,
        wanted,
        lambda: store.frames(one, wanted).frames,
        lambda number: store.picture(one, number).samples,
    )


async def bulk(request: Request, rooms: Rooms) -> Response:
    """Answer with a long value of an instance, or with a range of its bytes."""
    one = await found_one(request, rooms)
    path = request.path_params["path"]
    answer = of_bytes(accepted(request))
    if answer is None:
        raise HTTPException(406, "bulk data are application/octet-stream, alone or in multipart/related; accept that")
    mark = respond.stamp(one, "bulk", path)
    if (known := respond.unchanged(request, mark)) is not None:
        return known
    async with AsyncExitStack() as room:
        await room.enter_async_context(rooms.work.room.taken(one.size))
        try:
            data = await while_connected(request, rooms.work.slowly(rooms.store.bulk, one, path))
        except ChangedError:
            raise
        except MissingError:
            raise HTTPException(404, "this instance has no such value; its metadata name those that it has") from None
        return _bulk(request, data, answer, mark, room.pop_all())


def _bulk(request: Request, data: bytes, answer: Answer, mark: respond.Stamp, room: AsyncExitStack) -> Response:
    """Make the answer with a value, or with a range of its bytes; it gives the room back when it is sent.

    Of a part, the range is one of the value's bytes, and the part's headers say so too.
    """
    asked = respond.asked_range(request, len(data), mark)
    begin, end = asked or (0, len(data))
    view = memoryview(data)[begin:end]
    part = {"Content-Type": OCTETS}
    headers = {**mark.headers, "Vary": "Accept", "Accept-Ranges": "bytes"}
    if asked:
        part["Content-Range"] = headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
    border = respond.boundary()
    before, after = (respond.head(border, part), respond.tail(border)) if answer.parts else (b"", b"")
    headers["Content-Type"] = respond.related(OCTETS, border) if answer.parts else OCTETS
    headers["Content-Length"] = str(len(before) + len(view) + len(after))

    async def source() -> AsyncIterator[bytes | memoryview]:
        if request.method != "HEAD":
            yield before
            for piece in respond.pieces(view):
                yield piece
            yield after

    return respond.Stream(source(), 206 if asked else 200, headers, room=room)
