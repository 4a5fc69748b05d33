"""Try images whose bytes are made by a body codec: read them, write them again, compare; several at once."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from ..bodies.protocol import Kept, Planes
from ..bodies.registry import body
from ..errors import DamagedError
from ..formats.protocol import Image
from ..runtime.cpus import cores
from ..streams.protocol import NotReproducible
from .header_writer import MAX_RECORD_BYTES
from .tree import source_errors

TOO_MUCH = "it has too many bytes around its voxels"
_AHEAD_BYTES = 64 << 20  # of planes; larger images are read when their turn comes, piece by piece


class Attempt(NamedTuple):
    """An image that was read, and can be written again."""

    sha256: bytes  # of the file
    blocks: list[Planes]
    kept: Kept


def tried(images: list[Image], threads: int | None) -> Generator[tuple[Image, Callable[[], Attempt] | None]]:
    """Yield images, each with a function that returns its attempt, or raises what it raised: NotReproducible,
    UnsupportedError. None stands for native images, and for those that are too large to be held in memory."""
    waiting: deque[tuple[Image, Future[Attempt] | None]] = deque()
    with ThreadPoolExecutor(threads or cores()) as pool:
        left = iter(images)
        try:
            while True:
                while len(waiting) < 2 * pool._max_workers and (image := next(left, None)):
                    small = image.reading is not None and image.pixel_bytes <= _AHEAD_BYTES
                    waiting.append((image, pool.submit(_attempt, image) if small else None))
                if not waiting:
                    return
                image, future = waiting.popleft()
                yield image, future.result if future else None
        finally:
            for _, future in waiting:
                if future:
                    future.cancel()


def _attempt(image: Image) -> Attempt:
    assert image.reading is not None
    with source_errors(image.path), image.path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").digest()
        blocks = list(image.reading.read(file))
    kept = image.reading.kept
    check(image, sha256, kept, blocks)
    return Attempt(sha256, blocks, kept)


def check(image: Image, sha256: bytes, kept: Kept, blocks: Iterable[Planes]) -> None:
    """Write an image again. Raises NotReproducible where that does not give its bytes."""
    assert image.reading is not None
    if sum(map(len, kept)) > MAX_RECORD_BYTES:
        raise NotReproducible(TOO_MUCH)
    again, size = hashlib.sha256(), 0
    try:
        for piece in body(image.reading.number).write(kept, iter(blocks)):
            again.update(piece)
            size += len(piece)
    except DamagedError as error:
        raise NotReproducible(str(error)) from error
    if again.digest() != sha256:
        raise NotReproducible("its bytes do not come back identical")
    if size != image.size:
        raise NotReproducible("it changed while it was read")
