"""How the pages answer: templates, errors as sentences, static files."""

from __future__ import annotations

import gzip
import mimetypes
import os
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from functools import lru_cache, wraps
from hashlib import sha256
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from ... import __version__
from ...errors import DamagedError, MissingError, NewerError, TargetError, UnsupportedError, VolcompError
from ..settings import Settings
from ..store.faults import ChangedError, UnreadableError
from ..work import Room, Work
from . import policy
from .refusal import Refusal, shown

_UNITS = ("B", "kB", "MB", "GB", "TB", "PB")
_PACKED = (".js", ".css", ".svg", ".txt")


def size(count: float) -> str:
    """Return bytes for people, in powers of 1000: 1.23 MB."""
    k = 0
    while count >= 999.5 and k < len(_UNITS) - 1:
        count, k = count / 1000, k + 1
    return f"{count:.0f} {_UNITS[k]}" if k == 0 or count >= 99.95 else f"{count:.3g} {_UNITS[k]}"


def number(value: float | None, digits: int = 2) -> str:
    """Return a number for people, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("volcomp.serve.web"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {"size": size, "number": number, "shown": shown}
    made.globals |= {"version": __version__, "static": static_name}
    return made


def prefers_html(request: Request) -> bool:
    """Return whether a client is a browser that shows a page, and not a program that reads JSON."""
    accepted = request.headers.get("accept", "")
    return "text/html" in accepted


class Site:
    """Renders pages."""

    def __init__(self, settings: Settings, work: Work | None) -> None:
        """`work`: the threads that decode; None for those of Starlette."""
        self._settings, self._work = settings, work
        self._pages = _environment()

    def page(
        self, request: Request, name: str, status: int = 200, security: str = policy.PAGE, **facts: Any
    ) -> Response:  # fmt: skip
        """Return a page of a template."""
        base = request.scope.get("root_path", "").rstrip("/")
        body = self._pages.get_template(name).render(base=base, read_only=self._settings.read_only, **facts)
        headers = {"Content-Security-Policy": security, "Cache-Control": "no-store", "Vary": "Accept"}
        return Response(body, status, headers, "text/html")

    def refusal(self, request: Request, status: int, sentence: str, case: str = "", file: str = "") -> Response:
        """Return an error: as a page to people, as JSON to programs."""
        sentence = self.hidden(sentence)
        if prefers_html(request):
            return self.page(request, "refusal.html", status, sentence=sentence, case=case, file=file)
        facts = {"status": status, "sentence": sentence} | ({"case": case} if case else {})
        return JSONResponse({"error": facts | ({"file": file} if file else {})}, status)

    def hidden(self, sentence: str) -> str:
        """Return a sentence without paths of this machine: archives are named as they lie in the tree."""
        for path in (self._settings.landing, self._settings.own, self._settings.root):
            for form in {str(path.absolute()), str(path.resolve()), str(path)} - {"."}:
                sentence = sentence.replace(form.rstrip("/") + "/", "").replace(form, "the tree")
        return sentence

    def answered(self, answer: Callable[[Request], Response]) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers the same on another thread, with errors as sentences."""

        async def elsewhere(request: Request) -> Response:
            if self._work is not None:
                return await self._work.slowly(answer, request)
            return await run_in_threadpool(answer, request)

        return self.awaited(elsewhere)

    def weighed(
        self, answer: Callable[[Request], Response], need: int
    ) -> Callable[[Request], Awaitable[Response]]:  # fmt: skip
        """Return what answers the same, begun only when there is room for `need` bytes, which are taken until all is
        sent: with many slow clients, memory holds a few answers."""
        careful = self.answered(answer)

        async def later(request: Request) -> Response:
            return self.held(need, lambda: careful(request))

        return later

    def held(self, need: int, make: Callable[[], Awaitable[Response]]) -> Response:
        """Return a response that is made when there is room for it."""
        return _Held(self._work.room if self._work is not None else None, need, make)

    def awaited(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Return what answers the same, with errors as sentences."""

        @wraps(answer)
        async def careful(request: Request) -> Response:
            try:
                return await answer(request)
            except Refusal as refusal:
                return self.refusal(request, refusal.status, str(refusal), refusal.case, refusal.file)
            except VolcompError as error:
                return self.refusal(request, status_of(error), str(error))
            except OSError as error:
                sentence = f"the server cannot read or write this: {os.strerror(error.errno or 0)}"
                return self.refusal(request, 507, sentence)
            except HTTPException as error:  # of the door, which counts the bytes of a body
                return self.refusal(request, error.status_code, error.detail)

        return careful


class _Held(Response):
    """A response that is made when there is room for it, which it takes until it is sent."""

    def __init__(self, room: Room | None, need: int, make: Callable[[], Awaitable[Response]]) -> None:
        super().__init__()
        self._room, self._need, self._make = room, need, make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        async with self._room.taken(self._need) if self._room is not None else nullcontext():
            await (await self._make())(scope, receive, send)


def status_of(error: VolcompError) -> int:
    """Return the HTTP status of an error (RFC 9110, 15.5)."""
    if isinstance(error, ChangedError):
        return 409
    if isinstance(error, MissingError):
        return 404
    if isinstance(error, UnreadableError):
        return 503
    if isinstance(error, NewerError):
        return 501
    if isinstance(error, TargetError):
        return 507
    return 422 if isinstance(error, UnsupportedError) else 500 if isinstance(error, DamagedError) else 422


@lru_cache
def _static(name: str) -> tuple[bytes, bytes | None, str, str]:
    """Return a static file, packed by gzip where that helps, its type, and a digest of it. Raises FileNotFoundError."""
    if "/" in name or name.startswith("."):
        raise FileNotFoundError(name)
    data = files(__package__).joinpath("static", name).read_bytes()
    kind = "text/javascript" if name.endswith(".js") else mimetypes.guess_type(name)[0] or "application/octet-stream"
    packed = gzip.compress(data, 6, mtime=0) if name.endswith(_PACKED) and len(data) > 1000 else None
    return data, packed, kind, sha256(data).hexdigest()[:12]


def static_name(name: str) -> str:
    """Return the path of a static file, which changes when the file does: browsers may keep it for ever."""
    return f"static/{name}?{_static(name)[3]}"


def attached(name: str) -> dict[str, str]:
    """Return the headers of a file to download (RFC 6266)."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    exact = f"; filename*=UTF-8''{quote(name)}" if plain != name else ""
    return {"Content-Disposition": f'attachment; filename="{plain}"{exact}', "X-Content-Type-Options": "nosniff"}


def static(request: Request) -> Response:
    """Answer with a static file."""
    try:
        data, packed, kind, digest = _static(request.path_params["name"])
    except (FileNotFoundError, IsADirectoryError, ValueError):
        raise HTTPException(404) from None
    headers = {"ETag": f'"{digest}"', "Vary": "Accept-Encoding", "X-Content-Type-Options": "nosniff"}
    headers["Cache-Control"] = "public, max-age=31536000, immutable" if request.url.query == digest else "no-cache"
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    if packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=kind)
    return Response(data, headers=headers, media_type=kind)
