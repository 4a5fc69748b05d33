"""How much and how often: requests and failed logins of an address, bytes and seconds of a request."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address

from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Send

_ADDRESSES = 10_000  # that are remembered
_SILENCE = 60.0  # seconds without a byte of a body, and before its rate counts
_RATE = 1024  # bytes a second that a body comes with at least
_STALLED = 120.0  # seconds in which a client takes nothing


class Buckets:
    """A bucket for each address, which fills by `rate` a second up to `most`, and from which each event takes one."""

    def __init__(self, rate: float, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = rate, most, clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # level, and when that was

    def wait(self, address: str) -> float:
        """Return the seconds until the bucket has one, 0 where it has."""
        return max(1 - self._level(_network(address)), 0) / self._rate

    def take(self, address: str) -> float:
        """Take one and return 0; or the seconds until there is one."""
        key = _network(address)
        level = self._level(key)
        if level < 1:
            return (1 - level) / self._rate
        self._levels[key] = (level - 1, self._clock())
        self._levels.move_to_end(key)
        if len(self._levels) > _ADDRESSES:
            self._levels.popitem(last=False)
        return 0.0

    def _level(self, key: str) -> float:
        level, since = self._levels.get(key, (self._most, 0.0))
        return min(level + (self._clock() - since) * self._rate, self._most)


def _network(address: str) -> str:
    """Return what counts as one address: of IPv6 the network, which is one client's."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    return str(int(found) >> 64) if isinstance(found, IPv6Address) else address


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine by itself."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def bounded(receive: Receive, most: int, clock: Callable[[], float] = time.monotonic) -> Receive:
    """Return what receives a request's body, up to `most` bytes, and not for ever.

    Raises HTTPException: (413) there are more bytes, (408) they come too slowly.
    """
    waited, total, complete = 0.0, 0, False  # seconds for the client alone, since what takes it in may be slow too

    async def next_message() -> Message:
        nonlocal waited, total, complete
        if complete:  # what comes now is that the client hangs up
            return await receive()
        begin = clock()
        try:
            async with asyncio.timeout(_SILENCE):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"no byte of the request came for {_SILENCE:.0f} s; send it again") from None
        waited += clock() - begin
        if message["type"] == "http.request":
            total += len(message.get("body", b""))
            complete = not message.get("more_body", False)
        if total > most:
            raise too_large(most)
        if not complete and total < (waited - _SILENCE) * _RATE:
            raise HTTPException(408, f"the request comes with less than {_RATE} bytes a second; send it again")
        return message

    return next_message


def too_large(most: int) -> HTTPException:
    """Return the answer (413) to a body that is too large."""
    return HTTPException(413, f"the request has more than {most} bytes, which --max-upload allows; send less at once")


def patient(send: Send) -> Send:
    """Return what sends an answer as long as the client takes some of it. Raises ConnectionError."""

    async def send_message(message: Message) -> None:
        try:
            async with asyncio.timeout(_STALLED):
                await send(message)
        except TimeoutError:
            raise ConnectionError("the client takes nothing") from None

    return send_message
