"""The pixels of a DICOM file: which body codec reads them, whatever else its header gets wrong.

What counts is whether the bytes fit the stated shape. A wrong guess costs size alone, since the file is tried.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import BinaryIO, NamedTuple

import numpy as np
import pydicom
from pydicom.uid import UID

from ..bodies.bits import BitsReading, Packing
from ..bodies.encapsulated import EncapsulatedReading, Pixels, read_items
from ..bodies.number_choice import reading_for
from ..bodies.numbers import Place, Words
from ..bodies.planes import Kind, Map
from ..bodies.protocol import Reading
from ..bodies.samples import MOST_MISSING, Order, SamplesReading
from .protocol import Extent, NotCoded

_FLOAT, _DOUBLE, _PIXEL_DATA = 0x7FE00008, 0x7FE00009, 0x7FE00010
PIXEL_TAGS = (_FLOAT, _DOUBLE, _PIXEL_DATA)
_UNDEFINED = 0xFFFFFFFF
_LONG = (b"OW", b"OB", b"UN", b"OV", b"OF", b"OD")  # value representations with a length of 32 bits
_MOST_COMPONENTS = 4
# A slice costs milliseconds, however small it is: a header that states one pixel makes millions of them of any file.
_TINY_PIXELS, _MOST_TINY = 1 << 10, 1 << 10
_SHEET_PIXELS = 1 << 16  # at least, of a slice that tiny frames become together; fewer cost more time and bytes
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
_OF_WIDE_SAMPLES, _OF_BYTES = (0, 2), (0, 2, 4)  # streams of samples of 32 bits; of whole bytes
_LOOKED_AT = 1 << 16  # bytes that tell the order of packed samples
_CLEARLY = 0.9  # of the differences by the standard: noise tells nothing
_JPEG = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")  # lossy, Huffman codes
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

    @property
    def pixel_bytes(self) -> int:
        """Return the bytes of all frames, as words of all planes."""
        planes = self.reading.planes if self.reading else 1
        return self.rows * self.columns * self.frames * planes * self.bits // 8


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


class Stated(NamedTuple):
    """What a header states about its pixels."""

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
    def of(cls, dataset: pydicom.Dataset) -> Stated:
        """Read it from the elements before the pixels; what is missing gets the value that most files have."""

        def number(name: str, missing: int = 0) -> int:
            return int(dataset.get(name, missing) or missing)

        return cls(
            number("Rows"),
            number("Columns"),
            number("NumberOfFrames", 1),
            number("SamplesPerPixel", 1),
            number("BitsAllocated"),
            number("BitsStored"),
            number("PixelRepresentation") == 1,
            number("PlanarConfiguration") == 1,
            str(dataset.get("PhotometricInterpretation", "")).strip().upper(),
        )

    @property
    def frame_bytes(self) -> int:
        """Return the bytes of a native frame."""
        return self.rows * self.columns * self.components * self.bits // 8


def pixels_of(
    stated: Stated, syntax: str | None, element: Element, big_endian: bool, file: BinaryIO, *, plain: bool = True
) -> Found:
    """Return how the pixels are read.

    Parameters:
        stated: what the header states.
        syntax: the transfer syntax, if the file has one.
        element: that of the pixels.
        big_endian: of the data set.
        file: the file.
        plain: whether native words of one plane may do without a body codec.

    Raises:
        NotCoded: where they cannot be coded.
    """
    if element.tag not in PIXEL_TAGS:
        raise NotCoded("it has no pixels")
    if element.tag != _PIXEL_DATA:
        stated = stated._replace(bits=32 if element.tag == _FLOAT else 64, signed=False)
    if min(stated[:4]) < 1 or stated.components > _MOST_COMPONENTS:
        raise NotCoded("its header states no image")
    if not (1 <= stated.bits <= 16 or stated.bits in (32, 64)):
        raise NotCoded(f"it has {stated.bits} bits allocated for a sample")
    if element.length == _UNDEFINED:
        return _not_tiny(_encapsulated(stated, syntax or "", element, file))
    if stated.photometric == "YBR_FULL_422" and stated.components == 3 and stated.bits == 8 and stated.columns % 2 == 0:
        # Two luminances and their common chrominances are four planes.
        stated = stated._replace(columns=stated.columns // 2, components=4, planar=False)
    size = file.seek(0, 2)
    there = min(element.length, size - element.start)
    if stated.bits < 16 and stated.bits != 8:
        container = 8 if stated.bits < 8 else 16
        if there < stated._replace(bits=container).frame_bytes * stated.frames:
            if big_endian and element.vr == b"OW":
                raise NotCoded(f"it has samples of {stated.bits} bits in big-endian words")
            return _not_tiny(_packed(_in_sheets(stated), element, there, file))
        stated = stated._replace(bits=container, stored=stated.stored or stated.bits)  # a sample has bytes of its own
    return _not_tiny(_native(_in_sheets(stated), element, big_endian, there, file if plain else None))


def _in_sheets(stated: Stated) -> Stated:
    """Take many tiny frames, one below the other, for a taller one: the order of their pixels is the same."""
    small = stated.rows * stated.columns < _TINY_PIXELS
    if not small or stated.frames <= _MOST_TINY or (stated.planar and stated.components > 1):
        return stated
    least = -(-_SHEET_PIXELS // (stated.rows * stated.columns))
    frames = next(n for n in range(max(1, stated.frames // least), 0, -1) if stated.frames % n == 0)
    return stated._replace(rows=stated.frames // frames * stated.rows, frames=frames)


def _not_tiny(found: Found) -> Found:
    if found.frames > _MOST_TINY and found.rows * found.columns < _TINY_PIXELS:
        raise NotCoded(f"it has more than {_MOST_TINY} frames, each of fewer than {_TINY_PIXELS} pixels")
    return found


def _encapsulated(stated: Stated, syntax: str, element: Element, file: BinaryIO) -> Found:
    if syntax in _JPEG:
        jpeg = [Extent(*place) for place in read_items(file, element.start)[0][1:]]
        raise NotCoded("its JPEG frames are lossy; JPEG XL packs them where it is installed", jpeg)
    number = stream_of_syntax(syntax)
    if number is None or not _is_known(number):
        raise NotCoded(f"no codec makes its transfer syntax again: {UID(syntax).name or 'none is stated'}")
    if stated.bits > 16 and not (stated.bits == 32 and number in _OF_WIDE_SAMPLES):
        raise NotCoded(f"it has {stated.bits} bits allocated for a compressed sample")
    if stated.bits not in (8, 16, 32):
        if number in _OF_BYTES:
            raise NotCoded(f"it has {stated.bits} bits allocated for a compressed sample")
        stated = stated._replace(bits=8 if stated.bits < 8 else 16, stored=stated.stored or stated.bits)
    colour = stated.components == 3 and stated.photometric == "RGB"
    rows, columns, frames, components, bits, stored, signed, _, _ = stated
    pixels = Pixels(number, rows, columns, frames, components, bits, stored or bits, signed, colour)
    reading = EncapsulatedReading(pixels, element.start)
    return Found(rows, columns, frames, reading.bits, 0, signed, reading)


def _packed(stated: Stated, element: Element, there: int, file: BinaryIO) -> Found:
    """Return how samples are read that are packed end to end in `there` bytes."""
    rows, columns, frames, components, bits = stated[:5]
    of_frame = rows * columns * components * bits
    by_frame = False
    if frames > 1 and of_frame % 8:
        padded = frames * -(-of_frame // 8)
        by_frame = there in (padded, padded + padded % 2) and there * 8 >= frames * of_frame + 16
    if not by_frame:
        frames = min(frames, there * 8 // of_frame)
    if not frames:
        raise NotCoded("it has fewer pixels than its header states")
    packing = Packing(bits, components, stated.planar and components > 1, by_frame=by_frame)
    if not by_frame:
        packing = replace(packing, high_first=_is_high_first(packing, stated, element, frames * of_frame // 8, file))
    reading = BitsReading(packing, start=element.start, rows=rows, columns=columns, frames=frames)
    return Found(rows, columns, frames, reading.bits, 0, False, reading)


def _is_high_first(packing: Packing, stated: Stated, element: Element, there: int, file: BinaryIO) -> bool:
    """Return whether neighbours differ clearly less if the first sample of a byte has its highest bits. The standard
    says that it has the lowest (PS3.5, 8.1.1)."""
    step = packing.bits * stated.components  # bytes; each begins with a whole sample
    file.seek(element.start + there // 2 // step * step)
    data = file.read(min(_LOOKED_AT, there - there // 2) // step * step)
    differences: list[float] = []
    for order in (packing, replace(packing, high_first=True)):
        samples = order.to_words(order.unpack(data)).astype(np.int64)
        distance = 1 if packing.planar else stated.components
        differences.append(float(np.abs(samples[distance:] - samples[:-distance]).sum()))
    return differences[1] < _CLEARLY * differences[0]


def _native(stated: Stated, element: Element, big_endian: bool, there: int, file: BinaryIO | None) -> Found:
    """Return how `there` bytes are read, which may be more or fewer than the header states.

    `file`: where native words may do without a body codec, and numbers may have one of their own.
    """
    frame_bytes, frames = stated.frame_bytes, stated.frames
    if frames == 1 and there % frame_bytes == 0:
        frames = max(1, there // frame_bytes)  # their number is missing
    frames = min(frames, max(1, -(-there // frame_bytes)))
    missing = max(0, frames * frame_bytes - there)
    if missing and (frames > 1 or missing > min(MOST_MISSING, frame_bytes // 2)):
        frames, missing = frames - 1, 0
    if not frames:
        raise NotCoded("it has fewer pixels than its header states")
    pairs = stated.bits == 8 and big_endian and element.vr == b"OW"
    if pairs and (frames * frame_bytes) % 2:
        raise NotCoded("its bytes are swapped in pairs, and their number is odd")
    rows, columns, signed = stated.rows, stated.columns, stated.signed
    if file and stated.components == 1 and stated.bits < 32 and not missing and not pairs:
        stored = stated.stored if 0 < stated.stored < stated.bits else 0
        return Found(rows, columns, frames, stated.bits, stored, signed, None)
    colour = stated.components == 3 and stated.photometric == "RGB"
    planar = stated.planar and stated.components > 1
    # Frames of 32 bits in files of their own are slices of a series, and halves have the same meaning in all of them.
    if (stated.bits == 64 or (stated.bits == 32 and frames > 1)) and file and not planar and not missing:
        return _numbers(stated, element, big_endian, frames, file)
    if stated.bits == 64:
        raise NotCoded("it has 64 bits allocated for a sample, in an order that no codec has")
    if element.tag != _PIXEL_DATA:
        colour = False
    samples = Map(
        Kind.HALVES if stated.bits == 32 else Kind.COLOUR if colour else Kind.SAME,
        np.dtype(f"{'i' if signed else 'u'}{stated.bits // 8}").newbyteorder("<"),
        stated.components,
    )
    order = Order(samples, planar, big_endian and stated.bits > 8, pairs, missing)
    reading = SamplesReading(order, start=element.start, rows=rows, columns=columns, frames=frames)
    return Found(rows, columns, frames, reading.bits, 0, signed, reading)


def _numbers(stated: Stated, element: Element, big_endian: bool, frames: int, file: BinaryIO) -> Found:
    """Return how floating-point numbers and integers of 32 and 64 bits are read."""
    kind = "f" if element.tag != _PIXEL_DATA else "i" if stated.signed else "u"
    words = Words(np.dtype(f"<{kind}{stated.bits // 8}"), stated.components, big_endian)
    place = Place(element.start, stated.rows, stated.columns, frames)
    reading = reading_for(file, words, place, alike=frames == 1)
    if reading is None:
        raise NotCoded("a general codec makes its numbers smaller")
    return Found(stated.rows, stated.columns, frames, reading.bits, 0, False, reading)


def stream_of_syntax(syntax: str) -> int | None:
    """Return the number of the stream codec of a transfer syntax, 0 of frames that are native; None without one."""
    return _STREAMS.get(syntax.removeprefix(_ROOT))


def _is_known(number: int) -> bool:
    from ..streams.registry import BY_NUMBER  # numba is imported when there is a stream to decode

    return number == 0 or number in BY_NUMBER
