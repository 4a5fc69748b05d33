"""NRRD (teem.sourceforge.net/nrrd/format.html): a header and numbers after it, or in other files."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from .detached import MOST_HEADER, Attached, Beside, Header, names_of, numbers_in, plain
from .facts import SCANNER, UNKNOWN, Place, place_of
from .protocol import Description, NotCoded

_MAGIC = b"NRRD000"
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_OF_NAME = {name: kind for kind, names in _TYPES.items() for name in names}
_RAW = ("raw",)
_PACKED = {"gz": "gzip", "gzip": "gzip", "bz2": "bzip2", "bzip2": "bzip2", "zrl": "zrl"}
_IN_SPACE = ("domain", "space")
_UNKNOWN = ("", "none", "???")
_MOST_COMPONENTS = 4  # of a first axis of unknown kind
_VECTOR = re.compile(r"\(([^)]*)\)|none", re.IGNORECASE)
# To LPS, of the coordinates of a patient; all others have an order of axes alone, which ITK takes for LPS.
_SPACES = {
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1), "rast": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1), "last": (1, -1, 1),
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "lpst": (1, 1, 1),
}  # fmt: skip
_MM = {"um": 1e-3, "\u00b5m": 1e-3, "\u03bcm": 1e-3, "cm": 10.0, "m": 1000.0}


def _fields(text: bytes) -> tuple[dict[str, str], int, list[str]]:
    """Return the values of fields by their names, where the header ends, and the lines after `data file: LIST`.

    A detached header lasts to the end of its file. Raises NotCoded.
    """
    found: dict[str, str] = {}
    listed: list[str] = []
    at = text.find(b"\n") + 1 or len(text)
    while at < len(text):
        end = text.find(b"\n", at)
        line = text[at : len(text) if end < 0 else end].decode("latin-1").rstrip("\r")
        at = len(text) if end < 0 else end + 1
        if not line:
            return found, at, listed
        if found.get("data file", "").split()[:1] == ["LIST"]:
            listed.append(line.strip())
            continue
        name, colon, value = line.partition(": ")
        if line.startswith("#") or not colon or ":=" in name:
            continue
        name = {"datafile": "data file", "byteskip": "byte skip", "lineskip": "line skip"}.get(
            name.lower(), name.lower()
        )
        value = value.strip()
        if found.get(name, value) != value:
            raise NotCoded(f"its header contradicts itself about its {name}")
        found[name] = value
    if "data file" not in found or len(text) >= MOST_HEADER:
        raise NotCoded("its header does not end")
    return found, at, listed


def _header(text: bytes) -> Header:
    found, end, listed = _fields(text)
    kind = " ".join(found.get("type", "").lower().split())
    if kind not in _OF_NAME:
        raise NotCoded(f"its header states the data type {kind or 'of nothing'}")
    sizes = numbers_in(found.get("sizes", ""), numbers_in(found.get("dimension", ""), 1)[0])
    encoding, endian = found.get("encoding", "").lower(), found.get("endian", "").lower()
    if encoding not in _RAW and encoding not in _PACKED:
        raise NotCoded("its numbers are text")
    numbers = np.dtype(_OF_NAME[kind])
    if endian not in ("little", "big") and numbers.itemsize > 1:
        raise NotCoded("its header does not state the order of bytes")
    kinds = found.get("kinds", "").lower().split()
    if len(kinds) != len(sizes):
        kinds = [""] * len(sizes)
    components, first = 1, 0
    if len(sizes) > 2 and (
        kinds[0] not in (*_IN_SPACE, *_UNKNOWN, "time") or (kinds[0] in _UNKNOWN and sizes[0] <= _MOST_COMPONENTS)
    ):
        components, sizes, kinds, first = sizes[0], sizes[1:], kinds[1:], 1
    in_space = 0
    while in_space < len(kinds) and kinds[in_space] in _IN_SPACE:
        in_space += 1
    files, axes = _files(found.get("data file", ""), listed, len(sizes))
    return Header(
        numbers.newbyteorder(">" if endian == "big" else "<"),
        sizes,
        end,
        components,
        colour=numbers.kind == "u",
        spatial=in_space or 3,
        files=files,
        axes=axes,
        lines=max(0, numbers_in(found.get("line skip", "0"), 1)[0]),
        skip=numbers_in(found.get("byte skip", "0"), 1)[0],
        packed=_PACKED.get(encoding, ""),
        place=_place(found, first, len(sizes)),
    )


def _place(found: dict[str, str], first: int, axes: int) -> Place | str:
    """Return the place that a header states of its axes from `first` on, or why there is none."""
    name = found.get("space", "").lower().removesuffix("-time")
    signs, used = np.array(_SPACES.get(name, (1, 1, 1)), np.float64), min(axes, 3)
    sizes, origin = np.eye(3), np.zeros(3)
    units = re.findall(r'"([^"]*)"', found.get("space units", ""))
    mm = np.array([_MM.get(units[i], 1.0) if i < len(units) else 1.0 for i in range(3)])
    try:
        if "space directions" in found:
            vectors = [_numbers(one[1]) for one in _VECTOR.finditer(found["space directions"])][first : first + used]
            for axis, vector in enumerate(vectors):
                if vector is None or len(vector) < 2:
                    return "its header states no direction of an axis"
                sizes[:, axis] = 0.0
                sizes[: len(vector), axis] = vector[:3]
            origin_of = _VECTOR.search(found.get("space origin", ""))
            corner = _numbers(origin_of[1]) if origin_of else None
            if len(vectors) < used:
                return "its header states directions of fewer axes than it has"
            if corner is not None:
                origin[: len(corner)] = corner[:3]
        else:
            name = ""
            steps = [_size(found, first + axis) for axis in range(used)]
            if None in steps:
                return "its header states no spacing of an axis"
            sizes[range(used), range(used)] = steps
    except ValueError:
        return "its header states directions or an origin that are no numbers"
    with np.errstate(all="ignore"):
        directions, moved = sizes * (signs * mm)[:, None], origin * signs * mm
    return place_of(directions, moved, SCANNER if name in _SPACES and used == 3 else UNKNOWN)


def _numbers(text: str | None) -> list[float] | None:
    """Return the numbers of a vector, None for that of no axis. Raises ValueError."""
    return None if text is None else [float(word) for word in text.split(",")][:4]


def _size(found: dict[str, str], axis: int) -> float | None:
    """Return the distance of voxels along an axis: its spacing, else its thickness. Raises ValueError."""
    for name in ("spacings", "thicknesses"):
        words = found.get(name, "").split()
        number = float(words[axis]) if axis < len(words) else 0.0
        if number and number == number:
            return number
    return None


def _files(value: str, listed: list[str], axes: int) -> tuple[tuple[str, ...], int]:
    """Return the names of the files with the numbers, and how many axes each has."""
    words = value.split()
    if not words:
        return (), axes
    if words[0] == "LIST":
        of_file = numbers_in(words[1], 1)[0] if len(words) > 1 else axes - 1
        return tuple(plain(name) for name in listed if name) or ("none",), of_file
    if "%" in words[0] and len(words) in (4, 5):
        first, last, step, *more = numbers_in(" ".join(words[1:]))
        return names_of(words[0], first, last, step), more[0] if more else axes - 1
    return (plain(value),), axes


class Nrrd(Attached):
    """An `.nrrd` file, or the header of an `.nhdr` one."""

    def describe(self, headers: Sequence[bytes]) -> Description:
        """Describe a volume by its header."""
        try:
            found, _, _ = _fields(headers[0][:MOST_HEADER])
        except NotCoded:
            return Description()
        return Description(description=found.get("content", ""))


NRRD = Nrrd(lambda head: head.startswith(_MAGIC), _header)
NRRD_DATA = Beside((".nhdr", ".nrrd"), _header)
