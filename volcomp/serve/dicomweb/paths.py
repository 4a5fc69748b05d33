"""The paths of DICOMweb: UIDs out of them, and URLs for answers."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request

from ..store.instance import Instance

PREFIX = "/dicom-web"
_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto")
_UID = re.compile(r"[0-9.]{1,64}")


class Place(NamedTuple):
    """The UIDs of a path; None where it has none."""

    study: str | None
    series: str | None
    sop: str | None


def place(request: Request) -> Place:
    """Return the UIDs of a request's path. Raises HTTPException (400) for what is none."""
    found = Place(*(request.path_params.get(name) for name in Place._fields))
    for uid in found:
        if uid is not None and not _UID.fullmatch(uid):
            raise HTTPException(400, "a UID has digits and dots, 64 at most, and one in this path has others")
    return found


def base(request: Request) -> str:
    """Return the URL of the service, as the client calls it.

    dicomweb-client 0.61.2 leaves the port out of the header Host. It is added, unless a proxy stands between, which
    says so by a header and whose port is not this server's.
    """
    root = request.scope.get("app_root_path", request.scope.get("root_path", ""))
    place = request.url.netloc
    server = request.scope.get("server")
    forwarded = any(name in request.headers for name in _FORWARDED)
    if request.url.port is None and server and server[1] not in (None, 80, 443) and not forwarded:
        place = f"{place}:{server[1]}"
    return f"{request.url.scheme}://{place}{root}{PREFIX}"


def url(base: str, study: str, series: str | None = None, sop: str | None = None) -> str:
    """Return the URL of a study, a series or an instance."""
    made = f"{base}/studies/{quote(study)}"
    if series:
        made += f"/series/{quote(series)}"
    return f"{made}/instances/{quote(sop)}" if sop else made


def url_of(base: str, instance: Instance) -> str:
    """Return the URL of an instance."""
    return url(base, instance.study, instance.series, instance.sop)


def missing(found: Place) -> HTTPException:
    """Return the answer (404) to a path of what there is not."""
    what = "instance" if found.sop else "series" if found.series else "study"
    return HTTPException(404, f"there is no such {what} here; GET {PREFIX}/studies lists what there is")
