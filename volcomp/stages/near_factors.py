"""Near factors: how much more or less often a voxel has the grey level of a neighbour, or one at a distance from it.

Images whose contrast was stretched region by region, after their levels were rounded, have combs that drift: nearby
voxels differ by 0, 3 or 6 levels and hardly ever by 1, but which levels occur changes from place to place, so that no
level factor can tell. Where it pays, a slab of one slice states an exponent in eighths of an octave for each distance
0, 1, … The probability of a level is multiplied by the factors of its distances to four neighbours.
(`level_factors.py` multiplies before; `ans_by_voxel.py` codes.)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..dtypes import Float64s, Int32s, Int64s, Levels
from ..errors import DamagedError
from ..runtime.compiled import entry, part
from ..runtime.scalars import larger, smaller
from ..wire import rice
from . import symbols
from .level_factors import EIGHTHS, HIGHEST, LOWEST, UNIT, Weighing, weigh
from .symbols import Voxels

NEAREST = np.array([(0, -1), (-1, 0), (-1, -1), (-1, 1)])  # rows and voxels from a voxel to its neighbours
MOST = 16  # exponents
_FACTORS = np.array(
    [EIGHTHS[e & 7] << (e >> 3) if e >= 0 else EIGHTHS[e & 7] >> -(e >> 3) for e in range(LOWEST, HIGHEST + 1)],
    np.int64,
)
_LARGEST = (1 << 32) - 1  # of a weighted count

# The encoder's search.
STATED = 9  # exponents
SAMPLE = 1 << 14  # voxels
ROUNDS, PRIOR = 10, 3.0
# Differences of 1 between voxels side by side, in tenths of those of 0, from which on no comb is expected. (Noise has
# about twice as many; the combs that were seen have 2 to 4 tenths.)
NO_COMB = 6


class Walk(NamedTuple):
    """The order in which the voxels of a slab of one slice are coded.

    shape            Y, X
    lag              times from the start of a row to that of the next
    fronts int64 [f, 3]   time, first row and the row past the last of every front that has voxels
    """

    shape: tuple[int, int]
    lag: int
    fronts: Int64s


class Near(NamedTuple):
    """The exponents of a slab and the levels that are known.

    exponents int64 [n]     by distance; none if the slab states none
    image int32 [Y, X]      grey levels, where they are known
    fronts, lag             of `Walk`
    front int64 [1]         the number of the front that is decoded next
    scratch int64 [longest] the exponents of one voxel's tokens
    """

    exponents: Int64s
    image: Int32s
    fronts: Int64s
    lag: int
    front: Int64s
    scratch: Int64s


def without(weighing: Weighing) -> Near:
    """Return what stands for near factors where a slab has none."""
    return prepared(weighing, Walk((0, 0), 0, np.zeros((0, 3), np.int64)), np.empty(0, np.int64))


def prepared(weighing: Weighing, walk: Walk, exponents: Int64s) -> Near:
    """Prepare to code a slab."""
    image, scratch = np.zeros(walk.shape, np.int32), np.empty(weighing.products.size, np.int64)
    return Near(exponents, image, walk.fronts, walk.lag, np.zeros(1, np.int64), scratch)


@part
def favour(v: Any, f: Any, begin: Any, c: Any, escape: Any, weighing: Weighing, near: Near) -> tuple[Any, Any, Any]:
    """Multiply the weighted counts of a voxel, the `v`th of front f, by the factors of its neighbours' levels.

    `begin`, the weight of the escape and `weighing.products` are those of `weigh`, of a class c whose tokens stand for
    one level each. Returns the three sums that `weigh` returns.
    """
    exponents, image, _, _, _, scratch = near
    reach = symbols.REACH[c]
    size, farthest = 2 * reach, exponents.shape[0] - 1
    y, x = place(v, f, near)
    of_token, out = scratch[:size], weighing.products[:size]
    for i in range(size):
        of_token[i] = 0
    for k in range(NEAREST.shape[0]):
        yy, xx = y + NEAREST[k, 0], x + NEAREST[k, 1]
        if yy >= 0 and 0 <= xx < image.shape[1]:
            at = np.int64(image[yy, xx]) - begin + reach
            for i in range(larger(at - farthest, 0), smaller(at + farthest + 1, size)):
                of_token[i] += exponents[abs(i - at)]
    below, above = np.int64(0), np.int64(0)
    for i in range(size):
        factor = _FACTORS[smaller(larger(of_token[i], LOWEST), HIGHEST) - LOWEST]
        product = smaller(np.int64(out[i]) * factor // UNIT, _LARGEST)
        out[i] = np.uint32(product)
        if i < reach:
            below += product
        else:
            above += product
    return below, below + above, below + above + escape


@part
def place(v: Any, f: Any, near: Near) -> tuple[Any, Any]:
    """Return row and column of the `v`th voxel of front f."""
    y = near.fronts[f, 1] + v
    return y, near.fronts[f, 0] - y * near.lag


def to_bytes(exponents: Int64s) -> bytes:
    """Serialise exponents int64 [n]: their number, and a list."""
    return bytes([exponents.size]) + rice.encode(exponents)


def from_bytes(data: bytes) -> Int64s:
    """Read the exponents that `to_bytes` wrote; DamagedError if it cannot have written the data."""
    if not data or not 0 < data[0] <= MOST:
        raise DamagedError(f"its near factors are not those of 1 to {MOST} distances")
    exponents = rice.decode(data[1:], data[0])
    if exponents.min() < LOWEST or exponents.max() > HIGHEST:
        raise DamagedError(f"its near factors leave 2^({LOWEST}/8) … 2^({HIGHEST}/8)")
    return exponents


# --------------------------------------------------------------------------------------------------------- the encoder


@entry
def show(voxel: Levels, near: Near) -> None:
    """Write the grey levels [v] of a whole slab, in the order of coding, to its image."""
    u = 0
    for f in range(near.fronts.shape[0]):
        for v in range(near.fronts[f, 2] - near.fronts[f, 1]):
            y, x = place(v, f, near)
            near.image[y, x] = voxel[u]
            u += 1


@entry
def _expect(voxels: Voxels, step: int, weighing: Weighing, near: Near, observed: Float64s, expected: Float64s) -> float:
    """Add how often each distance [n] to a neighbour occurs and is expected to, over every `step`th voxel.

    Voxels that are settled, or whose tokens stand for several levels, do not count. Returns the bits of the others.
    """
    voxel, mean, classes, settled = voxels
    image, farthest = near.image, near.exponents.shape[0] - 1
    bits, u = 0.0, -1
    for f in range(near.fronts.shape[0]):
        for v in range(near.fronts[f, 2] - near.fronts[f, 1]):
            u += 1
            c = np.int64(classes[u])
            if u % step or settled[u] or symbols.LOW_BITS[c]:
                continue
            begin, _, _, tokens, total = weigh(mean[u], c, weighing)
            _, tokens, total = favour(v, f, begin, c, total - tokens, weighing, near)
            size = 2 * symbols.REACH[c]
            own = np.int64(voxel[u]) - begin + symbols.REACH[c]
            weight = np.int64(weighing.products[own]) if 0 <= own < size else total - tokens
            bits -= np.log2(larger(weight, 1) / total)
            y, x = place(v, f, near)
            for k in range(NEAREST.shape[0]):
                yy, xx = y + NEAREST[k, 0], x + NEAREST[k, 1]
                if yy >= 0 and 0 <= xx < image.shape[1]:
                    at = np.int64(image[yy, xx]) - begin + symbols.REACH[c]
                    if abs(own - at) <= farthest:
                        observed[abs(own - at)] += 1
                    for i in range(larger(at - farthest, 0), smaller(at + farthest + 1, size)):
                        expected[abs(i - at)] += weighing.products[i] / total
    return bits


def _has_comb(image: Int32s) -> bool:
    """Tell whether differences of 1 between voxels side by side are rare."""
    differences = np.abs(np.diff(image, axis=1))
    return bool(10 * np.count_nonzero(differences == 1) < NO_COMB * np.count_nonzero(differences == 0))


def find(voxels: Voxels, walk: Walk, weighing: Weighing, minimum_saving: float) -> Int64s | None:
    """Find the exponents int64 [STATED] that make a slab smallest; None where they do not pay.

    voxels           all of the slab, with their corrected classes
    weighing         with the level factors of the slab
    minimum_saving   the share of the bits of the voxels that count, which near factors must save
    """
    exponents = np.zeros(STATED, np.int64)
    slab = prepared(weighing, walk, exponents)
    show(voxels.voxel, slab)
    if not _has_comb(slab.image):
        return None
    step = max(1, voxels.voxel.size // SAMPLE)

    def expect() -> tuple[float, Float64s]:
        observed, expected = np.zeros(STATED), np.zeros(STATED)
        bits = _expect(voxels, step, weighing, slab._replace(exponents=exponents), observed, expected)
        return bits, 8 * np.log2((observed + PRIOR) / (expected + PRIOR))

    plain, lacking = expect()
    weighted = plain
    for _ in range(ROUNDS):
        # Half of what lacks, since voxels have several neighbours at a distance (Darroch & Ratcliff 1972).
        exponents = (exponents + np.rint(lacking / 2).astype(np.int64)).clip(LOWEST, HIGHEST)
        weighted, lacking = expect()
    saving = step * (plain - weighted) - 8 * len(to_bytes(exponents))
    return exponents if saving > minimum_saving * step * plain else None
