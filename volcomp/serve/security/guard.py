"""The door: every request passes it before anything else sees it, and every answer after.

It speaks ASGI, since bodies and answers pass through it piece by piece.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..settings import Settings
from .audit import Audit
from .keys import Keys
from .limits import Buckets, bounded, is_loopback, patient, too_large

LOG = logging.getLogger("volcomp.serve")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_READING = ("GET", "HEAD", "OPTIONS")
_ALLOWED = "Accept, Authorization, Content-Type, If-Modified-Since, If-None-Match, If-Range, Range"
_EXPOSED = "Accept-Ranges, Content-Length, Content-Range, ETag, Last-Modified, Warning"
_REQUESTS = (500.0, 5000.0)  # a second and at once, of one address that is not this machine
_FAILURES = (1 / 6, 10.0)  # failed logins a second and at once, of any address


class Guard:
    """The door of an application."""

    def __init__(self, app: ASGIApp, settings: Settings, keys: Keys, audit: Audit | None) -> None:
        self._app, self._settings, self._keys, self._audit = app, settings, keys, audit
        self._requests, self._failures = Buckets(*_REQUESTS), Buckets(*_FAILURES)
        self._checking = asyncio.Lock()
        self._loopback = is_loopback(settings.host)
        names = {"localhost", "127.0.0.1", "[::1]", settings.host, *settings.hosts}
        self._hosts = {name.lower() for name in names}
        if not self._loopback:
            self._hosts.add(socket.gethostname().lower())
        self._origins = {origin.rstrip("/").lower() for origin in settings.origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        allowed = origin if origin is not None and origin.lower() in self._origins else None
        passing = self._answering(scope, patient(send), allowed)
        try:
            if allowed and scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await _preflight(headers)(scope, receive, passing)
                return
            self._check_rate(scope)
            self._check_host(headers.get("host", ""))
            self._check_origin(scope, headers, allowed)
            scope.setdefault("state", {})["who"] = await self._login(scope, headers)
            self._check_length(headers)
        except HTTPException as error:
            await _refusal(error)(scope, receive, passing)
            return
        await self._app(scope, bounded(receive, self._settings.max_upload), passing)

    def _check_rate(self, scope: Scope) -> None:
        """Raise HTTPException (429) for an address that asks too often."""
        address = _address(scope)
        if not is_loopback(address) and (seconds := self._requests.take(address)):
            raise _too_often(seconds, "there are too many requests from this address")

    def _check_host(self, host: str) -> None:
        """Raise HTTPException (421) for a name that this server does not have.

        Without it a page of any other server could ask, by a name that it lets point here (DNS rebinding). Where a
        login is needed it gains nothing by that; where none is, names are known or are addresses.
        """
        name = _without_port(host.lower())
        if name in self._hosts or not (self._loopback or self._keys.open):
            return
        if not self._loopback and _is_address(name):
            return
        raise HTTPException(421, "this server has another name than the one asked for; --allow-host gives it one")

    def _check_origin(self, scope: Scope, headers: Headers, allowed: str | None) -> None:
        """Raise HTTPException (403) where a page of another server lets a browser change something here."""
        if scope["method"] in _READING or allowed:
            return
        origin = headers.get("origin")
        foreign = headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none")
        if origin is not None:
            foreign = urlsplit(origin).netloc.lower() != headers.get("host", "").lower()
        if foreign:
            raise HTTPException(403, "a page of another server may change nothing here; --allow-origin allows one")

    async def _login(self, scope: Scope, headers: Headers) -> str:
        """Return who asks, "" where nobody need say. Raises HTTPException (401, 429)."""
        if self._keys.open:
            return ""
        header, address = headers.get("authorization"), _address(scope)
        if header is None:
            raise _unknown("this server answers those who log in; send a token or a name and a password")
        who = self._keys.known(header)
        if who is not None:
            return who
        async with self._checking:  # one after another, so that none slips past the count
            who = self._keys.known(header)
            if who is None:
                if seconds := self._failures.wait(address):
                    raise _too_often(seconds, "there were too many failed logins from this address")
                who = await asyncio.to_thread(self._keys.check, header)
            if who is None:
                self._failures.take(address)
                raise _unknown("the token, or the name and the password, is wrong")
        return who

    def _check_length(self, headers: Headers) -> None:
        """Raise HTTPException (413) for a body that says that it is too large."""
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._settings.max_upload:
            raise too_large(self._settings.max_upload)

    def _answering(self, scope: Scope, send: Send, allowed: str | None) -> Send:
        """Return what sends an answer with the headers that all have, and notes it."""

        async def send_message(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if self._origins:
                    headers.add_vary_header("Origin")
                if allowed:
                    headers["Access-Control-Allow-Origin"] = allowed
                    headers["Access-Control-Allow-Credentials"] = "true"
                    headers["Access-Control-Expose-Headers"] = _EXPOSED
                    headers["Cross-Origin-Resource-Policy"] = "cross-origin"
                if self._audit is not None and not self._note(scope, message["status"]):
                    message = {**message, "status": 503, "headers": [(b"content-length", b"0")]}
                    await send(message)
                    raise ConnectionError("the audit log cannot be written")
            await send(message)

        return send_message

    def _note(self, scope: Scope, status: int) -> bool:
        """Note an answer with something of a study; return whether it could be."""
        found = scope.get("path_params") or {}
        uids = {name: found[name] for name in ("study", "series", "sop") if name in found}
        if not uids or self._audit is None:
            return True
        who = scope.get("state", {}).get("who", "")
        try:
            self._audit.note(who, _address(scope), scope["method"], scope["path"], uids, status)
        except OSError:
            LOG.error("the audit log cannot be written; nothing is answered until it can")
            return False
        return True


def _address(scope: Scope) -> str:
    """Return the address of the client."""
    client: Sequence[str] | None = scope.get("client")
    return client[0] if client else ""


def _without_port(host: str) -> str:
    """Return the name of the header Host."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() and not (host.startswith("[") and host.endswith("]")) else host


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _preflight(headers: Headers) -> Response:
    """Answer a browser that asks whether it may ask (Fetch standard, CORS-preflight)."""
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS, POST",
            "Access-Control-Allow-Headers": _ALLOWED,
            "Access-Control-Max-Age": "600",
        },
    )


def _unknown(sentence: str) -> HTTPException:
    return HTTPException(401, sentence, {"WWW-Authenticate": 'Basic realm="volcomp", charset="UTF-8", Bearer'})


def _too_often(seconds: float, sentence: str) -> HTTPException:
    wait = math.ceil(seconds)
    return HTTPException(429, f"{sentence}; ask again in {wait} s", {"Retry-After": str(wait)})


def _refusal(error: HTTPException) -> Response:
    """Make the answer to a request that is not let through."""
    facts = {"error": {"status": error.status_code, "sentence": error.detail}}
    return JSONResponse(facts, error.status_code, error.headers)
