"""The resources of DICOMweb, and what answers for each (PS3.18, tables 10.4.1-1 to 10.6.1-1)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from ... import __version__
from ..inbox.protocol import Inbox
from ..settings import Settings
from ..store.faults import ChangedError
from ..store.protocol import Store
from ..store.query import Level
from ..work import Work
from . import frames, rendered, retrieve
from .paths import PREFIX
from .respond import as_json
from .retrieve import Rooms
from .search import search
from .store_instances import store as store_instances

_STUDY = "/studies/{study}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{sop}}"
_FRAMES = f"{_INSTANCE}/frames/{{frames}}"
_TRIES = 3  # of an answer about what is replaced meanwhile
Endpoint = Callable[[Request], Awaitable[Response]]


def mounted(store: Store, inbox: Inbox, settings: Settings, work: Work) -> Mount:
    """Return DICOMweb at its prefix."""
    return Mount(PREFIX, routes=routes(store, inbox, settings, work))


def routes(store: Store, inbox: Inbox, settings: Settings, work: Work) -> list[Route]:
    """Return the routes of DICOMweb, below its prefix."""
    rooms = Rooms(store, settings, work)

    def searching(level: Level) -> Endpoint:
        async def answer(request: Request) -> Response:
            return await search(request, store, work, level)

        return answer

    def reading(function: Callable[[Request, Rooms], Awaitable[Response]]) -> Endpoint:
        async def answer(request: Request) -> Response:
            for _ in range(_TRIES - 1):
                with suppress(ChangedError):  # while it was read; the next time it is asked for what is there now
                    return await function(request, rooms)
            return await function(request, rooms)

        return answer

    def drawing(thumbnail: bool) -> Endpoint:
        return reading(partial(rendered.picture, thumbnail=thumbnail))

    find_studies = searching(Level.STUDIES)
    get_study = reading(retrieve.instances)

    async def studies(request: Request) -> Response:
        return await (store_instances(request, rooms, inbox) if request.method == "POST" else find_studies(request))

    async def study(request: Request) -> Response:
        return await (store_instances(request, rooms, inbox) if request.method == "POST" else get_study(request))

    found = [
        Route("/", _capabilities),
        Route("/studies", studies, methods=["GET", "POST"]),
        Route("/series", searching(Level.SERIES)),
        Route("/instances", searching(Level.INSTANCES)),
        Route(_STUDY, study, methods=["GET", "POST"]),
        Route(f"{_STUDY}/series", searching(Level.SERIES)),
        Route(f"{_STUDY}/instances", searching(Level.INSTANCES)),
        Route(_SERIES, reading(retrieve.instances)),
        Route(f"{_SERIES}/instances", searching(Level.INSTANCES)),
        Route(_INSTANCE, reading(retrieve.instances)),
        Route(_FRAMES, reading(frames.frames)),
        Route(f"{_INSTANCE}/bulkdata/{{path:path}}", reading(frames.bulk)),
    ]
    for level in (_STUDY, _SERIES, _INSTANCE):
        found.append(Route(f"{level}/metadata", reading(retrieve.metadata)))
    for level in (_STUDY, _SERIES, _INSTANCE, _FRAMES):
        found += [Route(f"{level}/rendered", drawing(False)), Route(f"{level}/thumbnail", drawing(True))]
    return found


async def _capabilities(request: Request) -> Response:
    """Say what the service does."""
    made = {
        "service": f"volcomp {__version__}",
        "search": ["studies", "series", "instances"],
        "retrieve": ["instances", "metadata", "frames", "bulkdata", "rendered", "thumbnail"],
        "store": ["application/dicom"],
    }
    return as_json(request, made, "application/json")
