"""Neighbourhoods: the voxels that a prediction may read, as tuples of offsets.

An offset is (dz, dy, dx), relative to the voxel that is predicted, and causal: it points to a voxel that comes
earlier in raster order, so a decoder already knows it. The families follow Nagoor et al. 2022 ("Sampling strategies
for learning-based 3D medical image compression"): cubes, and pyramids that taper towards older slices, in one, two or
three dimensions, with or without the voxels to the left in the current row. Discs are what volcomp's linear stage
uses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

Offset = tuple[int, int, int]  # dz, dy, dx
Neighbourhood = tuple[Offset, ...]

CURRENT: Offset = (0, 0, 0)


def is_causal(offset: Offset) -> bool:
    """Return whether the voxel at this offset comes before the current one in raster order (z slowest, x fastest)."""
    return offset < CURRENT  # tuples compare by their first difference, which is what raster order means


def cube(radius: int, coverage: int = 3, left: bool = True) -> Neighbourhood:
    """Return the causal half of a cube of (2·radius + 1)³ voxels, in raster order.

    coverage: 1 takes the current row alone, 2 the current slice, 3 the slices before it as well.
    left: False leaves out the voxels to the left in the current row, so that a decoder can decode a whole row at once.

    Raises ValueError for a radius below 1, another coverage, or where no voxel remains (a row without its left part).
    """
    return pyramid((2 * radius + 1,) * (radius + 1), coverage, left)


def pyramid(sizes: Sequence[int], coverage: int = 3, left: bool = True) -> Neighbourhood:
    """Return squares of the given odd sizes, from the current slice (its causal half) backwards, in raster order.

    `pyramid((13, 9, 5, 1))` is the best shape of the publication: 84 + 81 + 25 + 1 = 191 voxels. `cube`
    describes `coverage`, `left` and the errors.
    """
    if any(size < 1 or size % 2 == 0 for size in sizes):
        raise ValueError(f"the sizes of a pyramid are odd and at least 1, not {tuple(sizes)}")
    halves = [size // 2 for size in sizes]
    return _stack(halves, lambda depth, dy, dx: max(abs(dy), abs(dx)) <= halves[depth], coverage, left)


def disc(squared_radii: Sequence[int], coverage: int = 3, left: bool = True) -> Neighbourhood:
    """Return discs dy² + dx² ≤ r² with the given r², from the current slice (causal half) backwards, in raster order.

    `disc((10, 5, 2))` has 18 voxels in the slice, 21 in the slice before and 3 × 3 two before. `cube` describes
    `coverage`, `left` and the errors.
    """
    if any(squared < 0 for squared in squared_radii):
        raise ValueError(f"squared radii are at least 0, not {tuple(squared_radii)}")
    reach = [int(squared**0.5) for squared in squared_radii]
    return _stack(reach, lambda depth, dy, dx: dy * dy + dx * dx <= squared_radii[depth], coverage, left)


def nearest_first(offsets: Neighbourhood) -> Neighbourhood:
    """Sort by Euclidean distance in voxels. Of equals, the one nearest in z, then in y, then to the left is first."""
    return tuple(sorted(offsets, key=lambda o: (sum(d * d for d in o), abs(o[0]), abs(o[1]), o)))


def farthest_first(offsets: Neighbourhood) -> Neighbourhood:
    """Sort in the reverse order of `nearest_first`, for a recurrent network that should see the nearest voxels last."""
    return nearest_first(offsets)[::-1]


def margins(offsets: Neighbourhood) -> tuple[int, int]:
    """Return the reach of a neighbourhood, for `pad`: (slices before, voxels to any side within the slice)."""
    before = max((-dz for dz, _, _ in offsets), default=0)
    radius = max((max(abs(dy), abs(dx)) for _, dy, dx in offsets), default=0)
    return before, radius


def _stack(reach: Sequence[int], inside: Callable[[int, int, int], bool], coverage: int, left: bool) -> Neighbourhood:
    """List the causal offsets up to `reach[depth]` voxels off, `depth` slices back, and `inside(depth, dy, dx)`."""
    if coverage not in (1, 2, 3):
        raise ValueError(f"a neighbourhood covers 1 (row), 2 (slice) or 3 dimensions, not {coverage}")
    offsets = [
        (-depth, dy, dx)
        for depth, r in enumerate(reach if coverage == 3 else reach[:1])
        for dy in range(-r if coverage > 1 else 0, r + 1)
        for dx in range(-r, r + 1)
        if is_causal((-depth, dy, dx)) and inside(depth, dy, dx) and (left or (depth, dy) != (0, 0))
    ]
    if not offsets:
        raise ValueError("no voxel is left in this neighbourhood: make it larger, or keep the voxels to the left")
    return tuple(sorted(offsets))
