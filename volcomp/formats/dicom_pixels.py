"""The pixels of a DICOM file: which body codec reads them, whatever else its header gets wrong.

What counts is whether the bytes fit the stated shape. A wrong guess costs size alone, since the file is tried.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

import numpy as np
import pydicom
from pydicom.uid import UID

from ..bodies.encapsulated import EncapsulatedReading, Pixels
from ..bodies.planes import Kind, Map
from ..bodies.protocol import Reading
from ..bodies.samples import MOST_MISSING, Order, SamplesReading
from .protocol import NotCoded

_FLOAT, _DOUBLE, _PIXEL_DATA = 0x7FE00008, 0x7FE00009, 0x7FE00010
PIXEL_TAGS = (_FLOAT, _DOUBLE, _PIXEL_DATA)
_UNDEFINED = 0xFFFFFFFF
_LONG = (b"OW", b"OB", b"UN", b"OV", b"OF", b"OD")  # value representations with a length of 32 bits
_MOST_COMPONENTS = 4
# The stream codec of a transfer syntax, below 1.2.840.10008.1.2. The trial of each stream decides.
_STREAMS = {
    "1.98": 0,
    "4.57": 1,
    "4.70": 1,
    "5": 2,
    "4.80": 3,
    "4.81": 3,
    "8.1": 4,
    "4.90": 6,
    "4.91": 6,
    "4.201": 7,
    "4.202": 7,
    "4.203": 7,
}
_ROOT = "1.2.840.10008.1.2."


class Element(NamedTuple):
    """The element that holds the pixels."""

    tag: int
    vr: bytes  # b"" where it is implicit
    start: int  # of the value in the file, bytes
    length: int  # of the value; _UNDEFINED of encapsulated pixels


class Found(NamedTuple):
    """The pixels of a file, as `Image` has them."""

    rows: int
    columns: int
    frames: int
    bits: int
    stored: int
    signed: bool
    reading: Reading | None


def pixel_element(file: BinaryIO, implicit: bool, big_endian: bool) -> Element:
    """Read the head of the element at which the file is positioned. Raises NotCoded where it holds no pixels."""
    endian = ">" if big_endian else "<"
    head = file.read(8)
    if len(head) < 8:
        raise NotCoded("it has no pixels")
    group, element, length = struct.unpack(endian + "HHI", head)
    vr = b"" if implicit else head[4:6]
    if not implicit:
        if vr in _LONG:
            length = int.from_bytes(file.read(4), "big" if big_endian else "little")
        else:
            length = struct.unpack(endian + "H", head[6:])[0]
    return Element(group << 16 | element, vr, file.tell(), length)


def pixels_of(dataset: pydicom.Dataset, syntax: str | None, element: Element, big_endian: bool, size: int) -> Found:
    """Return how the pixels are read.

    Parameters:
        dataset: the elements before the pixels.
        syntax: the transfer syntax, if the file has one.
        element: that of the pixels.
        big_endian: of the data set.
        size: of the file, bytes.

    Raises:
        NotCoded: where they cannot be coded.
    """
    if element.tag != _PIXEL_DATA:
        raise NotCoded("its pixels are floating-point numbers" if element.tag in PIXEL_TAGS else "it has no pixels")
    rows, columns = int(dataset.get("Rows", 0) or 0), int(dataset.get("Columns", 0) or 0)
    frames, components = int(dataset.get("NumberOfFrames", 0) or 1), int(dataset.get("SamplesPerPixel", 0) or 1)
    bits = int(dataset.get("BitsAllocated", 0) or 0)
    signed = int(dataset.get("PixelRepresentation", 0) or 0) == 1
    stored = int(dataset.get("BitsStored", 0) or 0)
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip().upper()
    if min(rows, columns, frames) < 1 or not 1 <= components <= _MOST_COMPONENTS:
        raise NotCoded("its header states no image")
    if bits not in (8, 16, 32):
        raise NotCoded(f"it has {bits} bits allocated for a sample")
    if element.length == _UNDEFINED:
        number = _STREAMS.get((syntax or "").removeprefix(_ROOT))
        if number is None or not _is_known(number):
            raise NotCoded(f"no codec makes its transfer syntax again: {UID(syntax or '').name or 'none is stated'}")
        if bits == 32:
            raise NotCoded("it has 32 bits allocated for a compressed sample")
        colour = components == 3 and photometric == "RGB"
        pixels = Pixels(number, rows, columns, frames, components, bits, stored or bits, signed, colour)
        return Found(rows, columns, frames, bits, 0, signed, EncapsulatedReading(pixels, element.start))
    if photometric == "YBR_FULL_422" and components == 3 and bits == 8 and columns % 2 == 0:
        columns, components = columns // 2, 4  # two luminances and their common chrominances are four planes
    return _native(
        element,
        size,
        rows,
        columns,
        frames,
        components,
        bits,
        stored,
        signed,
        big_endian,
        {
            "planar": int(dataset.get("PlanarConfiguration", 0) or 0) == 1 and components > 1,
            "colour": components == 3 and photometric == "RGB",
        },
    )


def _native(
    element: Element, size: int, rows: int, columns: int, frames: int, components: int, bits: int, stored: int,
    signed: bool, big_endian: bool, kind: dict[str, bool],
) -> Found:  # fmt: skip
    frame_bytes = rows * columns * components * bits // 8
    there = min(element.length, size - element.start)
    if there % frame_bytes == 0 and there and components == 1:
        frames = max(frames, there // frame_bytes) if frames == 1 else frames
    frames = min(frames, max(1, -(-there // frame_bytes)))
    missing = max(0, frames * frame_bytes - there)
    if missing and (frames > 1 or missing > min(MOST_MISSING, frame_bytes // 2)):
        frames, missing = frames - 1, 0
    if not frames:
        raise NotCoded("it has fewer pixels than its header states")
    pairs = bits == 8 and big_endian and element.vr == b"OW"
    if pairs and (frames * frame_bytes) % 2:
        raise NotCoded("its bytes are swapped in pairs, and their number is odd")
    reading: Reading | None = None
    if components > 1 or bits == 32 or missing or pairs:
        samples = Map(
            Kind.HALVES if bits == 32 else Kind.COLOUR if kind["colour"] else Kind.SAME,
            np.dtype(f"{'i' if signed else 'u'}{bits // 8}").newbyteorder("<"),
            components,
        )
        order = Order(samples, kind["planar"], big_endian and bits > 8, pairs, missing)
        reading = SamplesReading(order, start=element.start, rows=rows, columns=columns, frames=frames)
    stored = stored if 0 < stored < bits and not reading else 0
    return Found(rows, columns, frames, reading.bits if reading else bits, stored, signed, reading)


def _is_known(number: int) -> bool:
    from ..streams.registry import BY_NUMBER  # numba is imported when there is a stream to decode

    return number == 0 or number in BY_NUMBER
