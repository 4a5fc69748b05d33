"""The voxels of one file, as an array: what a derived file is made of."""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..archive.tree import source_errors
from ..bodies.encapsulated import EncapsulatedReading, is_truncated
from ..bodies.protocol import Planes
from ..dtypes import Integers
from ..errors import DamagedError, UnsupportedError
from ..formats.protocol import Image, NotCoded
from ..formats.registry import DETACHED, read_image
from ..reading.samples import samples_of
from ..streams.protocol import NotReproducible

_GZIP = b"\x1f\x8b\x08"


@contextmanager
def inflated(path: Path) -> Iterator[tuple[Path, bool]]:
    """Yield the path of a file, or of what it inflates to if gzip compressed it as a whole, and whether it did."""
    with source_errors(path), path.open("rb") as file:
        if file.read(len(_GZIP)) != _GZIP:
            yield path, False
            return
        file.seek(0)
        with tempfile.TemporaryDirectory() as folder:
            plain = Path(folder, path.with_suffix("").name)
            try:
                with gzip.open(file) as members, plain.open("wb") as out:
                    shutil.copyfileobj(members, out, 1 << 20)
            except (EOFError, zlib.error, gzip.BadGzipFile):
                raise UnsupportedError(f"{path} cannot be read: its gzip stream is damaged") from None
            yield plain, True


def image_of(path: Path, name: str) -> Image | None:
    """Return the image in a file; None where it has none that volcomp codes."""
    try:
        return read_image(path, name)
    except NotCoded:
        return None


def headers_of(image: Image) -> list[Path]:
    """Return the files beside that of an image which may be its header; none where it has its own."""
    with source_errors(image.path):
        names = [path.name for path in image.path.parent.iterdir()] if image.format in DETACHED else []
    return [
        image.path.with_name(header)
        for one in DETACHED if one is image.format
        for header in one.headers(image.path.name, names) if header in names
    ]  # fmt: skip


def voxels_of(image: Image) -> Integers | None:
    """Read the voxels of an image: [z, Y, X], or [z, Y, X, components].

    None where they are not integers of up to 16 bits, where its words hold more than a picture, or where other decoders
    may read others. Raises SourceError where the file cannot be read.
    """
    words = np.dtype(f"<{'i' if image.signed else 'u'}{image.bits // 8}")
    with source_errors(image.path), image.path.open("rb") as file:
        if image.reading is None:
            file.seek(image.start)
            kind = words.newbyteorder(">" if image.big_endian else "<")
            found = np.frombuffer(file.read(image.pixel_bytes), kind).astype(words)
            return _of_picture(found.reshape(image.frames, image.rows, image.columns), image)
        try:
            blocks: list[Planes] = list(image.reading.read(file))
            if isinstance(image.reading, EncapsulatedReading) and is_truncated(image.reading.kept.side):
                return None
            samples = samples_of(image.reading.number, image.reading.kept.side, 0, words)
            planes = [np.concatenate(plane) for plane in zip(*blocks, strict=True)]
            found = samples.join(planes, 0)
        except (NotReproducible, DamagedError, UnsupportedError):
            return None
    if samples.picture_alone and any(plane.any() for plane in planes[1::2]):
        return None
    return _of_picture(found, image) if found.dtype.kind in "ui" and found.dtype.itemsize <= 2 else None


def _of_picture(found: Integers, image: Image) -> Integers | None:
    """Return words with the sign that the header states; None where bits above the picture hold something else."""
    unsigned, signed = (np.dtype(found.dtype.str.replace("iu"["ui".index(kind)], kind)) for kind in "ui")
    words = found.view(signed if image.signed else unsigned)
    shift = 8 * words.itemsize - image.stored
    if not image.stored or shift <= 0:
        return words
    picture = words << shift >> shift  # extends the sign
    return picture if np.array_equal(picture, words) or not (found.view(unsigned) >> image.stored).any() else None
