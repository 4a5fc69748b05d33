"""The pages and what they are made of, as routes of Starlette."""

from __future__ import annotations

import atexit
import gzip
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import numpy as np
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from ...errors import MissingError, UnsupportedError
from ..inbox.protocol import Inbox
from ..settings import Settings
from ..store.protocol import Holding, Store
from ..work import Work
from . import bits, downloads, listing, policy, voxels
from .jobs import Jobs
from .refusal import Refusal
from .site import Site, attached, static
from .stacks import Stack, Stacks
from .uploads import Uploads
from .workroom import Workroom, remove
from .xray import XRays

_ANSWER = 3 * voxels.MOST_BYTES  # that one with values or a picture takes while it is made and sent
_KNOWN = 64  # series whose maps are remembered
_MOST_CELLS = 1 << 29  # voxels that a browser is asked to hold


def routes(store: Store, inbox: Inbox, settings: Settings, work: Work | None = None) -> list[BaseRoute]:
    """Return the routes of the page, to be mounted at the root after all others: the last one answers every path.

    What they keep is let go of when the process ends; `opened` does so earlier.
    """
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(opened(store, inbox, settings, work))


@contextmanager
def opened(
    store: Store, inbox: Inbox, settings: Settings, work: Work | None = None
) -> Iterator[list[BaseRoute]]:  # fmt: skip
    """Yield the routes; in the end stop the jobs on files that were handed in, and remove these. See `routes`."""
    site, room = Site(settings, work), Workroom(settings)
    jobs = Jobs(room, settings)
    try:
        shown, xrays = Shown(store, inbox, site, room), XRays(jobs, site)
        yield [*shown.routes(), *Uploads(jobs, site).routes(), *xrays.routes(), xrays.last()]
    finally:
        jobs.close()
        room.close()


class Shown:
    """Answers of the pages on what the store has. Each blocks, and runs on a thread."""

    def __init__(self, store: Store, inbox: Inbox, site: Site, room: Workroom) -> None:
        self._store, self._inbox, self._site, self._room = store, inbox, site, room
        self._stacks = Stacks(store)
        self._known: dict[tuple[Any, ...], list[bits.Map]] = {}

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        study, series = "/study/{study}", "/study/{study}/series/{series}"
        plain = {
            "/": self.home,
            study: self.study,
            f"{study}/original.zip": self.originals,
            series: self.series,
            f"{series}/layout.json": self.layout,
            f"{series}/original.zip": self.originals,
            f"{series}/volume.nii.gz": self.nifti,
            f"{series}/archive.vcz": self.archive,
        }
        found: list[BaseRoute] = [
            Route(path, self._site.answered(answer), methods=["GET"]) for path, answer in plain.items()
        ]
        for path, answer in {f"{series}/values": self.values, f"{series}/picture.png": self.picture}.items():
            found.append(Route(path, self._site.weighed(answer, _ANSWER), methods=["GET"]))
        return [*found, Route("/static/{name}", static, methods=["GET"])]

    def home(self, request: Request) -> Response:
        """Answer with the search and its results."""
        search = listing.Search.of(request.query_params)
        found = self._store.search(search.query)
        rows = [listing.study_row(self._store, one) for one in found.results]
        whole = listing.sizes(self._store.holdings())
        return self._site.page(
            request,
            "home.html",
            search=search,
            rows=rows,
            more=found.more,
            whole=whole,
            damaged={path: self._site.hidden(why) for path, why in self._store.damaged().items()},
            waiting=_waiting(self._inbox.state()),
        )

    def study(self, request: Request) -> Response:
        """Answer with a study and its series."""
        study = self._study(request)
        rows = [listing.series_row(self._store, study["uid"], one) for one in self._series(study["uid"])]
        return self._site.page(request, "study.html", study=study, rows=rows)

    def series(self, request: Request) -> Response:
        """Answer with a series: facts, viewer, where the bits go, downloads."""
        study = self._study(request)
        uid = request.path_params["series"]
        found = self._series(study["uid"], uid)
        if not found:
            raise MissingError(f"the study has no series {uid}")
        row = listing.series_row(self._store, study["uid"], found[0])
        stacks = self._stacks.of(study["uid"], uid)
        holdings = list(self._store.holdings(study["uid"], uid))
        facts: dict[str, Any] = {"study": study, "series": row, "stacks": stacks, "archives": holdings}
        facts["maps"] = self._maps(holdings, uid)
        if stacks:
            k = _whole(request, "stack", 0, len(stacks) - 1)
            stack = stacks[k]
            depth = len(stack.slices)
            windows = voxels.presets(stack, row["modality"])
            facts |= {"k": k, "stack": stack, "windows": windows, "z": _whole(request, "z", depth // 2, depth - 1)}
            facts["window"] = _chosen(request, windows)
            facts["large"] = not _fits(stack)
        return self._site.page(request, "series.html", security=policy.VIEWER, **facts)

    def layout(self, request: Request) -> Response:
        """Answer with what a viewer must know of a stack before its values, as JSON."""
        k, stack, modality = self._stack(request)
        kind = _kind(request, stack)
        affine = stack.affine
        if affine is None:  # head first, as most series lie
            z, y, x = stack.spacing
            affine = np.diag([-x, -y, z, 1.0])
        return JSONResponse(
            {
                "stack": k,
                "version": stack.version,
                "shape": stack.shape,
                "type": str(kind),
                "spacing": stack.spacing,
                "affine": affine.tolist(),
                "placed": stack.affine is not None,
                "even": stack.even,
                "origins": None if stack.even else stack.origins,
                "colour": stack.first.samples > 1,
                "inverted": stack.first.inverted,
                "unit": "HU" if modality == "CT" else "",
                "windows": voxels.presets(stack, modality),
            },
            headers={"Cache-Control": "no-store"},
        )

    def values(self, request: Request) -> Response:
        """Answer with the values of slices `from` to `to` - 1: numbers, little-endian, gzip where it is asked for."""
        _, stack, _ = self._stack(request)
        depth = len(stack.slices)
        first = _whole(request, "from", 0, depth - 1)
        end = _whole(request, "to", first + 1, depth)
        data = voxels.numbers(self._store, stack, first, end, _kind(request, stack))
        headers = {"Cache-Control": "private, max-age=600", "Vary": "Accept-Encoding"}
        near = request.client is not None and request.client.host in ("127.0.0.1", "::1")
        if not near and "gzip" in request.headers.get("accept-encoding", ""):
            return Response(
                gzip.compress(data, 1), headers=headers | {"Content-Encoding": "gzip"},
                media_type="application/octet-stream",
            )  # fmt: skip
        return Response(data, headers=headers, media_type="application/octet-stream")

    def picture(self, request: Request) -> Response:
        """Answer with a slice as PNG, in a window: `z`, `window` by its name, or `centre` and `width`, `size`."""
        _, stack, modality = self._stack(request)
        depth = len(stack.slices)
        window = _chosen(request, voxels.presets(stack, modality))
        pair = None if window is None or window["centre"] is None else (window["centre"], window["width"])
        side = _whole(request, "size", 0, 4096) or None
        data = voxels.png(self._store, stack, _whole(request, "z", depth // 2, depth - 1), pair, side)
        return Response(data, headers={"Cache-Control": "private, max-age=600"}, media_type="image/png")

    def originals(self, request: Request) -> Response:
        """Answer with the original files, in a zip that is made as it is sent."""
        study, series = request.path_params["study"], request.path_params.get("series")
        instances = self._store.instances(study, series)
        name = downloads.safe_name(f"{series or study}.zip")

        async def made() -> Response:
            files = downloads.originals(self._store, instances)
            return StreamingResponse(files, headers=attached(name), media_type="application/zip")

        return self._site.held(3 * max(one.size for one in instances), made)

    def nifti(self, request: Request) -> Response:
        """Answer with a volume as NIfTI."""
        study, series = request.path_params["study"], request.path_params["series"]
        folder = self._room.new()
        try:
            path = downloads.nifti(self._store, study, series, _whole(request, "volume", 0, 9999), folder)
        except BaseException:
            remove(folder)
            raise
        name = downloads.safe_name(f"{series}.nii.gz")
        return FileResponse(
            path, headers=attached(name), media_type="application/gzip", background=BackgroundTask(remove, folder)
        )

    def archive(self, request: Request) -> Response:
        """Answer with the archive of a series."""
        study, series = request.path_params["study"], request.path_params["series"]
        path = downloads.archive_of(self._store, study, series, _whole(request, "archive", 0, 9999))
        return FileResponse(path, headers=attached(downloads.safe_name(path.name)), media_type="application/x-volcomp")

    def _maps(self, holdings: list[Holding], series: str) -> list[bits.Map]:
        """Return the maps of a series, made once for each state of its archives."""
        states = []
        for holding in holdings:
            try:
                state = holding.archive.stat()
            except OSError:  # gone meanwhile
                return []
            states.append((str(holding.archive), state.st_size, state.st_mtime_ns))
        key = (series, *states)
        if key not in self._known:
            while len(self._known) >= _KNOWN:
                self._known.pop(next(iter(self._known)), None)
            self._known[key] = bits.maps(holdings, series)
        return self._known[key]

    def _study(self, request: Request) -> dict[str, Any]:
        uid = request.path_params["study"]
        with suppress(MissingError):  # before the search: an archive that was replaced is read then, or says why not
            self._store.instances(uid)
        found = listing.study_of(self._store, uid)
        if found is None:
            raise MissingError(f"there is no study {uid}")
        return listing.study_row(self._store, found)

    def _series(self, study: str, series: str | None = None) -> list[dict[str, Any]]:
        return listing.series_of(self._store, study, series)

    def _stack(self, request: Request) -> tuple[int, Stack, str]:
        study, series = request.path_params["study"], request.path_params["series"]
        stacks = self._stacks.of(study, series)
        if not stacks:
            raise UnsupportedError("the series has no pictures")
        found = self._series(study, series)
        k = _whole(request, "stack", 0, len(stacks) - 1)
        if request.query_params.get("v", stacks[k].version) != stacks[k].version:
            raise Refusal("the series has changed meanwhile; load the page again", 409)
        return k, stacks[k], listing.text(found[0], "00080060") if found else ""


def _waiting(state: dict[str, Any]) -> int:
    """Return how many instances wait to be packed."""
    found = state.get("waiting", 0)
    return found if isinstance(found, int) else 0


def _fits(stack: Stack) -> bool:
    """Return whether a browser can hold a stack, and a texture its sides; WebGL2 promises 2048 on most devices."""
    return stack.first.samples == 1 and int(np.prod(stack.shape)) <= _MOST_CELLS


def _whole(request: Request, name: str, default: int, most: int) -> int:
    """Return a number of the query, from 0 to `most`. Raises UnsupportedError for another."""
    given = request.query_params.get(name, "")
    if not given:
        return default
    if not (given.isascii() and given.isdigit() and len(given) < 10 and int(given) <= most):
        raise UnsupportedError(f"{name}={given[:40]!r} was asked for; give a whole number from 0 to {most}")
    return int(given)


def _chosen(request: Request, windows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the window that the query asks for, by default the first. Raises UnsupportedError for an unknown one."""
    given = request.query_params
    if "centre" in given or "width" in given:
        try:
            centre, width = float(given["centre"]), float(given["width"])
        except (KeyError, ValueError):
            centre = width = float("nan")
        if not (abs(centre) < 1e9 and 1 <= width < 1e9):
            raise UnsupportedError("give centre= and width= as numbers, the width from 1")
        return {"key": "own", "label": "Own", "centre": centre, "width": width}
    if not windows:
        return None
    key = given.get("window", windows[0]["key"])
    for one in windows:
        if one["key"] == key:
            return one
    raise UnsupportedError(f"there is no window {key[:40]!r}; take one of {', '.join(w['key'] for w in windows)}")


def _kind(request: Request, stack: Stack) -> np.dtype[Any]:
    """Return the type of values that are sent: that of the stack, or float32 where a viewer asks for it."""
    given = request.query_params.get("type", "")
    if given not in ("", "int16", "uint16", "float32"):
        raise UnsupportedError(f"type={given[:40]!r} was asked for; take int16, uint16 or float32")
    return np.dtype(given) if given else stack.type
