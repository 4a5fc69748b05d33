"""Headers of text, and numbers that follow them or are in other files: what NRRD and MetaImage have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .facts import Facts, Place
from .gzipped import inflated, wrapped
from .protocol import Detached, Format, Image, NotCoded
from .uncompressed import Stated, image_of

MOST_HEADER = 1 << 20  # bytes
_MOST_FILES = 1 << 16  # that a header may name
_INFLATED = ("gzip", "zlib")
_MOST_HEADERS = 256  # in a folder, that are read to find that of a file


@dataclass(frozen=True)
class Header:
    """What a header states."""

    type: np.dtype[Any]
    shape: tuple[int, ...]  # the fastest axis first, without that of components
    end: int  # bytes of the header
    components: int = 1
    colour: bool = False
    spatial: int = 3
    files: tuple[str, ...] = ()  # that have the numbers, in order; () where they follow the header
    axes: int = 0  # of each file, where there are several
    lines: int = 0  # to skip before the numbers
    skip: int = 0  # bytes to skip after these; negative where the numbers end with the file
    packed: str = ""  # how the numbers are compressed
    place: Place | str = ""  # of the voxels, or why there is none

    @property
    def facts(self) -> Facts:
        """Return what is stated of the volume."""
        return Facts(self.type, self.shape, self.components, self.place)

    @property
    def length(self) -> int:
        """Return the bytes of all numbers of a file."""
        return math.prod(self.shape) * self.components * self.type.itemsize

    def of_file(self) -> Header:
        """Return the header of one of several files. Raises NotCoded where they do not make the whole."""
        shape = self.shape[: self.axes]
        if not shape or math.prod(shape) * len(self.files) != math.prod(self.shape):
            raise NotCoded("its header names another number of files than make its shape")
        return replace(self, shape=shape, end=0)


Parse = Callable[[bytes], Header]  # raises NotCoded


class Attached(Format):
    """A header, and the numbers after it if it names no other file."""

    def __init__(self, magic: Callable[[bytes], bool], parse: Parse) -> None:
        self._magic, self._parse = magic, parse

    def sniff(self, head: bytes) -> bool:
        """Accept how headers begin."""
        return self._magic(head)

    def read(self, path: Path, name: str, file: BinaryIO) -> Image | None:
        """Return the image in a file."""
        header = self._parse(file.read(MOST_HEADER))
        if header.files:
            raise NotCoded(f"it is a header: the voxels are in {header.files[0]}")
        return _image(self, path, name, file, header)

    def facts(self, header: bytes) -> Facts | None:
        """Return what a header states."""
        try:
            return self._parse(header[:MOST_HEADER]).facts
        except NotCoded:
            return None


class Beside(Detached):
    """Numbers whose header is in the same folder."""

    def __init__(self, suffixes: tuple[str, ...], parse: Parse) -> None:
        self._suffixes, self._parse = suffixes, parse

    def sniff(self, head: bytes) -> bool:
        """Accept everything: the file has numbers alone."""
        return True

    def read(self, path: Path, name: str, file: BinaryIO) -> Image | None:
        """Return the image in a file that a header names; None where none does."""
        if path.suffix.lower() in self._suffixes:
            return None
        refused: NotCoded | None = None
        try:
            changed = path.parent.stat().st_mtime_ns
        except OSError:
            return None
        for beside, header, places in _headers(path.parent, changed, self._suffixes, self._parse):
            if path.name not in places:
                continue
            try:
                one, series, order = header, "", (0.0,)
                if len(header.files) > 1:
                    one, series = header.of_file(), f"{name.rpartition('/')[0]}/{beside}"
                    order = (float(places[path.name]),)
                return _image(self, path, name, file, one, series, order)
            except NotCoded as error:
                refused = error
        if refused:
            raise refused
        return None

    def headers(self, name: str, others: Iterable[str]) -> list[str]:
        """Return the names of all files with the suffix of a header."""
        if name.lower().endswith(self._suffixes):
            return []
        return sorted(other for other in others if other.lower().endswith(self._suffixes))[:_MOST_HEADERS]

    def facts_beside(self, header: bytes, name: str) -> Facts | None:
        """Return what a header states that names a file."""
        try:
            found = self._parse(header[:MOST_HEADER])
        except NotCoded:
            return None
        return found.facts if name in found.files else None


@lru_cache(maxsize=4)
def _headers(
    folder: Path, changed: int, suffixes: tuple[str, ...], parse: Parse
) -> list[tuple[str, Header, dict[str, int]]]:
    """Return the headers in a folder that make sense: their names, themselves, and the places of files in them."""
    found: list[tuple[str, Header, dict[str, int]]] = []
    try:
        paths = sorted(islice(_with_suffix(folder, suffixes), _MOST_HEADERS))
        for path in paths:
            with path.open("rb") as file:
                text = file.read(MOST_HEADER)
            try:
                header = parse(text)
            except NotCoded:
                continue
            found.append((path.name, header, {name: place for place, name in enumerate(header.files)}))
    except OSError:
        pass
    return found


def _with_suffix(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.is_file())


def _image(
    file_format: Format, path: Path, name: str, file: BinaryIO, header: Header, series: str = "",
    order: tuple[float, ...] = (),
) -> Image:  # fmt: skip
    if header.packed not in ("", *_INFLATED):
        raise NotCoded(f"its data are compressed with {header.packed}")
    start = 0 if header.files else header.end
    if header.lines:
        file.seek(start)
        text = file.read(MOST_HEADER)
        for _ in range(header.lines):
            length = text.find(b"\n") + 1
            if not length:
                raise NotCoded("it has fewer lines than its header skips")
            text, start = text[length:], start + length
    plain_file = inflated(file, start) if header.packed else file  # bytes are skipped in what is inflated, lines before
    first = plain_file.seek(0, 2) - header.length if header.skip < 0 else start + header.skip
    stated = Stated(
        first, header.type, header.shape, header.components, header.colour, header.spatial, series=series, order=order
    )
    image = image_of(file_format, path, name, plain_file, stated)
    return wrapped(image, file.seek(0, 2), start) if header.packed else image


def names_of(pattern: str, first: int, last: int, step: int) -> tuple[str, ...]:
    """Return the names of files that a header names by a pattern of C's printf. Raises NotCoded."""
    if not step or not 0 < (last - first) // step + 1 <= _MOST_FILES:
        raise NotCoded("its header names no files")
    numbers = range(first, last + (1 if step > 0 else -1), step)
    head, percent, tail = pattern.partition("%")
    width, letter, rest = tail.partition("d")
    if not percent or not letter or not (width.isascii() and (width.isdigit() or not width)) or int(width or 0) > 99:
        raise NotCoded("its header names no files")
    pad = f"{width}d"
    return tuple(plain(f"{head}{number:{pad}}{rest}") for number in numbers)


def plain(name: str) -> str:
    """Return a name as it is in a folder listing."""
    return name.removeprefix("./")


def numbers_in(text: str, count: int | None = None) -> tuple[int, ...]:
    """Return the integers in a text, `count` of them. Raises NotCoded."""
    try:
        found = tuple(int(word) for word in text.split())
    except ValueError:
        found = ()
    if not found or (count is not None and len(found) != count) or max(map(abs, found)) >= 1 << 62:
        raise NotCoded("its header makes no sense")
    return found
