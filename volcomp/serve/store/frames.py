"""Frames as they are stored: the bytes of native ones, the fragments of encapsulated ones joined (PS3.5, A.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian

from ...bodies.encapsulated import read_items
from ...errors import DamagedError, MissingError, UnsupportedError
from ...formats.protocol import NotCoded
from ...streams.protocol import NotReproducible
from .attributes import first, number
from .header import Header
from .protocol import Json

_BEGINNINGS = (b"\xff\xd8", b"\xff\x4f\xff\x51")  # of a frame in the kinds of JPEG, that is not continued
_OFFSETS = "7FE00001"  # Extended Offset Table


@dataclass(frozen=True)
class Shape:
    """What attributes state of the pixels; what is missing gets the value that most files have."""

    rows: int
    columns: int
    frames: int
    components: int
    bits: int  # allocated
    stored: int
    signed: bool
    planar: bool
    photometric: str

    @classmethod
    def of(cls, found: Json) -> Shape:
        """Read it from an object of the JSON model."""

        def one(tag: str, missing: int = 0) -> int:
            return max(0, number(found, tag) or missing)

        bits = 32 if "7FE00008" in found else 64 if "7FE00009" in found else one("00280100", 8)
        return cls(
            one("00280010"), one("00280011"), max(1, one("00280008", 1)), max(1, one("00280002", 1)), bits,
            one("00280101") or bits, one("00280103") == 1, one("00280006") == 1,
            first(found, "00280004").strip().upper(),
        )  # fmt: skip

    @property
    def frame_bits(self) -> int:
        """Return the bits of a native frame."""
        samples = self.rows * self.columns * self.components
        if self.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422") and self.components == 3:
            samples = samples // 3 * 2
        return samples * self.bits


def syntax_of_frames(syntax: str, *, deflated: bool) -> str:
    """Return the transfer syntax that frames are in: those of a deflated data set are native."""
    return str(ExplicitVRLittleEndian) if deflated else syntax


def frames_of(header: Header, shape: Shape, numbers: list[int]) -> list[bytes]:
    """Return frames of a file, numbered from 1.

    Raises MissingError for what there is not, UnsupportedError where nothing says where frames begin, and DamagedError
    where the file is cut.
    """
    if header.pixels is None:
        raise MissingError("the instance has no pixels, and so no frames")
    check_numbers(shape, numbers)
    if header.is_encapsulated:
        places = _fragments(header, shape)
        return [b"".join(_read(header.file, *place) for place in places[n - 1]) for n in numbers]
    return [_native(header, shape, n - 1) for n in numbers]


def check_numbers(shape: Shape, numbers: list[int]) -> None:
    """Raise MissingError for numbers of frames that there are not."""
    for n in numbers:
        if not 1 <= n <= shape.frames:
            raise MissingError(f"there is no frame {n}: the instance has frames 1 to {shape.frames}")


def _native(header: Header, shape: Shape, k: int) -> bytes:
    """Return native frame k, from 0; one that begins within a byte is moved to its beginning."""
    assert header.pixels is not None
    begin, end = k * shape.frame_bits, (k + 1) * shape.frame_bits
    at, stop = begin // 8, -(-end // 8)
    if stop > header.pixels.length:
        raise DamagedError("its pixels are fewer than its header states")
    data = _read(header.file, header.pixels.start + at, stop - at)
    if begin % 8 == 0 and end % 8 == 0:
        return data
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[begin - 8 * at :][: shape.frame_bits]
    return np.packbits(bits, bitorder="little").tobytes()


def _fragments(header: Header, shape: Shape) -> list[list[tuple[int, int]]]:
    """Return the places (offset, bytes) of the fragments of every frame."""
    assert header.pixels is not None
    try:
        places, _ = read_items(header.file, header.pixels.start)
    except (NotReproducible, NotCoded) as error:
        raise UnsupportedError(f"its frames cannot be told apart: {error}") from None
    table, fragments = places[:1], places[1:]
    if not fragments:
        raise DamagedError("its pixels have no fragments")
    if shape.frames == 1:
        return [fragments]
    if len(fragments) == shape.frames:
        return [[place] for place in fragments]
    base = fragments[0][0] - 8  # offsets count from the first item after the table
    for begins in (_extended(header), _basic(header, table)):
        if len(begins) == shape.frames and (found := _split(fragments, [base + int(n) for n in begins])):
            return found
    begins = [
        place[0] - 8 for place in fragments if _read(header.file, place[0], min(4, place[1])).startswith(_BEGINNINGS)
    ]
    if len(begins) == shape.frames and (found := _split(fragments, begins)):
        return found
    raise UnsupportedError("nothing says which of its fragments make a frame; fetch the whole instance")


def _extended(header: Header) -> list[int]:
    element = header.dataset.get_item(int(_OFFSETS, 16))
    value = element.value if element is not None else b""
    return np.frombuffer(value, "<u8").tolist() if isinstance(value, bytes) and len(value) % 8 == 0 else []


def _basic(header: Header, table: list[tuple[int, int]]) -> list[int]:
    value = _read(header.file, *table[0])
    return np.frombuffer(value, "<u4").tolist() if len(value) % 4 == 0 else []


def _split(fragments: list[tuple[int, int]], begins: list[int]) -> list[list[tuple[int, int]]]:
    """Return the fragments of frames that begin at these items; nothing where they do not fit."""
    found: list[list[tuple[int, int]]] = []
    for place in fragments:
        if len(found) < len(begins) and place[0] - 8 == begins[len(found)]:
            found.append([])
        if not found:
            return []
        found[-1].append(place)
    return found if len(found) == len(begins) else []


def _read(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    data = file.read(count)
    if len(data) != count:
        raise DamagedError("the file is cut short")
    return data
