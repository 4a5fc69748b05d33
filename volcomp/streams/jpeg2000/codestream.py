"""The marker segments of a codestream (ITU-T T.800, Annex A), and the JP2 boxes around one (Annex I).

A codestream is read in two forms: as it is, and as the *frame* that remains when packets are removed from it. Both hold
the same headers, so that the frame alone tells how to code the image.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from ..protocol import NotReproducible
from .blocks import BYPASS, HIGH_THROUGHPUT, TERMINATE

SOC, SOT, SOD, EOC = 0xFF4F, 0xFF90, 0xFF93, 0xFFD9
SIZ, COD, COC, QCD, QCC, RGN, POC = 0xFF51, 0xFF52, 0xFF53, 0xFF5C, 0xFF5D, 0xFF5E, 0xFF5F
PPM, PPT, CAP = 0xFF60, 0xFF61, 0xFF50
SOT_SIZE = 12
PSOT = 6  # where a tile-part's length lies in its SOT segment

_REJECTED = {
    RGN: "has a region of interest",
    POC: "changes the order of its packets",
    PPM: "keeps its packet headers elsewhere",
    PPT: "keeps its packet headers elsewhere",
    CAP: "needs more than Part 1 of JPEG 2000",
}
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"


class Size(NamedTuple):
    """The SIZ segment (A.5.1): the image area and the tiles on the reference grid, and the samples."""

    x0: int
    y0: int
    x1: int
    y1: int
    tile_x0: int
    tile_y0: int
    tile_width: int
    tile_height: int
    components: int
    precision: int
    signed: bool

    @property
    def tiles_across(self) -> int:
        """Number of tiles in a row (Equation B-5)."""
        return -(-(self.x1 - self.tile_x0) // self.tile_width)

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return self.tiles_across * -(-(self.y1 - self.tile_y0) // self.tile_height)


class Style(NamedTuple):
    """What COD says of a whole tile (Tables A.13 to A.17)."""

    sop: bool
    eph: bool
    order: int
    layers: int
    transform: bool  # of the first three components


class Coding(NamedTuple):
    """What COD or COC says of a component (Table A.15)."""

    levels: int
    block_width: int  # exponents of 2, as are the precincts'
    block_height: int
    style: int
    precincts: tuple[tuple[int, int], ...]  # width and height of each resolution, the lowest first


class Planes(NamedTuple):
    """What QCD or QCC says of a component without quantisation (Table A.27 to A.29)."""

    guard: int
    exponents: tuple[int, ...]


class Header(NamedTuple):
    """The parameters of the main header, or of a tile: `own_…` hold those of single components, by number."""

    style: Style | None = None
    coding: Coding | None = None
    planes: Planes | None = None
    own_codings: tuple[tuple[int, Coding], ...] = ()
    own_planes: tuple[tuple[int, Planes], ...] = ()


class TilePart(NamedTuple):
    """A tile-part: its tile, and where its header, its packets and their end lie."""

    tile: int
    begin: int
    packets: int
    end: int


class Codestream(NamedTuple):
    """All that marker segments say. `parts` end at `end`; what follows is the EOC marker, boxes, or padding."""

    size: Size
    main: Header
    tiles: tuple[Header, ...]
    parts: tuple[TilePart, ...]
    end: int


def style_of(main: Header, own: Header) -> Style:
    """Return the style of a tile, given the main header and its own."""
    style = own.style or main.style
    if style is None:
        raise NotReproducible("it lacks a COD marker segment")
    return style


def coding_of(main: Header, own: Header, component: int) -> tuple[Coding, Planes]:
    """Return how a component of a tile is coded. The tile goes before the image, then COC before COD (A.6.2)."""
    coding = dict(own.own_codings).get(component) or own.coding or dict(main.own_codings).get(component) or main.coding
    planes = dict(own.own_planes).get(component) or own.planes or dict(main.own_planes).get(component) or main.planes
    if coding is None or planes is None:
        raise NotReproducible("it lacks a COD or QCD marker segment")
    if len(planes.exponents) < 3 * coding.levels + 1:
        raise NotReproducible("its QCD marker segment lacks bands")
    return coding, planes


def read(data: bytes, whole: bool, high: bool = False) -> Codestream:
    """Read all marker segments of data, which is whole or, without packets, a frame; high of High-Throughput ones.

    Raises NotReproducible with the reason where it is no such codestream, or one with a feature that is not supported.
    """
    try:
        return _read(data, whole, high)
    except (struct.error, IndexError):
        raise NotReproducible("its JPEG 2000 stream is cut short") from None


def _read(data: bytes, whole: bool, high: bool) -> Codestream:
    at = _begin_of_codestream(data)
    if _u16(data, at) != SOC or _u16(data, at + 2) != SIZ:
        raise NotReproducible("it is no JPEG 2000 codestream")
    size = _size(data[at + 6 : at + 4 + _u16(data, at + 4)])
    main, at = _header(data, at + 4 + _u16(data, at + 4), SOT, high, Header())
    tiles: dict[int, Header] = {}
    parts: list[TilePart] = []
    while at + 2 <= len(data) and _u16(data, at) == SOT:
        length, tile, part_length, _, _ = struct.unpack_from(">HHIBB", data, at + 2)
        if length != SOT_SIZE - 2 or tile >= size.tiles:
            raise NotReproducible("one of its SOT marker segments makes no sense")
        tiles[tile], packets = _header(data, at + SOT_SIZE, SOD, high, tiles.get(tile, Header()))
        packets += 2
        end = packets
        if whole:
            end = at + part_length if part_length else _last_end(data, packets)
            if not packets <= end <= len(data):
                raise NotReproducible("one of its tile-parts ends outside of it")
        parts.append(TilePart(tile, at, packets, end))
        at = end
    if len(tiles) != size.tiles:
        raise NotReproducible("it lacks tiles")
    return Codestream(size, main, tuple(tiles[tile] for tile in range(size.tiles)), tuple(parts), at)


def _u16(data: bytes, at: int) -> int:
    return int(struct.unpack_from(">H", data, at)[0])


def _begin_of_codestream(data: bytes) -> int:
    """Return where the codestream begins: at 0, or in the box jp2c (I.5.4)."""
    if not data.startswith(_JP2_SIGNATURE):
        return 0
    at = 0
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        if kind == b"jp2c":
            return at + header
        if not header <= length <= len(data) - at:
            raise NotReproducible("its JP2 file has no codestream")
        at += length


def _last_end(data: bytes, begin: int) -> int:
    """Return the end of a tile-part that goes on until EOC (Table A.5, Psot of 0)."""
    end = data.rfind(b"\xff\xd9", begin)
    return end if end >= 0 else len(data)


def _size(body: bytes) -> Size:
    (_, x1, y1, x0, y0, w, h, tile_x0, tile_y0, components) = struct.unpack_from(">HIIIIIIIIH", body)
    if len(body) != 36 + 3 * components or not 1 <= components <= 4:
        raise NotReproducible("its SIZ marker segment makes no sense, or it has more than 4 components")
    kinds = {body[36 + 3 * n : 39 + 3 * n] for n in range(components)}
    if len(kinds) > 1:
        raise NotReproducible("its components differ in precision or size")
    depth, dx, dy = kinds.pop()
    precision = (depth & 0x7F) + 1
    if (dx, dy) != (1, 1) or precision > 16:
        raise NotReproducible("its components are subsampled, or have more than 16 bits")
    if not (tile_x0 <= x0 < x1 and tile_y0 <= y0 < y1 and tile_x0 + w > x0 and tile_y0 + h > y0):
        raise NotReproducible("its SIZ marker segment makes no sense")
    return Size(x0, y0, x1, y1, tile_x0, tile_y0, w, h, components, precision, depth >= 0x80)


def _header(data: bytes, at: int, last: int, high: bool, header: Header) -> tuple[Header, int]:
    """Read segments up to the marker `last`, and return what they add to a header, and where that marker is."""
    while (marker := _u16(data, at)) != last:
        length = _u16(data, at + 2)
        if marker in _REJECTED and not (high and marker == CAP):
            raise NotReproducible(f"its JPEG 2000 stream {_REJECTED[marker]}")
        if marker < 0xFF50 or marker in (SOD, EOC, SOT) or length < 2 or at + 2 + length > len(data):
            raise NotReproducible("one of its marker segments makes no sense")
        body = data[at + 4 : at + 2 + length]
        if marker == COD:
            header = header._replace(style=_style(body), coding=_coding(body[5:], bool(body[0] & 1), high))
        elif marker == COC:
            # Components are numbered by one byte, since there are fewer than 257 of them.
            header = header._replace(
                own_codings=((body[0], _coding(body[2:], bool(body[1] & 1), high)), *header.own_codings)
            )
        elif marker == QCD:
            header = header._replace(planes=_planes(body))
        elif marker == QCC:
            header = header._replace(own_planes=((body[0], _planes(body[1:])), *header.own_planes))
        at += 2 + length
    return header, at


def _style(body: bytes) -> Style:
    flags, order, layers, transform = struct.unpack_from(">BBHB", body)
    if order > 4 or not layers or transform > 1:
        raise NotReproducible("its COD marker segment makes no sense")
    return Style(bool(flags & 2), bool(flags & 4), order, layers, bool(transform))


def _coding(body: bytes, precincts: bool, high: bool) -> Coding:
    """Read the parameters SPcod or SPcoc (Table A.20)."""
    levels, width, height, style, wavelet = struct.unpack_from(">5B", body)
    if wavelet != 1:
        raise NotReproducible("its wavelet is not the reversible one")
    if bool(style & HIGH_THROUGHPUT) != high:
        raise NotReproducible(f"its code blocks are {'not ' * high}High-Throughput ones")
    if high and style != HIGH_THROUGHPUT:
        raise NotReproducible("its code blocks have a style that is not supported")
    if style & (BYPASS | TERMINATE):
        raise NotReproducible("its code blocks have several segments")
    if levels > 32 or width > 8 or height > 8 or width + height > 8:
        raise NotReproducible("its COD marker segment makes no sense")
    sizes = body[5 : 6 + levels] if precincts else b"\xff" * (levels + 1)
    if len(sizes) != levels + 1:
        raise NotReproducible("its COD marker segment makes no sense")
    if any(size & 15 == 0 or size >> 4 == 0 for size in sizes[1:]):
        raise NotReproducible("its precincts make no sense")
    return Coding(levels, width + 2, height + 2, style, tuple((size & 15, size >> 4) for size in sizes))


def _planes(body: bytes) -> Planes:
    if body[0] & 31:
        raise NotReproducible("its coefficients are quantised")
    return Planes(body[0] >> 5, tuple(byte >> 3 for byte in body[1:]))
