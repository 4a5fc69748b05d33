"""Frames and samples of a file of an open archive: from the slabs of these alone, where that is possible."""

from __future__ import annotations

from io import BytesIO

import numpy as np

from ...archive.entry import Voxels
from ...archive.random_access import RandomAccess
from ...reading.samples import samples_of
from .frames import Shape, frames_of, syntax_of_frames
from .header import Header, read_header
from .protocol import Frames


def frames_in(header: Header, shape: Shape, numbers: list[int]) -> Frames:
    """Return frames of a whole file, numbered from 1. Raises as `frames_of`."""
    return Frames(frames_of(header, shape, numbers), syntax_of_frames(header.syntax, deflated=header.is_deflated))


def frames_of_archive(
    access: RandomAccess, name: str, *, shape: Shape, numbers: list[int], syntax: str
) -> Frames:  # fmt: skip
    """Return frames of a file of an archive: one by one where they have bytes of their own, else of the whole file."""
    entry = access.entry(name)
    if access.slices(entry) == shape.frames:
        found = [frame for frame in (access.frame(entry, n - 1) for n in numbers) if frame is not None]
        native = all(8 * len(frame) == shape.frame_bits for frame in found)
        if len(found) == len(numbers) and (native or access.is_encapsulated(entry)):
            return Frames(found, syntax)
    return frames_in(read_header(BytesIO(access.again(entry))), shape, numbers)


def samples_of_archive(access: RandomAccess, name: str, *, shape: Shape, frame: int) -> np.ndarray | None:
    """Return the samples [Y, X] or [Y, X, components] of a compressed frame, as its volume has them.

    None where they are not those of a volume.
    """
    entry = access.entry(name)
    if not access.is_encapsulated(entry) or access.slices(entry) != shape.frames:
        return None
    assert isinstance(entry.place, Voxels)
    planes, kept = access.planes(entry, frame - 1), access.kept(entry)
    assert kept is not None
    samples = samples_of(entry.place.body, kept.side, entry.place.first, planes[0].dtype)
    found: np.ndarray = samples.join(planes, entry.place.first + frame - 1)[0]
    return found
