"""WADO-RS (PS3.18, 10.4): instances of a study, of a series, or one, and their attributes.

Instances are sent one after another, each read when the one before is out. What fails before the first byte is an
error with a sentence; after it the connection is closed before its end, so that no client takes a part for the whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ...errors import DamagedError, MissingError, UnsupportedError
from ..settings import Settings
from ..store.faults import ChangedError
from ..store.instance import Instance
from ..store.protocol import Json, Store
from ..work import Work, while_connected
from . import paths, plain, respond
from .accept import DICOM, Answer, accepted, demand_json, of_instance, refused

AT_ONCE = 1 << 20  # bytes up to which an answer is made whole before it is sent
_GROWTH = 4  # how many times larger a file may become when it is decoded; an estimate, for the room it takes
_BATCH = 16  # instances whose attributes are read at once


class Rooms(NamedTuple):
    """What answers are made from."""

    store: Store
    settings: Settings
    work: Work


async def found(request: Request, rooms: Rooms) -> list[Instance]:
    """Return the instances that a path names. Raises HTTPException (400, 404)."""
    place = paths.place(request)
    assert place.study is not None
    try:
        return await rooms.work.quickly(rooms.store.instances, place.study, place.series, place.sop)
    except ChangedError:
        raise
    except MissingError:
        raise paths.missing(place) from None


async def found_one(request: Request, rooms: Rooms) -> Instance:
    """Return the only instance that a path names. Raises HTTPException (400, 404)."""
    (one,) = await found(request, rooms)
    return one


async def _lost(request: Request, rooms: Rooms) -> list[str]:
    """Return what a client is told of instances of a study or a series that cannot be sent; nothing of one instance."""
    place = paths.place(request)
    if place.sop is not None or place.study is None:
        return []
    count = await rooms.work.quickly(rooms.store.lost, place.study, place.series)
    return [f"{count} instances are in archives that cannot be read now"] if count else []


async def instances(request: Request, rooms: Rooms) -> Response:
    """Answer with the instances that a path names, as DICOM files."""
    media, single = accepted(request), "sop" in request.path_params
    if single:
        one = await found_one(request, rooms)
        there = [one]
    else:
        there = await found(request, rooms)
    chosen = [(one, answer) for one in there if (answer := of_instance(media, one.syntax, single=single))]
    if not chosen:
        if not single and any(one.inner == DICOM and not one.parts for one in media):
            raise HTTPException(
                406, 'instances of a series come in parts: accept multipart/related; type="application/dicom"'
            )
        raise refused(there[0].syntax)
    headers, status = {"Vary": "Accept"}, 200
    if single:
        mark = respond.stamp(one, chosen[0][1])
        headers |= mark.headers
        if (known := respond.unchanged(request, mark)) is not None:
            return known
    warnings = await _lost(request, rooms)
    if len(chosen) < len(there):
        warnings.append(f"{len(there) - len(chosen)} instances are in no form that is accepted")
    if warnings:
        status = 206  # PS3.18, table 10.4.3-1: some of them
        headers["Warning"] = f'299 volcomp "{"; ".join(warnings)}"'
    return await _send(request, rooms, chosen, headers, status)


async def _send(
    request: Request, rooms: Rooms, chosen: list[tuple[Instance, Answer]], headers: dict[str, str], status: int
) -> Response:
    """Send instances, each in its form."""
    parts = chosen[0][1].parts
    mark = respond.boundary() if parts else ""
    end = respond.tail(mark) if parts else b""

    def head(syntax: str, size: int) -> bytes:
        kind = {"Content-Type": f"{DICOM}; transfer-syntax={syntax}", "Content-Length": str(size)}
        return respond.head(mark, kind) if parts else b""

    headers["Content-Type"] = respond.related(DICOM, mark) if parts else chosen[0][1].kind
    if all(answer.syntax == one.syntax for one, answer in chosen):
        sizes = [len(head(one.syntax, one.size)) + one.size for one, _ in chosen]
        headers["Content-Length"] = str(sum(sizes) + len(end))
    if request.method == "HEAD":
        return respond.headers_alone(headers, status)
    if len(chosen) == 1 and chosen[0][0].size <= AT_ONCE:
        data, syntax = await while_connected(request, rooms.work.slowly(_load, rooms.store, *chosen[0]))
        return Response(b"".join((head(syntax, len(data)), data, end)), status, headers)

    async def source() -> AsyncIterator[bytes | memoryview]:
        for one, answer in chosen:
            async with rooms.work.room.taken(one.size * (1 if answer.syntax == one.syntax else _GROWTH)):
                data, syntax = await rooms.work.slowly(_load, rooms.store, one, answer)
                yield head(syntax, len(data))
                for piece in respond.pieces(data):
                    yield piece
                del data, piece
        yield end

    return await respond.begun(request, source(), headers, status)


def _load(store: Store, one: Instance, answer: Answer) -> tuple[bytes, str]:
    """Return an instance in the form in which it goes out, and its transfer syntax.

    Where the client named none, and explicit little endian cannot be made of this one, it gets what is stored: better
    than nothing, and than a study that ends at this instance. Raises UnsupportedError where it named one.
    """
    data = store.file(one)
    if answer.syntax == one.syntax:
        return data, one.syntax
    try:
        return plain.instance(data, lambda number: store.picture(one, number).samples), answer.syntax
    except (DamagedError, UnsupportedError):  # of the frame, since the file is whole
        if answer.asked or not answer.parts:
            raise
        return data, one.syntax


async def metadata(request: Request, rooms: Rooms) -> Response:
    """Answer with the attributes of the instances that a path names, in JSON; long values are URLs."""
    kind = demand_json(request)
    base = paths.base(request)
    if "sop" in request.path_params:
        one = await found_one(request, rooms)
        mark = respond.stamp(one, "metadata", base)
        if (known := respond.unchanged(request, mark)) is not None:
            return known
        return await rooms.work.quickly(_attributes_of_one, request, rooms.store, one, base, kind, mark)
    there = await found(request, rooms)
    headers = {"Vary": "Accept, Accept-Encoding", "Content-Type": kind}
    if warnings := await _lost(request, rooms):  # and 200: viewers take no 206 for attributes
        headers["Warning"] = f'299 volcomp "{warnings[0]}"'
    zipper = respond.Zipper() if respond.takes_gzip(request) else None
    if zipper:
        headers["Content-Encoding"] = "gzip"
    if request.method == "HEAD":
        return respond.headers_alone(headers)

    async def source() -> AsyncIterator[bytes]:
        for begin in range(0, len(there), _BATCH):
            before = b"," if begin else b"["
            yield await rooms.work.quickly(_some, rooms.store, there[begin : begin + _BATCH], base, before, zipper)
        yield zipper.add(b"]") + zipper.end() if zipper else b"]"

    return await respond.begun(request, source(), headers)


def _attributes_of_one(
    request: Request, store: Store, one: Instance, base: str, kind: str, mark: respond.Stamp
) -> Response:
    """Make the answer with the attributes of one instance."""
    return respond.as_json(request, [_attributes(store, one, base)], kind, headers=mark.headers)


def _some(store: Store, some: list[Instance], base: str, before: bytes, zipper: respond.Zipper | None) -> bytes:
    """Return the attributes of some instances as JSON, with commas between, after what precedes them."""
    data = before + b",".join(respond.dumped(_attributes(store, one, base)) for one in some)
    return zipper.add(data) if zipper else data


def _attributes(store: Store, one: Instance, base: str) -> Json:
    """Return the attributes of an instance, with the transfer syntax in which it is stored (0008,3002)."""
    at = paths.url_of(base, one)
    made = store.metadata(one, lambda path: f"{at}/bulkdata/{path}")
    made.setdefault("00083002", {"vr": "UI", "Value": [one.syntax]})
    return made
