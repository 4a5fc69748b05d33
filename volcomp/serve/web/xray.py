"""The published service for X-rays: `POST /encode` takes a zip of images and returns a zip of compressed ones,
`POST /decode` the reverse. A form sends the zip, or the body of the request is the zip."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .coding import LEAST_RATIO, MODES, MOST_RATIO, RATIO
from .downloads import safe_name
from .intake import body_to, form_to
from .jobs import DONE, Job, Jobs
from .refusal import BAD, FORM, MISSING, PATH, Refusal, shown
from .site import Site
from .uploads import sent

_LOOK = 0.05  # seconds between two looks at whether a job is done, or the client gone
_URLENCODED = "application/x-www-form-urlencoded"
_SIZE = re.compile(r"(\d{1,6})[x×](\d{1,6})")


class XRays:
    """Answers of the service."""

    def __init__(self, jobs: Jobs, site: Site) -> None:
        self._jobs, self._site = jobs, site

    def routes(self) -> list[BaseRoute]:
        """Return the routes, the last of which answers every path (T06)."""
        awaited = self._site.awaited
        return [
            Route("/encode", awaited(self.page), methods=["GET"]),
            Route("/decode", awaited(self.page), methods=["GET"]),
            Route("/encode", awaited(self.encode), methods=["POST"]),
            Route("/decode", awaited(self.decode), methods=["POST"]),
        ]

    def last(self) -> BaseRoute:
        """Return the route of every path that no other has (T06)."""
        methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
        return Route("/{path:path}", self._site.awaited(self.unknown), methods=methods)

    async def page(self, request: Request) -> Response:
        """Answer with the forms of the service."""
        url = str(request.base_url).rstrip("/")
        return self._site.page(request, "xray.html", url=url, ratio=RATIO, least=LEAST_RATIO, most=MOST_RATIO)

    async def encode(self, request: Request) -> Response:
        """Answer with a zip of compressed images."""
        return await self._code(request, "encode")

    async def decode(self, request: Request) -> Response:
        """Answer with a zip of images."""
        return await self._code(request, "decode")

    async def unknown(self, request: Request) -> Response:
        """Answer what is asked of a path that there is not."""
        path = shown("/" + request.path_params["path"])
        raise Refusal(
            f"there is nothing at {path}; /encode and /decode take images, / is the page for people, "
            "/dicom-web/studies lists the studies", MISSING, PATH,
            request.path_params["path"],
        )  # fmt: skip

    async def _code(self, request: Request, kind: str) -> Response:
        job = self._jobs.new(kind, kind)
        try:
            fields = await self._receive(request, job)
            if kind == "encode":
                job.asked = _asked(fields)
            self._jobs.start(job)
            while not job.over.is_set():
                if await request.is_disconnected():
                    raise Refusal("the client went away", 499)
                job.touched += _LOOK  # as long as somebody waits
                await asyncio.sleep(_LOOK)
            if job.state != DONE:
                raise job.refusal or Refusal("the job was stopped", 500)
        except BaseException:
            self._jobs.drop(job)
            raise
        return sent(job, BackgroundTask(self._jobs.drop, job))

    async def _receive(self, request: Request, job: Job) -> dict[str, str]:
        """Take the zip in; return the other fields of the form, or of the query. Raises Refusal (T07)."""
        fields = dict(request.query_params)
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            fields |= await form_to(
                request, job.inputs, lambda files, size: self._jobs.count(job, files=files, bytes=size)
            )  # fmt: skip
            found = [path for path in job.inputs.rglob("*") if path.is_file()]
        else:
            path = job.inputs / "body.zip"
            size = await body_to(request, path, lambda files, size: self._jobs.count(job, bytes=size))
            found = [path] if size and not (kind == _URLENCODED and not _begins(path)) else []
        if not found or not sum(path.stat().st_size for path in found):
            raise Refusal("the form is empty; choose a zip of images", BAD, FORM)
        if len(found) > 1:
            raise Refusal("the form has several files; put all images into one zip", BAD)
        job.name = safe_name(f"{found[0].stem}-{job.kind}d" if kind == "multipart/form-data" else f"{job.kind}d")
        return fields


def _begins(path: Path) -> bool:
    """Return whether a file begins as a zip does: a form without files may not, and curl says of both the same."""
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _asked(fields: dict[str, str]) -> dict[str, Any]:
    """Return what a request asks of the encoder. Raises Refusal for values that are not allowed."""
    mode = fields.get("mode", "").strip() or MODES[0]
    if mode not in MODES:
        raise Refusal(f"mode={shown(mode)} was asked for; take {' or '.join(MODES)}", BAD)
    asked: dict[str, Any] = {"mode": mode}
    if mode == "lossy":
        text = fields.get("ratio", "").strip() or str(RATIO)
        try:
            ratio = float(text)
        except ValueError:
            ratio = 0.0
        if not LEAST_RATIO <= ratio <= MOST_RATIO:
            raise Refusal(f"ratio={shown(text)} was asked for; take {LEAST_RATIO:g} to {MOST_RATIO:g}", BAD)
        asked["ratio"] = ratio
    if size := fields.get("size", "").strip():
        match = _SIZE.fullmatch(size)
        if not match:
            raise Refusal(f"size={shown(size)} was asked for; give width and height as 256x256", BAD)
        asked["size"] = [int(match[1]), int(match[2])]
    return asked
