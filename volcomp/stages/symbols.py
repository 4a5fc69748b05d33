"""Map voxels to symbols of the entropy coder, and symbols to voxels, given the network's mean and class.

The scale selects one of 76 *classes*, a quarter of an octave apart. Below two grey levels of scale the position of the
mean between two grey levels matters as well. These classes have 2, 4 or 8 *shifts*. Their tables are symmetric: a mean
below the nearest grey level uses the mirrored table of one above. Each (class, shift) has one table of the entropy
coder. Above eight grey levels of scale the lowest bits of a residual are as good as random. They are stored as raw bits
(`LOW_BITS`), so that alphabets stay short.

A token is  token = ((sign · (voxel − nearest)) >> low_bits) + reach,  or  2 · reach  for an escape. After an escape
the voxel itself follows in raw bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..constants import CLASSES
from ..dtypes import Bools, Float32s, Float64s, Int32s, Int64s, Integers, Levels, UInt8s, UInt16s
from ..runtime.compiled import entry, part

CLASS_ORIGIN = 64  # class 0 begins at scale index −64: 2^-6 grey levels
FRACTION = 16  # means are in sixteenths of a grey level


def class_log_scale(c: int) -> float:
    """Return log2 of the scale in the middle of class c, in grey levels."""
    return (4 * c + 1.5 - CLASS_ORIGIN) / 16 - 2


# Shifts are at most half a scale apart: rounding the mean to them costs less than 0.005 bit.
SHIFTS = np.array([8] * 20 + [4] * 4 + [2] * 4 + [1] * 48, np.int64)
_SHIFT_BITS = np.array([n.bit_length() - 1 for n in SHIFTS.tolist()], np.int64)
# From a scale of eight grey levels on, a token stands for several residuals: a scale then spans 8 to 16 tokens.
LOW_BITS = np.array([max(c // 4 - 9, 0) for c in range(CLASSES)], np.int64)
# 3 + 14 scales, in tokens.
REACH = np.array(
    [4] * 9 + [5] * 4 + [6, 6, 7, 7, 8, 9, 10, 11, 12, 14, 16, 18, 21, 25, 29, 33, 39, 46, 54, 63, 75, 88, 104]
    + [123, 146, 173, 205] * 10,
    np.int64,
)  # fmt: skip
FIRST_TABLE = np.concatenate([[0], np.cumsum(SHIFTS // 2 + 1)])[:-1].astype(np.int64)
TABLES = int(FIRST_TABLE[-1] + SHIFTS[-1] // 2 + 1)
CLASS_OF_TABLE = np.searchsorted(FIRST_TABLE, np.arange(TABLES), side="right") - 1


class Voxels(NamedTuple):
    """Voxels in the order of coding, and what is known of them before their symbols.

    voxel int16 or int32 [v]   grey levels; in decoding an output, and int32
    mean uint16 or int32 [v]   in sixteenths of a grey level
    classes uint8 [v]          whose tables are used
    settled bool [v]           whether a flag says that the voxel has the peak's level, so that it has no symbol
    """

    voxel: Levels
    mean: Integers
    classes: UInt8s
    settled: Bools


class RawBits(NamedTuple):
    """The raw bits of a slab that is being decoded.

    data uint8 [bytes]   the bits, least significant bit first
    limit                the largest grey level
    bits                 how many raw bits a grey level takes
    """

    data: UInt8s
    limit: int
    bits: int


@entry
def place(mean: Any, c: Any) -> tuple[int, int, int]:
    """Return the grey level nearest to a mean in sixteenths, the sign (−1 if the table is mirrored), and the table."""
    n = SHIFTS[c]
    q = (mean * n + FRACTION // 2) >> 4  # in 1/n of a grey level
    nearest = (q + (n >> 1)) >> _SHIFT_BITS[c]
    shift = q - nearest * n
    if shift < 0:
        return nearest, -1, FIRST_TABLE[c] - shift
    return nearest, 1, FIRST_TABLE[c] + shift


@entry
def ascending(mean: Any, c: Any) -> tuple[int, int, int]:
    """Locate tokens that are ordered by ascending grey level; see `place`.

    Returns the first level of token `reach`, 1 if the table is mirrored or else 0, and the table.
    """
    nearest, sign, table = place(mean, c)
    return (nearest, 0, table) if sign > 0 else (nearest + 1, 1, table)


@entry
def locate(mean: Int32s, classes: UInt8s, table: UInt16s) -> None:
    """Write the table of every voxel: mean int32 [v], classes uint8 [v]; out: table uint16 [v]."""
    for v in range(mean.shape[0]):
        table[v] = place(np.int64(mean[v]), np.int64(classes[v]))[2]


@entry
def to_symbols(voxels: Voxels, table: UInt16s, token: UInt16s) -> None:
    """Write tables uint16 [v] and tokens uint16 [v] of voxels, settled or not; the token of an escape is 2 · reach."""
    voxel, mean, classes = voxels.voxel, voxels.mean, voxels.classes
    for v in range(voxel.shape[0]):
        c = np.int64(classes[v])
        nearest, sign, table[v] = place(np.int64(mean[v]), c)
        t = ((sign * (voxel[v] - nearest)) >> LOW_BITS[c]) + REACH[c]
        token[v] = t if 0 <= t < 2 * REACH[c] else 2 * REACH[c]


@part
def price(voxel: Any, mean: Any, c: Any, code_length: Float32s, bits: int) -> Any:
    """Return the bits of a voxel, including raw bits: float32. `code_length` as for `correct`."""
    nearest, sign, table = place(np.int64(mean), c)
    t = ((sign * (voxel - nearest)) >> LOW_BITS[c]) + REACH[c]
    if 0 <= t < 2 * REACH[c]:
        return np.float32(code_length[table, t] + LOW_BITS[c])
    return np.float32(code_length[table, 2 * REACH[c]] + bits)


@entry
def prices(voxels: Voxels, code_length: Float32s, bits: int, out: Float32s) -> None:
    """Write the `price` of every voxel, settled or not, to `out` float32 [v]."""
    voxel, mean, classes = voxels.voxel, voxels.mean, voxels.classes
    for v in range(voxel.shape[0]):
        out[v] = price(voxel[v], mean[v], classes[v], code_length, bits)


@entry
def raw_bits(voxels: Voxels, token: UInt16s, bits: int, out: UInt8s) -> int:
    """Write the raw bits of voxels that are not settled, in order, least significant bit first.

    These are the low bits of a residual, or all `bits` bits of the voxel after an escape. Returns the number of bits.
    An empty `out` uint8 only counts them.
    """
    voxel, mean, classes, settled = voxels
    position = 0
    write = out.shape[0] > 0
    for v in range(voxel.shape[0]):
        if settled[v]:
            continue
        c = np.int64(classes[v])
        if token[v] == 2 * REACH[c]:
            size, value = bits, np.int64(voxel[v])
        else:
            size = LOW_BITS[c]
            if size == 0:
                continue
            nearest, sign, _ = place(np.int64(mean[v]), c)
            value = (sign * (voxel[v] - nearest)) & ((1 << size) - 1)
        if write:
            for b in range(size):
                out[(position + b) >> 3] |= np.uint8(((value >> b) & 1) << ((position + b) & 7))
        position += size
    return position


@entry
def to_voxels(voxels: Voxels, token: UInt16s, raw: RawBits, position: int) -> int:
    """Invert `to_symbols` and `raw_bits` for one front.

    Writes `voxels.voxel` where it is not settled; raw bits are read from bit `position` on. Returns the position after
    them, or −1 if the raw bits end too soon or a voxel lies outside 0 … limit.
    """
    voxel, mean, classes, settled = voxels
    data, limit, bits = raw
    end = data.shape[0] << 3
    for v in range(mean.shape[0]):
        if settled[v]:
            continue
        c = np.int64(classes[v])
        escaped = token[v] == 2 * REACH[c]
        size = bits if escaped else LOW_BITS[c]
        if position + size > end:
            return -1
        value = np.int64(0)
        for b in range(size):
            value |= np.int64((data[(position + b) >> 3] >> ((position + b) & 7)) & 1) << b
        position += size
        if not escaped:
            nearest, sign, _ = place(np.int64(mean[v]), c)
            value = nearest + sign * (((np.int64(token[v]) - REACH[c]) << LOW_BITS[c]) | value)
        if value < 0 or value > limit:
            return -1
        voxel[v] = value
    return position


# ------------------------------------------------------------------------------------------ corrections of the classes

SPAN = 8  # a class may use the tables of a class up to this many quarter octaves away
SAMPLE = 1 << 18  # voxels by which the encoder chooses


@entry
def _prices(voxels: Voxels, step: int, code_length: Float32s, bits: int, price: Float64s) -> None:
    """Add the bits of every class under the tables of every class near it to `price` float64 [CLASSES, 2·SPAN + 1]."""
    voxel, mean, classes, settled = voxels
    for v in range(0, voxel.shape[0], step):
        if settled[v]:
            continue
        c = np.int64(classes[v])
        for d in range(-SPAN, SPAN + 1):
            other = c + d
            if other < 0 or other >= CLASSES:
                continue
            nearest, sign, table = place(np.int64(mean[v]), other)
            t = ((sign * (voxel[v] - nearest)) >> LOW_BITS[other]) + REACH[other]
            if 0 <= t < 2 * REACH[other]:
                price[c, d + SPAN] += code_length[table, t] + LOW_BITS[other]
            else:
                price[c, d + SPAN] += code_length[table, 2 * REACH[other]] + bits


def correct(voxels: Voxels, code_length: Float32s, bits: int) -> Int64s:
    """Find the class whose tables suit every class of this slab best.

    Returns steps int64 [CLASSES] within ±SPAN, 0 where a change does not pay. Voxels that are settled do not count.

    code_length float32 [TABLES, longest alphabet]   bits of every symbol of every table
    """
    step = max(1, voxels.voxel.size // SAMPLE)
    price = np.zeros((CLASSES, 2 * SPAN + 1))
    _prices(voxels, step, code_length, bits, price)
    outside = np.add.outer(np.arange(CLASSES), np.arange(-SPAN, SPAN + 1))
    price[(outside < 0) | (outside >= CLASSES)] = np.inf
    best = price.argmin(axis=1)
    saved = (price[:, SPAN] - price.min(axis=1)) * step
    return np.where(saved > 8, best - SPAN, 0)  # a step other than 0 costs about eight bits
