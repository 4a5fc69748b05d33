"""Read the header of a DICOM file: its elements, how they are encoded, and where the pixels lie. No pixel is read."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from threading import RLock
from typing import Any, BinaryIO, cast

import pydicom
from pydicom.filereader import read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ...bodies.encapsulated import read_items
from ...errors import UnsupportedError
from ...formats.dicom import data_start, quiet
from ...formats.dicom_pixels import PIXEL_TAGS, Element, pixel_element
from ...formats.protocol import NotCoded

UNDEFINED = 0xFFFFFFFF  # length of encapsulated pixels
_ITEMS = 0xFFFE0000  # tags from which on elements are parts of sequences
_DELIMITER = b"\xfe\xff\xdd\xe0"
_MOST_INFLATED = 1 << 30
_MOST_AFTER = 64 << 20  # bytes of elements after the pixels that are read
_LOCK = RLock()  # of what silences pydicom, which is the process's own state


@dataclass(frozen=True)
class Header:
    """What a DICOM file says.

    dataset     its elements but those of group 2 and the pixels
    syntax      UID of its transfer syntax, as stated; guessed where it is not
    implicit, big_endian  how its elements are encoded
    pixels      the element of the pixels; None without any
    file        the file that `pixels` counts in: of a deflated data set what it inflates to
    """

    dataset: pydicom.Dataset
    syntax: str
    implicit: bool
    big_endian: bool
    pixels: Element | None
    file: BinaryIO

    @property
    def is_deflated(self) -> bool:
        """Return whether the data set is deflated in its file."""
        return self.syntax == DeflatedExplicitVRLittleEndian

    @property
    def is_encapsulated(self) -> bool:
        """Return whether pixels are in items."""
        return self.pixels is not None and self.pixels.length == UNDEFINED


@contextmanager
def lenient() -> Iterator[None]:
    """Let pydicom accept what it can read, and turn whatever it raises into UnsupportedError."""
    with _LOCK, quiet():
        try:
            yield
        except UnsupportedError:
            raise
        except Exception as error:  # pydicom answers broken files with almost any exception
            raise UnsupportedError("its header cannot be read as DICOM") from error


class _Noting:
    """A file that notes when less is read of it than was asked for, and something or twice nothing: it is cut."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.ends, self.cut = file, 0, False
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            self.ends += not data  # once where the data set ends
            self.cut = self.cut or bool(data) or self.ends > 1
        return data


def read_header(
    file: BinaryIO, *, inflated: bool = False, after: bytes | None = None, whole: bool = False
) -> Header:  # fmt: skip
    """Read the header of a file that may end where its pixels begin.

    Parameters:
        file: it is read from its beginning.
        inflated: the data set is not deflated here, whatever the transfer syntax says.
        after: the bytes after the pixels, where they are not in the file.
        whole: the file must not end within an element.

    Raises:
        UnsupportedError: it is no DICOM file, or, with `whole`, it is cut.
    """
    with lenient():
        meta, start = _meta(file)
        syntax = str(meta.get("TransferSyntaxUID") or "").strip("\0 ")
        if syntax == DeflatedExplicitVRLittleEndian and not inflated:
            file.seek(0)
            file = _inflated(file.read(), start)
        file.seek(start)
        head = file.read(8)
        vr = head[4:6]
        implicit = not (vr.isalpha() and vr.isupper())
        big_endian = syntax == ExplicitVRBigEndian or (not syntax and head[:1] == b"\0" and head[1:2] != b"\0")
        if not syntax:
            plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
            syntax = str(ExplicitVRBigEndian if big_endian else plain)
        file.seek(start)
        noting = _Noting(file)
        dataset = read_dataset(cast(BinaryIO, noting), implicit, not big_endian, stop_when=_is_pixels)
        if whole and noting.cut:
            raise UnsupportedError("the file is cut short")
        pixels = None
        with suppress(NotCoded):  # where the file has ended
            pixels = pixel_element(file, implicit, big_endian)
        header = Header(dataset, syntax, implicit, big_endian, pixels, file)
        if pixels is not None:
            if whole:
                _check_pixels(header)
            _read_after(header, after)
        return header


def _meta(file: BinaryIO) -> tuple[pydicom.Dataset, int]:
    """Return the elements of group 2, and where they end. Raises UnsupportedError where no element begins."""
    file.seek(0)
    head = file.read(134)
    start = data_start(head)
    if not start and head[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
        raise UnsupportedError("it is no DICOM file")
    file.seek(start)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: int(tag) >> 16 != 2)
    return meta, file.tell()


def _is_pixels(tag: Any, vr: str | None, length: int) -> bool:
    return int(tag) in PIXEL_TAGS


def _inflated(data: bytes, start: int) -> BytesIO:
    machine = zlib.decompressobj(-15)
    raw = machine.decompress(data[start:], _MOST_INFLATED)
    if machine.unconsumed_tail:
        raise UnsupportedError("its data set inflates to more than 1 GiB")
    return BytesIO(data[:start] + raw)


def _check_pixels(header: Header) -> None:
    """Raise UnsupportedError where a file ends within its pixels."""
    assert header.pixels is not None
    end = header.pixels.start + header.pixels.length
    if header.is_encapsulated:
        header.file.seek(read_items(header.file, header.pixels.start)[1])
        cut = header.file.read(4) != _DELIMITER
    else:
        cut = header.file.seek(0, 2) < end
    if cut:
        raise UnsupportedError("the file is cut short")


def _read_after(header: Header, after: bytes | None) -> None:
    """Add the elements after the pixels, as far as they can be read."""
    assert header.pixels is not None
    if after is None:
        file, pixels = header.file, header.pixels
        end = read_items(file, pixels.start)[1] if header.is_encapsulated else pixels.start + pixels.length
        file.seek(end)
        after = file.read(_MOST_AFTER)
    if header.is_encapsulated and after[:4] == _DELIMITER:
        after = after[8:]
    if len(after) < 8:
        return
    try:
        more = read_dataset(BytesIO(after), header.implicit, not header.big_endian, stop_when=_is_no_element)
        found = {tag: more.get_item(tag) for tag in more.keys()}  # noqa: SIM118 (a data set iterates over elements)
    except Exception:  # of padding, or of pixels that are longer than stated
        return
    for tag, element in found.items():
        header.dataset[tag] = element


def _is_no_element(tag: Any, vr: str | None, length: int) -> bool:
    """Return whether a tag cannot follow the pixels: what is there is padding, perhaps megabytes of zeros."""
    return not PIXEL_TAGS[-1] < int(tag) < _ITEMS
