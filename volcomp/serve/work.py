"""Who does the work of answers: threads for what is quick, threads for what decodes, and room for what is on its way.

What a client waits for is done in threads. Searches have their own, so that none waits behind a slab that is decoded.
Whole instances are counted against a number of bytes from when they are read until they are sent: with many slow
clients, memory holds a few instances, and the others wait.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import ParamSpec, TypeVar

from starlette.requests import ClientDisconnect, Request

P = ParamSpec("P")
T = TypeVar("T")

_QUICK = 8  # threads; they wait for the disk alone
# Threads; the store lets as many decode at once as there are cores. The others wait for that, or read slabs that are
# decoded already, for which nobody should have to wait.
_SLOW = 32
_SHARE = 8  # of the memory that the server may take, the part for what is on its way
_LEAST = 64 << 20  # bytes


def sending(memory: int) -> int:
    """Return the bytes that may be on their way, of all that the server may take."""
    return max(memory // _SHARE, _LEAST)


class Room:
    """Room for a number of bytes, given to those who wait in the order in which they came."""

    def __init__(self, size: int) -> None:
        self._size = self._free = size
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def taken(self, need: int) -> AsyncIterator[None]:
        """Take room for as long as the block runs; what needs more than there ever is takes all."""
        need = min(need, self._size)
        if self._waiting or need > self._free:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append((need, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._give(need)
                else:
                    with suppress(ValueError):  # it may be out of the queue already
                        self._waiting.remove((need, turn))
                    self._give(0)
                raise
        else:
            self._free -= need
        try:
            yield
        finally:
            self._give(need)

    def _give(self, back: int) -> None:
        """Give room back, and to those who wait for it."""
        self._free += back
        while self._waiting and (self._waiting[0][1].cancelled() or self._waiting[0][0] <= self._free):
            need, turn = self._waiting.popleft()
            if not turn.cancelled():
                self._free -= need
                turn.set_result(None)


class Work:
    """The threads of a server, and the room for what it sends."""

    def __init__(self, memory: int) -> None:
        self._quick = ThreadPoolExecutor(_QUICK, "volcomp-search")
        self._slow = ThreadPoolExecutor(_SLOW, "volcomp-decode")
        self.room = Room(sending(memory))

    async def quickly(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Run what reads an index."""
        return await self._run(self._quick, function, *arguments, **named)

    async def slowly(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """Run what may decode."""
        return await self._run(self._slow, function, *arguments, **named)

    async def _run(self, threads: Executor, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        # What is cancelled before its turn is never begun.
        return await asyncio.wrap_future(threads.submit(function, *arguments, **named))

    def close(self) -> None:
        """Begin nothing more."""
        self._quick.shutdown(wait=False, cancel_futures=True)
        self._slow.shutdown(wait=False, cancel_futures=True)


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """Wait for work, and no longer than the client does. Raises ClientDisconnect when it has hung up."""
    task = asyncio.ensure_future(work)
    heard = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, heard), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        for other in (task, heard):
            if not other.done():
                other.cancel()
                with suppress(asyncio.CancelledError):
                    await other


async def _gone(request: Request) -> None:
    """Return when the client has hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
