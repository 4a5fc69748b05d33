"""MetaImage (MetaIO): `.mha` with numbers after the header, or `.mhd` and numbers in other files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .detached import MOST_HEADER, Attached, Beside, Header, names_of, numbers_in, plain
from .facts import UNKNOWN, Place, place_of
from .protocol import Description, NotCoded

_TYPES = {
    "CHAR": "i1", "UCHAR": "u1", "SHORT": "i2", "USHORT": "u2", "INT": "i4", "UINT": "u4", "LONG": "i4",
    "ULONG": "u4", "LONG_LONG": "i8", "ULONG_LONG": "u8", "FLOAT": "f4", "DOUBLE": "f8",
}  # fmt: skip
_DIRECTIONS, _ORIGIN = ("transformmatrix", "rotation", "orientation"), ("offset", "position", "origin")
_SIZES = ("elementspacing", "elementsize")
_LAST = "elementdatafile"  # the last key


def _fields(text: bytes) -> tuple[dict[str, str], int]:
    """Return the values of keys, in lower case, and where the header ends. Raises NotCoded."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        end = text.find(b"\n", at)
        line = text[at : len(text) if end < 0 else end].decode("latin-1")
        at = len(text) if end < 0 else end + 1
        key, equals, value = line.partition("=")
        key, value = key.strip().lower(), value.strip()
        if not equals:
            if key:
                raise NotCoded("its header makes no sense")
            continue
        if found.get(key, value) != value:
            raise NotCoded(f"its header contradicts itself about {key}")
        found[key] = value
        if key == _LAST:
            return found, at
    raise NotCoded("its header does not end")


def _header(text: bytes) -> Header:
    found, end = _fields(text)
    if found.get("binarydata", "true").lower() == "false":
        raise NotCoded("its numbers are text")
    kind = found.get("elementtype", "").upper().removeprefix("MET_").removesuffix("_ARRAY")
    if kind not in _TYPES:
        raise NotCoded(f"its header states the data type {found.get('elementtype', 'of nothing')}")
    msb = {found[key].lower()[:1] for key in ("elementbyteordermsb", "binarydatabyteordermsb") if key in found}
    if len(msb) > 1:
        raise NotCoded("its header contradicts itself about the order of bytes")
    shape = numbers_in(found.get("dimsize", ""))
    if "ndims" in found and numbers_in(found["ndims"], 1)[0] != len(shape):
        raise NotCoded("its header contradicts itself about its dimensions")
    files, axes = _files(found[_LAST], text[end:], len(shape))
    return Header(
        np.dtype((">" if msb & {"t", "1"} else "<") + _TYPES[kind]),
        shape,
        end,
        numbers_in(found.get("elementnumberofchannels", "1"), 1)[0],
        colour=kind in ("UCHAR", "USHORT"),
        files=files,
        axes=axes,
        skip=numbers_in(found.get("headersize", "0"), 1)[0],
        packed="zlib" if found.get("compresseddata", "").lower() in ("true", "1") else "",
        place=_place(found, len(shape)),
    )


def _place(found: dict[str, str], axes: int) -> Place | str:
    """Return the place that a header states, as ITK reads it, or why there is none.

    Each row of the matrix has the direction of an axis. The centre of rotation and `AnatomicalOrientation`, which only
    names directions, move nothing. A negative spacing turns its axis round.
    """

    def numbers(names: tuple[str, ...], count: int, missing: np.ndarray) -> np.ndarray | None:
        text = next((found[name] for name in names if name in found), None)
        if text is None:
            return missing
        try:
            read = np.array([float(word) for word in text.split()])
        except ValueError:
            return None
        return read if len(read) == count else None

    directions = numbers(_DIRECTIONS, axes * axes, np.eye(axes).ravel())
    origin, sizes = numbers(_ORIGIN, axes, np.zeros(axes)), numbers(_SIZES, axes, np.ones(axes))
    if directions is None or origin is None or sizes is None:
        return "its header states a matrix, offset or spacing of another number of axes, or of no numbers"
    turned, moved = np.eye(3), np.zeros(3)
    used = min(axes, 3)
    with np.errstate(all="ignore"):
        turned[:used, :used] = (directions.reshape(axes, axes).T * sizes)[:used, :used]
    moved[:used] = origin[:used]
    stated = axes > 2 and any(name in found for name in _DIRECTIONS)
    return place_of(turned, moved) if stated else place_of(turned, moved, UNKNOWN)


def _files(value: str, rest: bytes, axes: int) -> tuple[tuple[str, ...], int]:
    """Return the names of the files with the numbers, and how many axes each has."""
    words = value.split()
    if value.upper() == "LOCAL":
        return (), axes
    if words and words[0].upper() == "LIST":
        of_file = numbers_in(words[1].upper().removesuffix("D"), 1)[0] if len(words) > 1 else axes - 1
        names = [line.strip() for line in rest[:MOST_HEADER].decode("latin-1").splitlines()]
        return tuple(plain(name) for name in names if name) or ("none",), of_file
    if "%" in value and len(words) in (3, 4):
        numbers = numbers_in(" ".join(words[1:]))
        return names_of(words[0], numbers[0], numbers[1], numbers[2] if len(numbers) > 2 else 1), axes - 1
    if not value:
        raise NotCoded("its header names no files")
    return (plain(value),), axes


def _is_meta(head: bytes) -> bool:
    """Accept the key of any header."""
    key = head.lstrip()[:16].lower()
    return key.startswith((b"objecttype", b"ndims", b"formtypename", b"comment")) and b"=" in head


class MetaImage(Attached):
    """An `.mha` file, or the header of an `.mhd` one."""

    def describe(self, headers: Sequence[bytes]) -> Description:
        """Describe a volume by its header."""
        try:
            found, _ = _fields(headers[0][:MOST_HEADER])
        except NotCoded:
            return Description()
        return Description(
            modality={"MET_MOD_CT": "CT", "MET_MOD_MR": "MR"}.get(found.get("modality", ""), ""),
            description=found.get("name", found.get("comment", "")),
        )


METAIMAGE = MetaImage(_is_meta, _header)
METAIMAGE_DATA = Beside((".mhd", ".mha"), _header)
