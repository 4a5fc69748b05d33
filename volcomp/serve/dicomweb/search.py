"""QIDO-RS (PS3.18, 8.3.4 and 10.6): what a search asks for, taken apart, and its results."""

from __future__ import annotations

import re
from functools import partial

from pydicom.datadict import dictionary_VR, tag_for_keyword
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ...errors import MissingError, UnsupportedError
from ..store.protocol import Found, Json, Store
from ..store.query import Level, Query
from ..work import Work
from . import paths
from .accept import demand_json
from .respond import as_json

MOST = 5000  # results of one answer
_LONGEST = 1024  # characters of a value
_WORDS = 128  # parameters
_STUDY, _SERIES, _SOP, _URL, _AVAILABLE = "0020000D", "0020000E", "00080018", "00081190", "00080056"
_IGNORED = ("accept", "charset")


def query(level: Level, parameters: list[tuple[str, str]], found: paths.Place) -> Query:
    """Take the parameters of a search apart.

    Parameters:
        level: what is searched for.
        parameters: names and values, decoded.
        found: the UIDs of the path, which what is found has.

    Raises:
        HTTPException: (400) an unknown attribute, or a value that cannot be one.
    """
    if len(parameters) > _WORDS:
        raise HTTPException(400, f"the search has {len(parameters)} parameters; at most {_WORDS} are read")
    match: dict[str, str] = {}
    include: list[str] = []
    limit: int | None = None
    offset, fuzzy, everything = 0, False, False
    for name, value in parameters:
        if name in _IGNORED:
            continue
        if name == "limit":
            limit = _number(name, value)
        elif name == "offset":
            offset = _number(name, value)
        elif name == "fuzzymatching":
            if value.lower() not in ("true", "false"):
                raise HTTPException(400, f"fuzzymatching is true or false, and not {_short(value)}")
            fuzzy = value.lower() == "true"
        elif name == "includefield":
            words = [word.strip() for word in value.split(",") if word.strip()]
            everything = everything or "all" in words
            include += [tag_path(word) for word in words if word != "all"]
        else:
            _add(match, name, value)
    for tag, uid in zip((_STUDY, _SERIES), found[:2], strict=True):
        if uid is not None:
            if match.get(tag, uid) != uid:
                raise HTTPException(400, f"the path and the parameter {tag} name different UIDs; give one of them")
            match[tag] = uid
    cut = MOST if limit is None else min(limit, MOST)
    return Query(level, match, tuple(dict.fromkeys(include)), everything, cut, offset, fuzzy)


def _add(match: dict[str, str], name: str, value: str) -> None:
    """Add a value that an attribute must have."""
    path = tag_path(name)
    if len(value) > _LONGEST and _kind(path) != "UI":
        raise HTTPException(400, f"the value of {name} has {len(value)} characters; at most {_LONGEST} are read")
    if path in match and _kind(path) != "UI":
        raise HTTPException(400, f"{name} is given twice; give it once")
    if _kind(path) == "UI":  # a list of UIDs, or the parameter several times
        value = value.replace("\\", ",")
        value = f"{match[path]},{value}" if path in match else value
        if not re.fullmatch(r"[0-9.,*?\s]*", value):
            raise HTTPException(400, f"{name} is a UID, or several with commas between, of digits and dots")
    match[path] = value


def tag_path(text: str) -> str:
    """Return the tag of eight hexadecimal digits of a keyword or a tag; of a path through sequences with dots.

    Raises HTTPException (400) for what is neither.
    """
    return ".".join(map(_tag, text.split(".")))


def _tag(text: str) -> str:
    found = re.fullmatch(r"\(?([0-9A-Fa-f]{4}),?([0-9A-Fa-f]{4})\)?", text)
    if found:
        return (found[1] + found[2]).upper()
    tag = tag_for_keyword(text) if text else None
    if tag is None:
        raise HTTPException(
            400, f"{_short(text)} is no attribute of DICOM; name one by its keyword (PatientID) or its tag (00100020)"
        )
    return f"{tag:08X}"


def _kind(path: str) -> str:
    """Return the value representation of the last tag of a path, "" of one that is not known."""
    try:
        return dictionary_VR(int(path[-8:], 16))
    except KeyError:
        return ""


def _number(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,12}", value):
        raise HTTPException(400, f"{name} is a whole number from 0, and not {_short(value)}")
    return int(value)


def _short(value: str) -> str:
    return repr(value if len(value) <= 40 else value[:40] + "…")


async def search(request: Request, store: Store, work: Work, level: Level) -> Response:
    """Answer a search."""
    kind = demand_json(request)
    place = paths.place(request)
    asked = query(level, request.query_params.multi_items(), place)
    base = paths.base(request)
    return await work.quickly(partial(_answer, request, store, asked, base, place, kind))


def _answer(request: Request, store: Store, asked: Query, base: str, place: paths.Place, kind: str) -> Response:
    """Search and make the answer.

    Where nothing is found it is an empty list: PS3.18 has 204 for that too, but Orthanc 1.10 as a client takes an
    answer without a body for an error.
    """
    try:
        found = store.search(asked)
    except MissingError:
        found = Found([], False)
    except UnsupportedError as error:
        raise HTTPException(400, str(error)) from None
    headers = {}
    if found.more:
        following = asked.offset + len(found.results)
        headers["Warning"] = f'299 volcomp "There are more results; ask for them with offset={following}"'
    for result in found.results:
        _complete(result, base, asked.level, place)
    return as_json(request, found.results, kind, headers=headers)


def _complete(result: Json, base: str, level: Level, place: paths.Place) -> None:
    """Add where a result is retrieved from (PS3.18, 10.6.3.3)."""
    study = _uid(result, _STUDY) or place.study
    series = (_uid(result, _SERIES) or place.series) if level is not Level.STUDIES else None
    sop = _uid(result, _SOP) if level is Level.INSTANCES else None
    if study:
        result[_URL] = {"vr": "UR", "Value": [paths.url(base, study, series, sop)]}
    result.setdefault(_AVAILABLE, {"vr": "CS", "Value": ["ONLINE"]})


def _uid(result: Json, tag: str) -> str | None:
    """Return the UID that a result has at a tag."""
    values = result.get(tag, {}).get("Value") or [None]
    return values[0]
