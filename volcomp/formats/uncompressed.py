"""Files of uncompressed numbers in one run, whatever their header: what is common to all formats of whole volumes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..bodies.cost import is_repetitive
from ..bodies.keys import TYPES
from ..bodies.number_choice import reading_for
from ..bodies.numbers import Place, Words
from ..bodies.planes import Kind, Map
from ..bodies.protocol import Reading
from ..bodies.samples import Order, SamplesReading
from .protocol import Format, Image, NotCoded

MOST_AROUND = 28 << 20  # bytes before and after the voxels: an archive keeps no more
# A slice costs milliseconds, however small it is: a header that states one pixel makes millions of them of any file.
_TINY_PIXELS, _MOST_TINY = 1 << 10, 1 << 10
_FEWEST_PIXELS = 32  # of one of several frames: in a smaller one there is nothing to predict from
_MOST_PIXELS = 1 << 27  # of a frame, as of a slice of any volume
_MOST_FRAME = 1 << 28  # bytes; several times as many are held
_SAMPLE_WORDS = 1 << 18  # in the middle of a file, or one frame
_MOST_PLANES = 4  # components that become planes of their own


@dataclass(frozen=True)
class Stated:
    """What a header states about the numbers in a file."""

    start: int  # of the first one, bytes
    type: np.dtype[Any]  # boolean, integer, floating-point or complex, in the byte order of the file
    shape: tuple[int, ...]  # voxels along each axis, that whose neighbours are next to each other first
    components: int = 1  # numbers of a voxel, side by side
    colour: bool = False  # components are red, green, blue
    spatial: int = 3  # how many axes are in space, the first ones
    gaps: tuple[tuple[int, int], ...] = ()  # between them: how many bytes of numbers precede each, and its length
    series: str = ""  # of the image; its name where this is empty
    order: tuple[float, ...] = field(default=())  # of the image in its series


def image_of(file_format: Format, path: Path, name: str, file: BinaryIO, stated: Stated) -> Image:
    """Return the image of a file. Raises NotCoded where the file contradicts its header, or is no image."""
    if not stated.shape or min(stated.shape) < 1 or stated.components < 1:
        raise NotCoded("its header states no voxels")
    if stated.start < 0:
        raise NotCoded("its header states voxels before the file begins")
    size = file.seek(0, 2)
    length = math.prod(stated.shape) * stated.components * stated.type.itemsize
    if stated.start + length + sum(gap for _, gap in stated.gaps) > size:
        raise NotCoded("it is shorter than its header says")
    if size - length > MOST_AROUND:
        raise NotCoded("it has too many bytes around its voxels")
    columns, rows, frames, times = _frames(stated.shape, stated.spatial)
    if rows * columns > _MOST_PIXELS or length // frames > _MOST_FRAME:
        raise NotCoded("a frame of it is too large")
    reading = _reading(file, stated, rows, columns, frames)
    return Image(
        format=file_format,
        path=path,
        name=name,
        size=size,
        start=stated.start,
        rows=rows,
        columns=columns,
        frames=frames,
        times=times,
        bits=reading.bits if reading else 8 * stated.type.itemsize,
        signed=stated.type.kind == "i",
        big_endian=_is_big_endian(stated.type),
        reading=reading,
        series=stated.series or name,
        order=stated.order,
    )


def _reading(file: BinaryIO, stated: Stated, rows: int, columns: int, frames: int) -> Reading | None:
    """Return how numbers are read that are not words of one plane."""
    kind, components = stated.type, stated.components
    if kind.kind == "c":
        kind, components = np.dtype(f"{kind.str[0]}f{kind.itemsize // 2}"), 2 * components
    if kind.kind == "b":
        kind = np.dtype("u1")
    native = kind.newbyteorder("<")
    if native not in TYPES:
        raise NotCoded(f"its numbers are of the type {stated.type.name}")
    if kind.kind in "ui" and kind.itemsize <= 2 and components <= _MOST_PLANES and not stated.gaps:
        if components == 1:
            _check_words(file, stated.start, kind, (frames, rows, columns))
            return None
        samples = Map(Kind.COLOUR if stated.colour and components == 3 else Kind.SAME, native, components)
        order = Order(samples, big_endian=_is_big_endian(kind))
        return SamplesReading(order, start=stated.start, rows=rows, columns=columns, frames=frames)
    words, place = (
        Words(native, components, _is_big_endian(kind)),
        Place(stated.start, rows, columns, frames, stated.gaps),
    )
    reading = reading_for(file, words, place, alike=bool(stated.series))
    if reading is None:
        raise NotCoded("a general codec makes its numbers smaller")
    return reading


def _check_words(file: BinaryIO, start: int, kind: np.dtype[Any], shape: tuple[int, int, int]) -> None:
    """Raise NotCoded where a general codec makes words smaller, by the frames in the middle."""
    frames, rows, columns = shape
    count = min(frames, max(1, _SAMPLE_WORDS // (rows * columns)))
    if frames == 1:
        return  # it may become a slice among others
    file.seek(start + (frames - count) // 2 * rows * columns * kind.itemsize)
    raw = file.read(count * rows * columns * kind.itemsize)
    if len(raw) == count * rows * columns * kind.itemsize:
        words = np.frombuffer(raw, kind.str.replace("i", "u")).reshape(count, rows, columns)
        if is_repetitive(words.astype(words.dtype.newbyteorder("<"), copy=False)):
            raise NotCoded("a general codec makes its numbers smaller")


def _is_big_endian(kind: np.dtype[Any]) -> bool:
    return kind.newbyteorder("<") != kind


def _frames(shape: tuple[int, ...], spatial: int) -> tuple[int, int, int, int]:
    """Return columns, rows, frames, and time points. Raises NotCoded where there are no frames worth the name."""
    axes = [(n, number < spatial) for number, n in enumerate(shape) if n > 1]
    if len(axes) < 2:
        raise NotCoded("it is no image: its numbers lie along one axis")
    (columns, _), (rows, _), *others = axes
    frames = math.prod(n for n, _ in others)
    if frames > _MOST_TINY and rows * columns < _TINY_PIXELS:
        raise NotCoded(f"it has more than {_MOST_TINY} frames, each of fewer than {_TINY_PIXELS} pixels")
    if frames > 1 and rows * columns < _FEWEST_PIXELS:
        raise NotCoded(f"its frames have fewer than {_FEWEST_PIXELS} pixels")
    return columns, rows, frames, math.prod(n for n, in_space in others if not in_space)
