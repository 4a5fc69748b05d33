"""The rooms put together, and the process that serves them."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import signal
import socket
import sys
import traceback
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from types import FrameType
from typing import Any, cast

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from ..errors import DamagedError, MissingError, NewerError, TargetError, UnsupportedError, VolcompError
from . import dicomweb, web
from .inbox import open_inbox
from .inbox.protocol import Inbox
from .security.audit import Audit
from .security.guard import LOG, Guard
from .security.keys import Keys
from .security.limits import is_loopback
from .settings import Settings
from .store import open_store
from .store.faults import ChangedError, UnreadableError
from .store.protocol import Store
from .work import Work, sending

_CONNECTIONS = 256  # at once; more are told to come back (503)
_LAST_SECONDS = 20  # in which requests that run are finished when the server is stopped
_IDLE_SECONDS = 15  # after which a connection without a request is closed
_SWITCH = (
    0.0005  # seconds after which a thread of Python lets others run: the one that speaks waits for those that read
)
_PROCESS = 256 << 20  # bytes that Python and its libraries take
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_HEADER_SECONDS = 30.0  # from when a connection is free for a request until its headers are there
_HEADERS = 64 << 10  # bytes of a request's headers


def application(store: Store, inbox: Inbox, settings: Settings, keys: Keys, audit: Audit | None = None) -> ASGIApp:
    """Return the application, which closes `inbox` and `store` when it ends."""
    work, pages = Work(settings.memory), ExitStack()
    routes = [
        dicomweb.mounted(store, inbox, settings, work),
        *pages.enter_context(web.opened(store, inbox, settings, work)),  # the last of them answers every other path
    ]

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        yield
        work.close()
        for close in (pages.close, inbox.close, store.close, *([audit.close] if audit else [])):
            await asyncio.to_thread(close)

    handlers = {
        HTTPException: _refused,
        ClientDisconnect: _gone,
        VolcompError: _failed,
        OSError: _failed,
        MemoryError: _failed,
        Exception: _failed,
    }
    return Guard(Starlette(routes=routes, exception_handlers=handlers, lifespan=life), settings, keys, audit)


async def _refused(request: Request, error: Exception) -> Response:
    """Answer what is refused: one sentence."""
    assert isinstance(error, HTTPException)
    status, sentence = error.status_code, error.detail
    if status == 404 and sentence == HTTPStatus.NOT_FOUND.phrase:
        sentence = "there is nothing at this address; / has the page for people, /dicom-web/studies the studies"
    elif status == 405:
        allowed = (error.headers or {}).get("Allow", "")
        sentence = (
            f"{request.method} is not possible here: what is there is neither changed nor deleted; allowed: {allowed}"
        )
    return _sentence(status, sentence, error.headers)


async def _gone(request: Request, error: Exception) -> Response:
    """Answer nobody."""
    return Response(status_code=499)


async def _failed(request: Request, error: Exception) -> Response:
    """Answer what cannot be done: one sentence, that says nothing of this machine."""
    note(request, error)
    status, sentence = told(error)
    return _sentence(status, sentence)


def _sentence(status: int, sentence: str, headers: object = None) -> Response:
    return JSONResponse({"error": {"status": status, "sentence": sentence}}, status, headers)  # type: ignore[arg-type]


def told(error: Exception) -> tuple[int, str]:
    """Return the status of an error and what a client is told of it."""
    if isinstance(error, ChangedError):
        return 503, "what is asked for is being replaced by something else; ask again"
    if isinstance(error, MissingError):
        return 404, "what is asked for is not here, or no longer; search again"
    if isinstance(error, UnreadableError):
        return 503, "the archive of this series cannot be read now; whoever keeps the server has to see that it may"
    if isinstance(error, NewerError):
        return 501, "the archive of this series was written by a newer version of volcomp; update the server"
    if isinstance(error, DamagedError):
        return 500, "the archive of this series is damaged; whoever keeps it may repair it with volcomp repair"
    if isinstance(error, TargetError) or (isinstance(error, OSError) and error.errno in _FULL):
        return 507, "nothing can be written here now, as on a full disk; whoever keeps the server has to make room"
    if isinstance(error, UnsupportedError):
        return 406, "this cannot be decoded here; ask for what is stored, with transfer-syntax=*"
    if isinstance(error, MemoryError):
        return 503, "there is not enough memory for this now; ask again later"
    return 500, "the server failed at this; its log says where"


def note(request: Request, error: Exception) -> None:
    """Write to the log what failed and where: no value, no name, no query."""
    if isinstance(error, MissingError):
        return
    while isinstance(error.__cause__, Exception):  # what failed first
        error = error.__cause__
    route = getattr(request.scope.get("route"), "path", "an unknown address")
    given = [str(request.path_params.get(name, "")) for name in ("study", "series", "sop")]
    uids = [uid for uid in given if re.fullmatch(r"[0-9.]{1,64}", uid)]  # nothing else that a client wrote
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}" if frames else "nowhere"
    LOG.error("%s %s %s: %s at %s", request.method, route, "/".join(uids), type(error).__name__, place)


class HttpServer(uvicorn.Server):
    """A server that says when it listens, closes connections that ask nothing, and remembers what stopped it."""

    def __init__(self, config: uvicorn.Config, listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._listening = listening
        self._idle: dict[
            object, tuple[object, float]
        ] = {}  # connections: their last request, and since when it is done
        self.stopped_by: int | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        await super().startup(sockets)
        if self.started:
            self._listening()

    async def on_tick(self, counter: int) -> bool:
        """Look after connections; called ten times a second. uvicorn itself waits for a request's headers for ever."""
        now = asyncio.get_running_loop().time()
        idle: dict[object, tuple[object, float]] = {}
        for one in self.server_state.connections:
            last: Any = getattr(one, "cycle", None)
            if last is None or last.response_complete:
                known, since = self._idle.get(one, (None, now))
                idle[one] = (last, since if known is last else now)
        self._idle = idle
        for late, (_, since) in idle.items():
            if now - since > _HEADER_SECONDS:
                cast(Any, late).transport.close()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop when the requests that run are done; at the second signal, at once."""
        self.force_exit = self.should_exit
        self.should_exit = True
        self.stopped_by = sig


def serve(settings: Settings, listening: Callable[[str], None]) -> bool:
    """Serve until a signal comes; return whether it was that of Ctrl-C.

    Parameters:
        settings: what the server is told.
        listening: is called with the URL when requests are answered.

    Raises:
        UnsupportedError: the tree is no folder, or keys cannot be read.
        TargetError: the port is taken, or something cannot be written.
    """
    _check(settings)
    keys = Keys(settings)
    with ExitStack() as opened:  # until the application closes it
        server_socket = opened.enter_context(_listen(settings))
        audit = Audit(settings.audit) if settings.audit else None
        if audit:
            opened.callback(audit.close)
        store = open_store(replace(settings, memory=_of_store(settings.memory)))
        opened.callback(store.close)
        inbox = open_inbox(store, settings)
        opened.callback(inbox.close)
        _prepare()
        config = uvicorn.Config(
            application(store, inbox, settings, keys, audit),
            access_log=False,
            h11_max_incomplete_event_size=_HEADERS,
            lifespan="on",
            limit_concurrency=_CONNECTIONS,
            log_config=None,
            server_header=False,
            timeout_graceful_shutdown=_LAST_SECONDS,
            timeout_keep_alive=_IDLE_SECONDS,
            ws="none",
        )
        url = _url(settings.host, server_socket.getsockname()[1])
        server = HttpServer(config, lambda: listening(url))
        opened.pop_all()
    server.run([server_socket])
    return server.stopped_by == signal.SIGINT


def _of_store(memory: int) -> int:
    """Return what the store may take of all memory: what the process by itself and answers on their way leave."""
    return max(memory - sending(memory) - _PROCESS, memory // 2)


def _check(settings: Settings) -> None:
    """Raise UnsupportedError for a tree that is none."""
    if not settings.root.is_dir():
        what = "it is no folder" if settings.root.exists() else "there is no such folder"
        raise UnsupportedError(f"{settings.root} cannot be served: {what}; name the folder with the archives")


def _listen(settings: Settings) -> socket.socket:
    """Return a socket that listens. Raises TargetError."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no name"
        raise TargetError(f"--host {settings.host} is no address of this machine: {reason}") from None
    try:
        if os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(address)
        made.listen(2048)
    except OSError as error:
        made.close()
        raise TargetError(
            f"nothing can listen at port {settings.port} of {settings.host}: {error.strerror}; "
            "give another --port, or 0 for a free one"
        ) from None
    return made


def _url(host: str, port: int) -> str:
    """Return the URL of the page."""
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _prepare() -> None:
    """Let nobody write values of files, or names of people, to the log: no warnings of readers, no tracebacks."""
    warnings.simplefilter("ignore")
    sys.setswitchinterval(_SWITCH)
    for name in ("pydicom", "uvicorn.error", "uvicorn.asgi", "python_multipart"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    if not LOG.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s volcomp: %(message)s"))
        LOG.addHandler(handler)
        LOG.propagate = False


__all__ = ["application", "is_loopback", "serve"]
