"""STOW-RS (PS3.18, 10.5): instances are taken in as they come, and what became of each is answered."""

from __future__ import annotations

from contextlib import aclosing
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..inbox.protocol import Inbox, Received
from ..settings import OWN
from ..store.protocol import Json
from . import paths, respond
from .accept import DICOM, RELATED, demand_json
from .parts import Part, received, single
from .retrieve import Rooms

_SENTENCE = 300  # characters of one in a header
_NOT_UNDERSTOOD = 0xC000  # Failure Reason (PS3.4, table B.2-1): cannot understand


async def store(request: Request, rooms: Rooms, inbox: Inbox) -> Response:
    """Take instances in; 200 where all were taken, 202 where some were, 409 where none was (PS3.18, table 10.5.3-1)."""
    kind = demand_json(request)
    study = paths.place(request).study
    if rooms.settings.read_only:
        raise HTTPException(403, "this server takes nothing in: it was started with --read-only")
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in (RELATED, DICOM):
        raise HTTPException(415, _UNSUPPORTED)
    _demand_type(request)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise HTTPException(415, "bodies are taken in as they are, without Content-Encoding")
    folder = rooms.settings.landing / OWN  # parts have no names in it; it is on the disk that instances go to
    await rooms.work.quickly(_make, folder)
    results: list[Received] = []

    async def take(part: Part) -> None:
        with part.file:
            if part.kind not in (DICOM, ""):
                sentence = f"a part is {part.kind[:60]}, and only application/dicom is taken in"
                results.append(Received("", "", "", "", _NOT_UNDERSTOOD, sentence))
                return
            results.append(await rooms.work.slowly(inbox.receive, part.file, study))

    if given == DICOM:
        await take(await single(request, rooms.work, folder))
    else:
        async with aclosing(received(request, rooms.work, folder)) as parts:
            async for part in parts:
                await take(part)
    if not results:
        raise HTTPException(400, "the body has no part; send instances as application/dicom, each in a part")
    return _answer(request, results, study, kind)


_UNSUPPORTED = (
    'instances are taken in as multipart/related; type="application/dicom", or one alone as application/dicom; '
    "metadata with bulk data in JSON or XML are not"
)


def _demand_type(request: Request) -> None:
    """Raise HTTPException (415) where the parts are said to be something else than DICOM files."""
    header = request.headers.get("content-type", "").lower().replace('"', "").replace(" ", "")
    if ";type=" in header and f";type={DICOM}" not in header.replace(f"{DICOM}+", "?"):
        raise HTTPException(415, _UNSUPPORTED)


def _make(folder: Path) -> None:
    """Make a folder unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)


def _answer(request: Request, results: list[Received], study: str | None, kind: str) -> Response:
    """Make the answer: what was taken, what was not and why (PS3.18, 10.5.3.1)."""
    base = paths.base(request)
    taken = [one for one in results if not one.failure]
    named = [one for one in results if one.failure and one.sop_class and one.sop]
    others = [one for one in results if one.failure and not (one.sop_class and one.sop)]
    made: Json = {}
    studies = {one.study for one in taken} | ({study} if study else set())
    if len(studies) == 1:
        made["00081190"] = {"vr": "UR", "Value": [paths.url(base, *studies)]}
    if others:
        made["0008119A"] = {"vr": "SQ", "Value": [_reason(one) for one in others]}
    if named:
        made["00081198"] = {"vr": "SQ", "Value": [{**_reference(one), **_reason(one)} for one in named]}
    if taken:
        retrieved = [{"vr": "UR", "Value": [paths.url(base, one.study, one.series, one.sop)]} for one in taken]
        made["00081199"] = {
            "vr": "SQ",
            "Value": [{**_reference(one), "00081190": at} for one, at in zip(taken, retrieved, strict=True)],
        }
    headers = {}
    if failed := [*named, *others]:
        counts = f"{len(failed)} of {len(results)} were not taken"
        headers["Warning"] = f'299 volcomp "{counts}; the first: {_in_a_header(failed[0].sentence)}"'
    return respond.as_json(request, made, kind, status=200 if not failed else 202 if taken else 409, headers=headers)


def _in_a_header(sentence: str) -> str:
    """Return a sentence as it may stand in a quoted string of a header (RFC 9110, 5.6.4)."""
    plain = "".join(mark if " " <= mark <= "~" else "?" for mark in " ".join(sentence.split()))
    return plain[:_SENTENCE].replace('"', "'").replace("\\", "/")


def _reference(one: Received) -> Json:
    """Name an instance (0008,1150; 0008,1155)."""
    return {"00081150": {"vr": "UI", "Value": [one.sop_class]}, "00081155": {"vr": "UI", "Value": [one.sop]}}


def _reason(one: Received) -> Json:
    """Give the Failure Reason (0008,1197)."""
    return {"00081197": {"vr": "US", "Value": [one.failure]}}
