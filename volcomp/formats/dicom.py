"""DICOM files: where the pixels lie, which volume they belong to, and how the bytes before them are cut.

pydicom only parses. Nothing is written from its results, so what it makes of a file cannot change the restored bytes.
"""

from __future__ import annotations

import logging
import struct
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import pydicom
from pydicom.filereader import data_element_generator
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from .protocol import Cut, Description, Format, Image
from .series import along_normal

_TRANSFER_SYNTAX, _PIXEL_DATA = 0x00020010, 0x7FE00010
_NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
_SAME_POSITION = 0.005  # mm along the normal; a smaller difference is rounding
_UNDEFINED = 0xFFFFFFFF
# Needed for ordering, for grouping and for the check for native greyscale. All other elements are skipped unread.
_TAGS = [
    "SeriesInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "BitsAllocated",
    "PixelRepresentation",
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
    """DICOM with native greyscale pixels, with or without a preamble."""

    def sniff(self, head: bytes) -> bool:
        """Accept a preamble, or an element of group 2 or 8 at the very beginning, in either byte order."""
        return head[128:132] == b"DICM" or head[:2] in (b"\x02\0", b"\x08\0", b"\0\x08")

    def read(self, path: Path, name: str, file: BinaryIO) -> Image | None:
        """Return the image; None unless its pixels are native, of one sample, and of 8 or 16 bits."""
        with _quiet():
            try:
                return _parse(path, name, file)
            except OSError:
                raise
            except Exception:  # pydicom answers broken files with almost any exception; they are kept whole
                return None

    def cut(self, before: bytes) -> list[Cut]:
        """Cut the bytes before the pixels into data elements, as far as they can be read.

        The last element is that of the pixels, without its value. Where the tags do not increase strictly, or the bytes
        make no sense, the last element lasts to the end.
        """
        found: list[Cut] = []
        file = BytesIO(before)
        with _quiet():
            try:
                syntax = None
                for element, start in _meta_elements(file):
                    found.append(Cut(int(element.tag), start, _value_start(element, start)))
                    syntax = _syntax(element) or syntax
                start = file.tell()
                vr = before[start + 4 : start + 6]
                implicit = syntax == ImplicitVRLittleEndian or not (syntax or (vr.isalpha() and vr.isupper()))
                for element in data_element_generator(file, implicit, syntax != ExplicitVRBigEndian, defer_size=64):
                    if found and int(element.tag) <= found[-1].tag:
                        break
                    found.append(Cut(int(element.tag), start, _value_start(element, start)))
                    start = file.tell()
            except Exception:  # see `read`; the elements found so far are still a way to cut the bytes
                pass
        return found

    def describe(self, headers: Sequence[bytes]) -> Description:
        """Describe a volume by its headers.

        Spacing along z is the distance to the first image whose position differs from that of the first one: images of
        several times or kinds, and copies, share a position.
        """
        with _quiet():
            try:
                tags = [*_TAGS, "Modality", "SeriesDescription", "PixelSpacing"]
                datasets = (pydicom.dcmread(BytesIO(header), force=True, specific_tags=tags) for header in headers)
                first = next(datasets)
                spacing = _numbers(first, "PixelSpacing", 2) or (None, None)
                begin, orientation = _position(first), _orientation(first)
                gap = None
                if begin and orientation:
                    for position in filter(None, map(_position, datasets)):
                        gap = round(abs(along_normal(orientation, position) - along_normal(orientation, begin)), 4)
                        if gap >= _SAME_POSITION:
                            break
                        gap = None
                return Description(
                    str(first.get("SeriesInstanceUID", "")),
                    str(first.get("Modality", "")),
                    str(first.get("SeriesDescription", "")),
                    (gap, *spacing),
                )
            except Exception:  # see `read`
                return Description()


DICOM = Dicom()


def _meta_elements(file: BinaryIO) -> Iterator[tuple[Any, int]]:
    """Yield the elements of group 2 and where each starts; leave the file where they end."""
    start = 132 if file.read(132)[128:] == b"DICM" else 0
    file.seek(start)
    for element in data_element_generator(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2):
        yield element, start
        start = file.tell()


def _syntax(element: Any) -> str | None:
    """Return the transfer syntax, if this element names it."""
    return bytes(element.value or b"").rstrip(b"\0 ").decode("ascii") if element.tag == _TRANSFER_SYNTAX else None


def _value_start(element: Any, start: int) -> int:
    """Return where an element's value begins; pydicom has another attribute for it in sequences."""
    return int(getattr(element, "value_tell", None) or getattr(element, "file_tell", None) or start)


def _parse(path: Path, name: str, file: BinaryIO) -> Image | None:
    syntax = next(filter(None, (_syntax(element) for element, _ in _meta_elements(file))), None)
    if syntax is not None and syntax not in _NATIVE:
        return None  # here, because pydicom would inflate a deflated file to any size
    file.seek(0)
    dataset = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=list(_TAGS))
    implicit, little_endian = dataset.original_encoding
    photometric = str(dataset.get("PhotometricInterpretation", "")).strip()
    if int(dataset.get("SamplesPerPixel", 1)) != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return None
    rows, columns, bits = int(dataset.Rows), int(dataset.Columns), int(dataset.BitsAllocated)
    frames = int(dataset.get("NumberOfFrames", None) or 1)
    if min(rows, columns, frames) < 1 or bits not in (8, 16):
        return None
    length = _pixel_length(file, bool(implicit), bool(little_endian))  # the file is positioned where dcmread stopped
    start = file.tell()
    size = file.seek(0, 2)
    image = Image(
        format=DICOM,
        path=path,
        name=name,
        size=size,
        start=start,
        rows=rows,
        columns=columns,
        frames=frames,
        bits=bits,
        signed=int(dataset.get("PixelRepresentation", 0)) == 1,
        big_endian=not little_endian,
        series=str(dataset.get("SeriesInstanceUID", "")),
        position=_position(dataset),
        orientation=_orientation(dataset),
        kind=_kind(dataset),
        order=_order(dataset),
    )
    return image if image.pixel_bytes <= min(length, size - start) else None


def _pixel_length(file: BinaryIO, implicit: bool, little_endian: bool) -> int:
    """Read the head of the pixel element; return the length of its value, or 0 if it is no native (7FE0,0010)."""
    endian = "<" if little_endian else ">"
    head = file.read(8)
    if len(head) < 8:
        return 0
    group, element, length = struct.unpack(endian + "HHI", head)
    if not implicit:
        if head[4:6] in (b"OW", b"OB", b"UN", b"OV"):
            length = struct.unpack(endian + "I", file.read(4))[0]
        else:
            length = struct.unpack(endian + "H", head[6:])[0]
    return length if (group << 16 | element) == _PIXEL_DATA and length != _UNDEFINED else 0


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
def _quiet() -> Iterator[None]:
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
