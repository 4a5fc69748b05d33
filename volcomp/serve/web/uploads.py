"""Routes of files that are handed in: a folder or a zip becomes an archive, an archive is listed and restored.

With JavaScript a page makes a job, sends file by file, starts it and asks how far it is. Without, one form does all.
"""

from __future__ import annotations

from pathlib import Path

from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from ...errors import MissingError
from .downloads import safe_name
from .intake import body_to, form_to, new_path
from .jobs import DONE, ENDED, RECEIVING, Job, Jobs
from .refusal import BAD, FORM, Refusal
from .site import Site, attached, prefers_html

KINDS = ("compress", "restore")


class Uploads:
    """Answers of the pages on files that are handed in."""

    def __init__(self, jobs: Jobs, site: Site) -> None:
        self._jobs, self._site = jobs, site

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        awaited = self._site.awaited
        return [
            Route("/tools", awaited(self.tools), methods=["GET"]),
            Route("/tools", awaited(self.form), methods=["POST"]),
            Route("/jobs", awaited(self.new), methods=["POST"]),
            Route("/jobs/{job}", awaited(self.state), methods=["GET"]),
            Route("/jobs/{job}", awaited(self.drop), methods=["DELETE"]),
            Route("/jobs/{job}/drop", awaited(self.drop), methods=["POST"]),
            Route("/jobs/{job}/files", awaited(self.file), methods=["PUT"]),
            Route("/jobs/{job}/start", awaited(self.start), methods=["POST"]),
            Route("/jobs/{job}/result", awaited(self.result), methods=["GET"]),
        ]

    async def tools(self, request: Request) -> Response:
        """Answer with the page on which files are dropped."""
        return self._site.page(request, "tools.html", limits=self._jobs.limits)

    async def form(self, request: Request) -> Response:
        """Take files of a form in, and lead to their job."""
        job = self._jobs.new("compress", "files")
        try:
            await form_to(request, job.inputs, lambda files, size: self._jobs.count(job, files=files, bytes=size))
            self._begin(job)
        except BaseException:
            self._jobs.drop(job)
            raise
        base = request.scope.get("root_path", "").rstrip("/")
        return RedirectResponse(f"{base}/jobs/{job.id}", 303)

    async def new(self, request: Request) -> Response:
        """Make a job; the answer says its name."""
        job = self._jobs.new("compress", "files")
        return JSONResponse(job.shown(), 201)

    async def file(self, request: Request) -> Response:
        """Take a file of a job in; its name is in the query."""
        job = self._job(request)
        path = new_path(job.inputs, request.query_params.get("name", ""), set())
        self._jobs.count(job, files=1)
        try:
            await body_to(request, path, lambda files, size: self._jobs.count(job, bytes=size))
        except BaseException:
            self._jobs.drop(job)
            raise
        return Response(status_code=204)

    async def start(self, request: Request) -> Response:
        """Start a job, all of whose files came in."""
        job = self._job(request)
        if job.state == RECEIVING:
            self._begin(job)
        return JSONResponse(job.shown(), 202)

    async def state(self, request: Request) -> Response:
        """Answer with how far a job is: as JSON, or as a page that looks again by itself."""
        job = self._job(request)
        if prefers_html(request):
            return self._site.page(request, "job.html", job=job, facts=job.shown(), ended=job.state in ENDED)
        return JSONResponse(job.shown(), headers={"Cache-Control": "no-store"})

    async def drop(self, request: Request) -> Response:
        """Stop and forget a job."""
        self._jobs.drop(self._job(request))
        if request.method == "DELETE":
            return Response(status_code=204)
        base = request.scope.get("root_path", "").rstrip("/")
        return RedirectResponse(f"{base}/tools", 303)

    async def result(self, request: Request) -> Response:
        """Answer with what came of a job."""
        job = self._job(request)
        if job.state != DONE or job.result is None:
            raise MissingError("the job has no result, or none yet")
        return sent(job)

    def _job(self, request: Request) -> Job:
        return self._jobs.find(request.path_params["job"])

    def _begin(self, job: Job) -> None:
        """Start a job; what it does follows from the files. Raises Refusal where there are none."""
        tops = sorted(path.name for path in job.inputs.iterdir())
        if not job.files or not tops:
            raise Refusal("no file was chosen; choose files, a folder, a zip or a .vcz", BAD, FORM)
        name = tops[0] if len(tops) == 1 else "files"
        suffix = Path(name).suffix.lower()
        if job.files == 1 and suffix == ".vcz":
            job.kind = "restore"
        job.zip = job.files == 1 and suffix == ".zip"
        job.name = safe_name(name[: -len(suffix)] if suffix in (".vcz", ".zip") else name, "files")
        self._jobs.start(job)


def sent(job: Job, after: BackgroundTask | None = None) -> Response:
    """Return the result of a job as a file to download."""
    assert job.result is not None
    kind = "application/zip" if job.result.suffix == ".zip" else "application/x-volcomp"
    return FileResponse(job.result, headers=attached(job.result_name), media_type=kind, background=after)
