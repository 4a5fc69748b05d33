"""The part of the conformance decoder for references, from docs/format.md alone."""

import numpy as np

from tests.conformance.decoder_bits import Reader, check

Offset = tuple[int, int, int]


def nearest(voxels: np.ndarray, values: list[int]) -> np.ndarray:
    """Time points: the rank of the nearest value, of two the lower one."""
    ranks = {v: min(range(len(values)), key=lambda i: (abs(values[i] - v), i)) for v in set(voxels.ravel().tolist())}
    return np.array([ranks[v] for v in voxels.ravel().tolist()]).reshape(voxels.shape)


def discs(data: Reader, reference: np.ndarray | None) -> list[Offset]:
    """Slab: the neighbours in the reference, in their order."""
    check(reference is not None, "refers to nothing")
    radii = data.number(1), data.number(1) - 1
    check(max(radii) <= 49, "discs in the reference")
    return [o for dz in (0, -1, 1) for o in _disc(dz, radii[dz != 0])]


def _disc(dz: int, radius2: int) -> list[Offset]:
    within = [(dy, dx) for dy in range(-7, 8) for dx in range(-7, 8) if dx * dx + dy * dy <= radius2]
    return [(dz, *o) for o in sorted(within, key=lambda o: (o[0] ** 2 + o[1] ** 2, -o[0], o[1]))]


def read(reference: np.ndarray | None, voxel: Offset, offset: Offset) -> int:
    """Time points: what a neighbour in the reference reads."""
    assert reference is not None
    z, y, x = (min(max(v + o, 0), side - 1) for v, o, side in zip(voxel, offset, reference.shape, strict=True))
    return int(reference[z, y, x])


def times(section: Reader) -> tuple[int, int]:
    """Time points of files: their number and order, in a header."""
    count, order = section.varint(), section.number(1)
    check(count > 0 and order <= 3, "time points of files")
    return count, order


def times_of(header: bytes) -> tuple[int, int]:
    """Time points of files: as `times`, of the section of a volume; order −1 where it has none."""
    section = Reader(header)
    flags = section.number(1)
    if flags & 2:
        section.varint()
    return times(section) if flags & 8 else (1, -1)
