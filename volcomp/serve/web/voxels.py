"""Slices for a screen: their values as 16-bit numbers, or as pictures of 8 bits between two values.

Browsers show 256 levels of a 16-bit grey PNG, so a viewer gets numbers, and makes grey of them itself.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ...errors import UnsupportedError
from ...reading.view import grey, pillow
from ..store.protocol import Picture, Store
from .stacks import Slice, Stack

# Centre and width in Hounsfield units, as departments set them.
CT = {
    "brain": ("Brain", 40.0, 80.0),
    "lung": ("Lung", -600.0, 1500.0),
    "bone": ("Bone", 480.0, 2500.0),
    "soft": ("Soft tissue", 50.0, 400.0),
    "abdomen": ("Abdomen", 60.0, 350.0),
}
MOST_BYTES = 8 << 20  # of one answer with the values of several slices


def presets(stack: Stack, modality: str) -> list[dict[str, Any]]:
    """Return the windows to choose from, as (key, label, centre and width); that between least and most has neither."""
    found: list[dict[str, Any]] = []
    if stack.first.samples > 1:
        return found
    middle = stack.slices[len(stack.slices) // 2]
    if middle.window:
        found.append({"key": "header", "label": "As stored", "centre": middle.window[0], "width": middle.window[1]})
    if modality == "CT":
        found += [{"key": key, "label": name, "centre": c, "width": w} for key, (name, c, w) in CT.items()]
    return [*found, {"key": "full", "label": "Full range", "centre": None, "width": None}]


def bounds(centre: float, width: float) -> tuple[float, float]:
    """Return the values that are black and white in a window (PS3.3, C.11.2.1.2.1)."""
    half = max(width - 1, 1e-6) / 2
    return centre - 0.5 - half, centre - 0.5 + half


def values_of(picture: Picture) -> np.ndarray:
    """Return the values of a frame in float64 [y, x], or colours [y, x, 3]."""
    if picture.samples.ndim == 3:
        return picture.samples
    return picture.values(picture.samples)


def numbers(store: Store, stack: Stack, first: int, end: int, kind: np.dtype[Any]) -> bytes:
    """Return the values of slices, little-endian, [z, y, x].

    Raises UnsupportedError for slices that there are not, too many at once, colours, and values that `kind` does not
    hold (then float32 does).
    """
    depth, rows, columns = stack.shape
    if not 0 <= first < end <= depth:
        raise UnsupportedError(f"slices {first} to {end - 1} were asked for; there are slices 0 to {depth - 1}")
    if stack.first.samples > 1:
        raise UnsupportedError("these are pictures in colour, of which there are no values; ask for pictures")
    if end - first > 1 and (end - first) * rows * columns * kind.itemsize > MOST_BYTES:
        raise UnsupportedError(f"{end - first} slices were asked for at once; ask for fewer, of {MOST_BYTES} bytes")
    out = np.empty((end - first, rows, columns), kind.newbyteorder("<"))
    for k, one in enumerate(stack.slices[first:end]):
        found = values_of(_picture(store, one))
        if kind.kind != "f":
            info = np.iinfo(kind)
            if found.min() < info.min or found.max() > info.max:
                raise UnsupportedError(f"slice {first + k} has values beyond {kind}; ask for float32")
        out[k] = found
    return out.tobytes()


def _picture(store: Store, one: Slice) -> Picture:
    picture = store.picture(one.instance, one.frame)
    if picture.samples.shape[:2] != one.shape:
        raise UnsupportedError("its pixels have another size than its header states")
    return picture


def png(
    store: Store, stack: Stack, z: int, window: tuple[float, float] | None, size: int | None = None
) -> bytes:  # fmt: skip
    """Return a slice as a PNG of 8 bits; without a window between its least and its greatest value.

    Raises UnsupportedError where there is no such slice, or it cannot be decoded here.
    """
    if not 0 <= z < len(stack.slices):
        raise UnsupportedError(f"slice {z} was asked for; there are slices 0 to {len(stack.slices) - 1}")
    image_of, _, _ = pillow()
    one = stack.slices[z]
    picture = _picture(store, one)
    found = values_of(picture)
    if found.ndim == 3:
        shown = found if found.dtype == np.uint8 else (found >> (8 * (found.itemsize - 1))).astype(np.uint8)
    else:
        low, high = bounds(*window) if window else (float(found.min()), float(found.max()))
        shown = grey(found, low, max(high, low + 1e-6))
        shown = 255 - shown if picture.inverted else shown
    image = image_of.fromarray(np.ascontiguousarray(shown))
    _, y, x = stack.spacing
    if not 0.99 < y / x < 1.01:  # pixels that are no squares
        tall = y > x
        new = (image.width, round(image.height * y / x)) if tall else (round(image.width * x / y), image.height)
        if max(new) <= 8192 and min(new) > 0:
            image = image.resize(new, image_of.Resampling.BILINEAR)
    if size:
        image.thumbnail((size, size), image_of.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3)
    return file.getvalue()
