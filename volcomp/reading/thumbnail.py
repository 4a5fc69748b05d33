"""One slice as a picture: its preview, of which alone is read, or the slice itself where there is none."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..archive.files import new_file
from ..errors import UnsupportedError
from .series import Series
from .view import grey, pillow, window

if TYPE_CHECKING:
    from .volume import Volume

SUFFIXES = (".png", ".jpg", ".jpeg")
_QUALITY = 90  # of JPEG


class Shown(NamedTuple):
    """What a picture shows."""

    slice: int
    size: tuple[int, int]  # width, height
    preview: bool  # of the lossy layer


def save(
    volume: Volume,
    target: str | os.PathLike[str],
    z: int | None = None,
    *,
    size: int | None = None,
    force: bool = False,
) -> Shown:
    """Write a slice as a `.png` or `.jpg` of 8 bits, between the 0.5th and the 99.5th percentile of its values.

    Parameters:
        volume: the volume; of a series in time the time point in the middle.
        target: the picture.
        z: the slice, by default the one in the middle.
        size: pixels that its longer side has at most.
        force: overwrite an existing file.

    Raises:
        UnsupportedError: Pillow is not installed; for another suffix, or a slice that there is not.
        TargetError: `target` exists, or cannot be written.
        DamagedError: the archive is damaged; nothing has been written.
    """
    path = Path(target)
    if path.suffix.lower() not in SUFFIXES:
        raise UnsupportedError(f"{path} ends with none of {', '.join(SUFFIXES)}, which say what to write")
    image_of, _, _ = pillow()
    with new_file(path, force=force) as (file, _):
        values, z, coarse = _slice(volume, z, size)
        picture = image_of.fromarray(grey(values, *window([values])))
        if size and max(picture.size) > size:
            picture.thumbnail((size, size), image_of.Resampling.LANCZOS)
        data = io.BytesIO()
        picture.save(data, "PNG" if path.suffix.lower() == ".png" else "JPEG", quality=_QUALITY)
        file.write(data.getvalue())
    return Shown(z, picture.size, coarse)


def _slice(volume: Volume, z: int | None, size: int | None) -> tuple[np.ndarray, int, bool]:
    """Return a slice, its number, and whether it is the preview."""
    if volume.ndim == 2:
        return (volume.preview(), 0, True) if volume.has_preview else (np.asarray(volume.rescaled()), 0, False)
    series = isinstance(volume, Series)
    depth = volume.shape[1] if series else volume.shape[0]
    z = depth // 2 if z is None else z
    if not 0 <= z < depth:
        raise UnsupportedError(f"{volume.name} has slices 0 to {depth - 1}, and no slice {z}")
    if series or not volume.has_preview:
        return np.asarray(volume.rescaled((volume.shape[0] // 2, z) if series else z)), z, False
    longest, reduce = max(volume.shape[1:3]), 0
    while size and longest >> (reduce + 1) >= size:
        reduce += 1
    return volume.preview(z, reduce), z, True
