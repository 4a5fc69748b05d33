"""Where tiles, resolutions, bands, precincts and code blocks lie (ITU-T T.800, Annex B), as tables for loops.

Coefficients of all tiles of a component lie in one plane of the image's size: a tile's in its own place, and in it the
bands of each resolution around the one below, as is usual (LL, HL; LH, HH).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ...runtime.compiled import entry, part
from ...runtime.scalars import larger, smaller
from ..protocol import NotReproducible
from . import tag_trees
from .blocks import FIELDS, HIGH_THROUGHPUT
from .codestream import Coding, Header, Planes, Size, coding_of, style_of

_STEPS = 1 << 16  # tiles × components × resolutions, at most
_PACKETS, _SAMPLES_OF_A_PACKET = 1 << 16, 8  # at most so many packets, and one for so many samples
BANDS = 3  # of a resolution, at most
# The fields of a grid, int64: the precincts of one band of a tile-component's resolution.
# Component, orientation, Mb, y and x of its coefficients in the plane, the band's y0, x0, y1, x1,
# the precincts' first row and column, number of rows and columns, exponents of their height and width in the band,
# exponents of the blocks' height and width, the resolution's first precinct, and which of its bands this is: 19 in all.


class Rectangle(NamedTuple):
    """Part of a plane: half-open, in the coordinates of some resolution."""

    y0: int
    x0: int
    y1: int
    x1: int

    def reduced(self, levels: int, dy: int = 0, dx: int = 0) -> Rectangle:
        """Return it after wavelet levels (Equation B-15); dy or dx is 1 in bands that are high-pass in y or x."""
        half = (1 << levels) >> 1
        y, x = dy * half, dx * half
        return Rectangle(*(-(-(edge - shift) >> levels) for edge, shift in zip(self, (y, x, y, x), strict=True)))

    @property
    def empty(self) -> bool:
        """Whether it holds nothing."""
        return self.y0 >= self.y1 or self.x0 >= self.x1


class Geometry(NamedTuple):
    """All tables of an image.

    planes                               components, rows, columns
    rectangles int64 [tile-components, 6]   plane, y0, x0, y1, x1 on the reference grid, levels
    transformed bool [tiles]             whether components were transformed
    tiles int64 [tiles, 4]               y0, x0, y1, x1 in the plane
    blocks int32 [blocks, FIELDS]        see `blocks`, by tile, component, resolution, band, precinct and row
    styles uint8 [blocks]                code block style
    precincts int64 [precincts, BANDS, 4]   first block, rows and columns of blocks, and first node of the tag trees
    nodes                                of all tag trees of one kind
    packets int64 [packets, 2]           precinct and layer of each packet, by tile and in order
    first int64 [tiles + 1]              the first packet of each tile
    sop, eph bool [tiles]                whether packets have these markers
    layers                               of the tile that has most
    """

    planes: tuple[int, int, int]
    rectangles: np.ndarray
    transformed: np.ndarray
    tiles: np.ndarray
    blocks: np.ndarray
    styles: np.ndarray
    precincts: np.ndarray
    nodes: int
    packets: np.ndarray
    first: np.ndarray
    sop: np.ndarray
    eph: np.ndarray
    layers: int

    @property
    def high(self) -> bool:
        """Whether its blocks are High-Throughput ones."""
        return bool(len(self.styles) and self.styles[0] & HIGH_THROUGHPUT)


class _Table:
    """Rows that grow with each resolution: grids, their styles, and one row for each precinct's place in the order."""

    def __init__(self) -> None:
        self.grids: list[tuple[int, ...]] = []
        self.styles: list[int] = []
        self.keys: list[np.ndarray] = []
        self.precincts = 0


@lru_cache(maxsize=8)
def geometry(size: Size, main: Header, headers: tuple[Header, ...]) -> Geometry:
    """Lay out an image whose size is known to be right, given the main header and those of its tiles.

    Raises NotReproducible where it has far more packets than blocks of a sensible size.
    """
    most = _PACKETS + size.components * (size.y1 - size.y0) * (size.x1 - size.x0) // _SAMPLES_OF_A_PACKET
    origin = size.y0, size.x0
    table = _Table()
    rectangles, tiles, transformed, packets, first, layers = [], [], [], [], [0], 1
    steps = 0
    for tile in range(size.tiles):
        q, p = divmod(tile, size.tiles_across)
        y, x = size.tile_y0 + q * size.tile_height, size.tile_x0 + p * size.tile_width
        area = Rectangle(
            max(y, size.y0), max(x, size.x0), min(y + size.tile_height, size.y1), min(x + size.tile_width, size.x1)
        )
        tiles.append((area.y0 - origin[0], area.x0 - origin[1], area.y1 - origin[0], area.x1 - origin[1]))
        style = style_of(main, headers[tile])
        if style.transform and size.components < 3:
            raise NotReproducible("it transforms components that it lacks")
        transformed.append(style.transform)
        table.keys = []
        for component in range(size.components):
            coding, planes = coding_of(main, headers[tile], component)
            steps += coding.levels + 1
            if steps > _STEPS:
                raise NotReproducible("it has too many tiles")
            rectangles.append((component, *area, coding.levels))
            for resolution in range(coding.levels + 1):
                _add_resolution(table, area, origin, component, resolution, coding, planes, most // style.layers)
        order = _order(np.concatenate(table.keys), style.order, style.layers)
        packets.append(order)
        first.append(first[-1] + len(order))
        layers = max(layers, style.layers)
    grids = np.array(table.grids, np.int64)
    counts = np.zeros(2, np.int64)
    _count(grids, counts)
    blocks = np.empty((counts[0], FIELDS), np.int32)
    styles = np.empty(counts[0], np.uint8)
    precincts = np.zeros((table.precincts, BANDS, 4), np.int64)
    _fill(grids, np.array(table.styles, np.uint8), blocks, styles, precincts)
    styles_of = [style_of(main, own) for own in headers]
    return Geometry(
        (size.components, size.y1 - size.y0, size.x1 - size.x0),
        np.array(rectangles, np.int64),
        np.array(transformed),
        np.array(tiles, np.int64),
        blocks,
        styles,
        precincts,
        int(counts[1]),
        np.concatenate(packets),
        np.array(first, np.int64),
        np.array([style.sop for style in styles_of]),
        np.array([style.eph for style in styles_of]),
        layers,
    )


def _add_resolution(
    table: _Table, area: Rectangle, origin: tuple[int, int], component: int, r: int, coding: Coding, planes: Planes,
    most: int,
) -> None:  # fmt: skip
    """Add the bands of a resolution, and the keys of its precincts (B.6, B.7, B.12.1.3)."""
    down = coding.levels - r
    here = area.reduced(down)
    if here.empty:
        return
    pw, ph = coding.precincts[r]
    rows, columns = here.y0 >> ph, here.x0 >> pw
    high, wide = -(-here.y1 >> ph) - rows, -(-here.x1 >> pw) - columns
    if table.precincts + high * wide > most:
        raise NotReproducible("it has too many packets")
    inner = 1 if r else 0  # a band has half the resolution's size
    exponents = ph - inner, pw - inner, min(coding.block_height, ph - inner), min(coding.block_width, pw - inner)
    below = area.reduced(down + 1)
    for band, (orientation, dy, dx) in enumerate(((1, 0, 1), (2, 1, 0), (3, 1, 1)) if r else ((0, 0, 0),)):
        edges = area.reduced(down + inner, dy, dx)
        y = area.y0 - origin[0] + dy * (below.y1 - below.y0)
        x = area.x0 - origin[1] + dx * (below.x1 - below.x0)
        exponent = planes.exponents[3 * (r - 1) + orientation if r else 0]
        where = component, orientation, planes.guard + exponent - 1, y, x
        table.grids.append((*where, *edges, rows, columns, high, wide, *exponents, table.precincts, band))
        table.styles.append(coding.style)
    keys = np.empty((high * wide, 6), np.int64)
    starts = [
        np.where(begin < edge, least, begin << down)
        for begin, edge, least in (
            (np.arange(rows, rows + high) << ph, here.y0, area.y0),
            (np.arange(columns, columns + wide) << pw, here.x0, area.x0),
        )
    ]
    keys[:, 0], keys[:, 1] = component, r
    keys[:, 2], keys[:, 3] = np.repeat(starts[0], wide), np.tile(starts[1], high)
    keys[:, 4] = np.arange(high * wide)
    keys[:, 5] = table.precincts + keys[:, 4]
    table.keys.append(keys)
    table.precincts += high * wide


def _order(keys: np.ndarray, order: int, layers: int) -> np.ndarray:
    """Return the precinct and layer of a tile's packets, int64 [packets, 2], in one of the five orders (B.12.1).

    keys int64 [precincts, 6]: component, resolution, y, x on the reference grid, number in the resolution, number
    """
    c, r, y, x, k, number = keys.T
    # The orders' names have what varies slowest first: LRCP, RLCP, RPCL, PCRL, CPRL.
    slow_to_fast = ((r, c, k), (r, c, k), (r, y, x, c), (y, x, c, r), (c, y, x, r))[order]
    by = np.lexsort(slow_to_fast[::-1])
    precincts, layer = number[by], np.arange(layers)
    if order == 0:
        return np.stack([np.tile(precincts, layers), np.repeat(layer, len(by))], axis=1)
    if order == 1:
        resolution = r[by]
        pieces = [
            np.stack([np.tile(own, layers), np.repeat(layer, len(own))], axis=1)
            for own in (precincts[resolution == level] for level in np.unique(resolution))
        ]
        return np.concatenate(pieces)
    return np.stack([np.repeat(precincts, layers), np.tile(layer, len(by))], axis=1)


@part
def _blocks_of(grid: np.ndarray, p: Any) -> Any:
    """Return the region y0, x0, y1, x1 of precinct p in the band, and how many rows and columns of blocks it has."""
    j, i = p // grid[12], p % grid[12]
    y0, x0 = larger((grid[9] + j) << grid[13], grid[5]), larger((grid[10] + i) << grid[14], grid[6])
    y1, x1 = smaller((grid[9] + j + 1) << grid[13], grid[7]), smaller((grid[10] + i + 1) << grid[14], grid[8])
    if y0 >= y1 or x0 >= x1:
        return y0, x0, y1, x1, 0, 0
    high = ((y1 - 1) >> grid[15]) - (y0 >> grid[15]) + 1
    wide = ((x1 - 1) >> grid[16]) - (x0 >> grid[16]) + 1
    return y0, x0, y1, x1, high, wide


@entry
def _count(grids: np.ndarray, counts: np.ndarray) -> None:
    """Count the code blocks and the nodes of their tag trees: int64 [2]."""
    for g in range(grids.shape[0]):
        for p in range(grids[g, 11] * grids[g, 12]):
            _, _, _, _, high, wide = _blocks_of(grids[g], p)
            counts[0] += high * wide
            counts[1] += tag_trees.size(high, wide)


@entry
def _fill(
    grids: np.ndarray, grid_styles: np.ndarray, blocks: np.ndarray, styles: np.ndarray, precincts: np.ndarray
) -> None:
    """Write the tables of blocks and precincts, in the order of grids: band by band of each resolution."""
    block, node = 0, 0
    for g in range(grids.shape[0]):
        grid = grids[g]
        for p in range(grid[11] * grid[12]):
            y0, x0, y1, x1, high, wide = _blocks_of(grid, p)
            own = precincts[grid[17] + p, grid[18]]
            own[0], own[1], own[2], own[3] = block, high, wide, node
            node += tag_trees.size(high, wide)
            for j in range(high):
                for i in range(wide):
                    top = larger(((y0 >> grid[15]) + j) << grid[15], y0)
                    left = larger(((x0 >> grid[16]) + i) << grid[16], x0)
                    bottom = smaller(((y0 >> grid[15]) + j + 1) << grid[15], y1)
                    right = smaller(((x0 >> grid[16]) + i + 1) << grid[16], x1)
                    one = blocks[block]
                    one[0], one[1], one[2] = grid[0], grid[3] + top - grid[5], grid[4] + left - grid[6]
                    one[3], one[4], one[5], one[6] = bottom - top, right - left, grid[1], grid[2]
                    styles[block] = grid_styles[g]
                    block += 1
