"""Streams of other encoders lie in `golden`; `picture` computes the image that each of them holds."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from volcomp.streams.jpeg2000.stream import HighThroughput, Jpeg2000
from volcomp.streams.protocol import FrameInfo

FOLDER = Path(__file__).parent / "golden"


class Image(NamedTuple):
    """What is in a golden file."""

    components: int
    rows: int
    columns: int
    precision: int
    signed: bool

    @property
    def info(self) -> FrameInfo:
        """What a container would state."""
        return FrameInfo(self.rows, self.columns, self.components, 8 if self.precision <= 8 else 16)


GOLDEN = {
    "grk_line.j2k": Image(1, 1, 70, 8, True),
    "grk_tile_parts.j2k": Image(3, 37, 41, 16, False),
    "ht_grk.j2k": Image(3, 37, 41, 12, False),
    "ht_grk_line.j2k": Image(1, 67, 1, 16, True),
    "ht_openjph.j2k": Image(1, 61, 57, 16, False),
    "ht_openjph_rgb.j2k": Image(3, 40, 52, 8, False),
    "imagecodecs.jp2": Image(1, 40, 56, 12, False),
    "opj_four.j2k": Image(4, 20, 20, 8, False),
    "opj_layers.j2k": Image(1, 48, 48, 12, True),
    "opj_one.j2k": Image(1, 1, 1, 8, False),
    "opj_precincts.j2k": Image(1, 64, 80, 8, False),
    "opj_predictable.j2k": Image(1, 40, 40, 16, True),
    "opj_rgb.jp2": Image(3, 33, 27, 8, False),
    "opj_rgb_plain.j2k": Image(3, 31, 18, 8, False),
    "opj_styles.j2k": Image(2, 29, 40, 10, False),
    "opj_tiles_offset.j2k": Image(1, 47, 61, 12, False),
}
LOSSY = "opj_lossy.j2k", Image(1, 64, 64, 12, False)


def codec(name: str) -> Jpeg2000:
    """Return the codec of a golden stream."""
    return HighThroughput() if name.startswith("ht_") else Jpeg2000()


def golden(name: str) -> bytes:
    """Return a golden stream."""
    return (FOLDER / name).read_bytes()


def picture(components: int, rows: int, columns: int, precision: int, signed: bool) -> np.ndarray[Any, Any]:
    """Return a grainy ramp inside a disk and a flat surround, of integers alone: [components, rows, columns]."""
    y, x = np.mgrid[:rows, :columns].astype(np.int64)
    mask = (1 << precision) - 1
    planes = []
    for k in range(components):
        smooth = (x * (7 + k) + y * 5) * (1 << precision) // (64 * (12 + k))
        grain = (x * 7919 + y * 104729 + k * 1299709) * 2654435761 >> 7 & mask >> 5
        disk = (x - columns // 2) ** 2 + (y - rows // 3) ** 2 < rows * columns // 9
        planes.append(np.where(disk, smooth + grain, (k + 1) * 3) & mask)
    shift = 1 << (precision - 1) if signed else 0
    return (np.stack(planes) - shift).astype(f"{'i' if signed else 'u'}{1 if precision <= 8 else 2}")
