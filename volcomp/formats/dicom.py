"""DICOM files: where the pixels lie, which volume they belong to, and how the bytes before them are cut.

pydicom only parses. Nothing is written from its results, so what it makes of a file cannot change the restored bytes.
"""

from __future__ import annotations

import logging
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.filereader import data_element_generator, read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from ..bodies.deflated import LIMIT, DeflatedReading
from ..bodies.samples import SamplesReading
from .dicom_pixels import PIXEL_TAGS, Stated, pixel_element, pixels_of
from .protocol import Cut, Description, Format, Image, NotCoded

_TRANSFER_SYNTAX = 0x00020010
_NO_TAG = 0xFFFFFFFF  # tags of cuts are below it
_MOST_AROUND = 32 << 20  # bytes of a data set that is deflated, beside its pixels: an archive keeps no more
_FRAMES = "PerFrameFunctionalGroupsSequence"
# Needed for ordering, for grouping and to read the pixels. All other elements are skipped unread.
_TAGS = [
    "SeriesInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "PlanarConfiguration",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "ImageType",
    "ConvolutionKernel",
    "EchoNumbers",
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "TriggerTime",
    "DiffusionBValue",
    "InstanceNumber",
]


class Dicom(Format):
    """DICOM, with or without a preamble, native or compressed."""

    def sniff(self, head: bytes) -> bool:
        """Accept a preamble, or an element of group 2 or 8 at the very beginning, in either byte order."""
        return data_start(head) > 0 or head[:2] in (b"\x02\0", b"\x08\0", b"\0\x08")

    def read(self, path: Path, name: str, file: BinaryIO) -> Image:
        """Return the image, whatever its header looks like, as long as its pixels fit what it states."""
        with quiet():
            try:
                return _parse(path, name, file)
            except NotCoded:
                raise
            except Exception as error:  # pydicom answers broken files with almost any exception
                if isinstance(error, OSError) and error.errno is not None:  # of the system, not one that pydicom made
                    raise
                raise NotCoded("its header cannot be read") from error

    def cut(self, before: bytes) -> list[Cut]:
        """Cut the bytes before the pixels into data elements, as far as they can be read.

        The last element is that of the pixels, without its value. Where the tags do not increase strictly, or the bytes
        make no sense, the last element lasts to the end.
        """
        found: list[Cut] = []
        with quiet():
            try:
                for element, start in _elements(before):
                    tag, value = int(element.tag), _value_start(element, start)
                    last = found[-1] if found else Cut(-1, -1, 0)
                    # Also of group 2: an element that comes twice would take the cell of the first one.
                    if not (last.tag < tag < _NO_TAG and last.value <= start <= value <= len(before)):
                        break
                    found.append(Cut(tag, start, value))
            except Exception:  # see `read`; the elements found so far are still a way to cut the bytes
                pass
        return found

    def describe(self, headers: Sequence[bytes]) -> Description:
        """Describe a volume by its first header: all but the spacing, which is that of `frames` and `geometry`."""
        with quiet():
            try:
                first = _described(headers[0])
                return Description(
                    str(first.get("SeriesInstanceUID", "")),
                    str(first.get("Modality", "")),
                    str(first.get("SeriesDescription", "")),
                )
            except Exception:  # see `read`
                return Description()


DICOM = Dicom()


def data_start(head: bytes) -> int:
    """Return where the elements begin: after a preamble, also one whose DICM is missing, or at once."""
    if head[128:132] == b"DICM" or (not head[128:132].strip(b"\0") and head[132:134] == b"\x02\0"):
        return 132
    return 0


def _elements(before: bytes) -> Iterator[tuple[Any, int]]:
    """Yield the elements of all groups and where each starts."""
    file = BytesIO(before)
    syntax = None
    for element, start in _meta_elements(file):
        yield element, start
        syntax = _syntax(element) or syntax
    start = file.tell()
    implicit, big_endian = _encoding(syntax, before[start : start + 8])
    for element in data_element_generator(file, implicit, not big_endian, defer_size=64):
        yield element, start
        start = file.tell()


def _meta_elements(file: BinaryIO) -> Iterator[tuple[Any, int]]:
    """Yield the elements of group 2 and where each starts; leave the file where they end."""
    start = data_start(file.read(134))
    file.seek(start)
    for element in data_element_generator(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2):
        yield element, start
        start = file.tell()
    file.seek(start)


def _syntax(element: Any) -> str | None:
    """Return the transfer syntax, if this element names it."""
    return bytes(element.value or b"").rstrip(b"\0 ").decode("ascii") if element.tag == _TRANSFER_SYNTAX else None


def _encoding(syntax: str | None, head: bytes) -> tuple[bool, bool]:
    """Return whether elements are implicit and big-endian: what their first bytes show counts more than the syntax."""
    vr = head[4:6]
    big_endian = syntax == ExplicitVRBigEndian or (syntax is None and head[:1] == b"\0" and head[1:2] != b"\0")
    return not (vr.isalpha() and vr.isupper()), big_endian


def _value_start(element: Any, start: int) -> int:
    """Return where an element's value begins; pydicom has another attribute for it in sequences."""
    return int(getattr(element, "value_tell", None) or getattr(element, "file_tell", None) or start)


def _parse(path: Path, name: str, file: BinaryIO) -> Image:
    meta, syntax = _meta(file)
    deflated = syntax == DeflatedExplicitVRLittleEndian
    if deflated:
        file.seek(0)
        file = _inflated(file.read(), meta)
    dataset, implicit, big_endian = _dataset(file, meta, syntax)
    element = pixel_element(file, implicit, big_endian)  # the file is positioned where the data set stopped
    size = file.seek(0, 2)
    pixels = pixels_of(Stated.of(dataset), syntax, element, big_endian, file, plain=not deflated)
    reading = pixels.reading
    if deflated:
        if not isinstance(reading, SamplesReading):
            raise NotCoded("its data set is deflated, and its pixels are compressed")
        if size - pixels.pixel_bytes > _MOST_AROUND:  # a small file may inflate to a thousand times its size
            raise NotCoded("its data set inflates to far more than its pixels")
        reading = DeflatedReading(reading, meta)
    return Image(
        format=DICOM,
        path=path,
        name=name,
        size=path.stat().st_size if deflated else size,
        start=element.start,
        rows=pixels.rows,
        columns=pixels.columns,
        frames=pixels.frames,
        bits=pixels.bits,
        stored=pixels.stored,
        signed=pixels.signed,
        big_endian=big_endian,
        reading=reading,
        times=_times(_dataset(file, meta, syntax, [_FRAMES])[0], pixels.frames) if pixels.frames > 1 else 1,
        series=str(dataset.get("SeriesInstanceUID", "")),
        position=_position(dataset),
        orientation=_orientation(dataset),
        kind=_kind(dataset),
        order=_order(dataset),
    )


def _times(dataset: pydicom.Dataset, frames: int) -> int:
    """Return the number of time points of an enhanced image (PS3.3, C.7.6.16), whose frames are at the same positions
    again and again; 1 where they are not."""
    groups = dataset.get(_FRAMES) or []
    if len(groups) != frames:
        return 1
    positions = [_position(group.get("PlanePositionSequence", [group])[0]) for group in groups]
    count = len(set(positions))
    if None in positions or frames % count or any(one != positions[i % count] for i, one in enumerate(positions)):
        return 1
    return frames // count


def _described(header: bytes) -> pydicom.Dataset:
    file = BytesIO(header)
    return _dataset(file, *_meta(file), ["SpecificCharacterSet", "Modality", "SeriesDescription"])[0]


def _inflated(data: bytes, start: int) -> BytesIO:
    """Return a file as if its data set were not deflated. Raises NotCoded."""
    machine = zlib.decompressobj(-15)
    raw = machine.decompress(data[start:], LIMIT)
    if not machine.eof:
        raise NotCoded("its data set inflates to more than 256 MiB, or not at all")
    return BytesIO(data[:start] + raw)


def _meta(file: BinaryIO) -> tuple[int, str | None]:
    """Return where group 2 ends, and the transfer syntax that it names; leave the file there."""
    elements = list(_meta_elements(file))  # all of them: the file is then positioned behind them
    return file.tell(), next((found for element, _ in elements if (found := _syntax(element))), None)


def _dataset(
    file: BinaryIO, start: int, syntax: str | None, more: Sequence[str] = ()
) -> tuple[pydicom.Dataset, bool, bool]:
    """Read the elements before the pixels from `start` on; return these, and whether they are implicit, big-endian."""
    file.seek(start)
    implicit, big_endian = _encoding(syntax, file.read(8))
    file.seek(start)
    tags: list[BaseTag | int] = [Tag(name) for name in [*_TAGS, *more]]
    return (
        read_dataset(file, implicit, not big_endian, stop_when=_is_pixels, specific_tags=tags),
        implicit,
        big_endian,
    )


def _is_pixels(tag: Any, vr: str | None, length: int) -> bool:
    return int(tag) in PIXEL_TAGS


def _numbers(dataset: pydicom.Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """Return the `count` numbers of an element, or None unless it has just these, all finite."""
    try:
        values = dataset.get(name)
        numbers = tuple(float(v) for v in ([values] if count == 1 else values))
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == count and all(abs(v) < 1e9 for v in numbers) else None


def _position(dataset: pydicom.Dataset) -> tuple[float, float, float] | None:
    numbers = _numbers(dataset, "ImagePositionPatient", 3)
    return (numbers[0], numbers[1], numbers[2]) if numbers else None


def _orientation(dataset: pydicom.Dataset) -> tuple[float, ...] | None:
    return _numbers(dataset, "ImageOrientationPatient", 6)


def _kind(dataset: pydicom.Dataset) -> tuple[str, ...]:
    return tuple(str(dataset.get(name, "")) for name in ("ImageType", "ConvolutionKernel", "EchoNumbers"))


def _order(dataset: pydicom.Dataset) -> tuple[float, ...]:
    names = ("TemporalPositionIdentifier", "DiffusionBValue", "AcquisitionNumber", "TriggerTime", "InstanceNumber")
    return tuple((_numbers(dataset, name, 1) or (0.0,))[0] for name in names)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence pydicom, which warns of every oddity of a header. Nothing here depends on these."""
    logger = logging.getLogger("pydicom")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before
