"""TIFF 6.0 and, from 4 GB on, BigTIFF: uncompressed pages, a slice each; all directories precede the pixels."""

from __future__ import annotations

import struct

from ..errors import UnsupportedError
from .image_files import Grid

_SHORT, _LONG, _RATIONAL, _LONG8 = 3, 4, 5, 16  # types of fields
_FORMATS = {"u": 1, "i": 2, "f": 3}
_MOST_CLASSIC = (1 << 32) - (1 << 20)
_CENTIMETRE, _NO_UNIT = 3, 1
_BLACK_IS_ZERO, _RGB = 1, 2
_UNIT = 10_000  # of the resolution's fractions


def header(grid: Grid, spacing: tuple[float | None, ...] = ()) -> bytes:
    """Return all of a file that precedes the pixels of the first slice; those of the others follow without a gap.

    `spacing`: z, y, x in mm, or None; that of y and x is stated as pixels per centimetre. A TIFF has no other place.
    """
    if grid.components > 4:
        raise UnsupportedError(f"TIFF is written with up to four samples in a pixel, not {grid.components}")
    depth, rows, columns = grid.shape[0] * grid.times, *grid.shape[1:]
    length = rows * columns * grid.components * grid.dtype.itemsize
    big = depth * (length + 1024) > _MOST_CLASSIC
    if length >= 1 << 32:
        raise UnsupportedError("TIFF is written with slices of less than 4 GiB")
    word, count, room, offsets = ("Q", "Q", 8, _LONG8) if big else ("I", "H", 4, _LONG)
    steps = [one if one else 0.0 for one in spacing[-2:]] or [0.0, 0.0]
    stated = all(0 < step < 1e5 for step in steps)
    inverse = [(_UNIT * 10, max(1, round(_UNIT * step))) if stated else (1, 1) for step in reversed(steps)]
    samples = grid.components
    # A field: tag, type, values. Those that do not fit follow the directory.
    fields = [
        (256, _LONG, [columns]),
        (257, _LONG, [rows]),
        (258, _SHORT, [8 * grid.dtype.itemsize] * samples),
        (259, _SHORT, [1]),  # not compressed
        (262, _SHORT, [_RGB if samples > 2 else _BLACK_IS_ZERO]),
        (273, offsets, [0]),
        (277, _SHORT, [samples]),
        (278, _LONG, [rows]),
        (279, _LONG, [length]),
        (282, _RATIONAL, list(inverse[0])),
        (283, _RATIONAL, list(inverse[1])),
        (284, _SHORT, [1]),  # samples side by side
        (296, _SHORT, [_CENTIMETRE if stated else _NO_UNIT]),
        *([(338, _SHORT, [0] * (samples - 3 if samples > 2 else 1))] if samples in (2, 4) else []),
        (339, _SHORT, [_FORMATS[grid.dtype.kind]] * samples),
    ]
    codes = {_SHORT: "H", _LONG: "I", _RATIONAL: "I", _LONG8: "Q"}
    start = 16 if big else 8
    size = struct.calcsize("<" + count) + len(fields) * (4 + 2 * room) + room
    extra = sum(8 * len(values) for _, _, values in fields)  # at most
    each = size + extra
    pixels = start + depth * each
    out = [struct.pack("<2sHHHQ", b"II", 43, 8, 0, start) if big else struct.pack("<2sHI", b"II", 42, start)]
    for page in range(depth):
        directory, behind = struct.pack("<" + count, len(fields)), b""
        at = start + page * each
        for tag, kind, values in fields:
            values = [pixels + page * length] if tag == 273 else values
            packed = struct.pack(f"<{len(values)}{codes[kind]}", *values)
            number = len(values) // 2 if kind == _RATIONAL else len(values)
            if len(packed) > room:
                packed, behind = struct.pack("<" + word, at + size + len(behind)), behind + packed
            directory += struct.pack("<HH" + word, tag, kind, number) + packed.ljust(room, b"\0")
        directory += struct.pack("<" + word, at + each if page + 1 < depth else 0)
        out.append(directory + behind.ljust(extra, b"\0"))
    return b"".join(out)
