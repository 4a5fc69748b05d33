"""Encode an image within a budget of bytes, and decode it: header, coefficients, and what is restored from them."""

from __future__ import annotations

import numpy as np

from ..dtypes import Int32s, Integers, UInt8s
from ..errors import DamagedError, UnsupportedError
from ..wire.cursor import Cursor
from . import coder, coefficients, header, postfilter, rate, transform, weights
from .bands import MOST_LEVELS, Layout, layout, view
from .header import Header
from .quantisation import Steps, band_steps, code_of, restore, shifts_of
from .transform import FRACTION

REDUCED = 16  # bits of the factors of smaller images
# 2^16 over the factor by which the low band of n levels exceeds grey levels: the square of T.800's K, to the power n.
SCALES = tuple(round(2**REDUCED / 1.230174105 ** (2 * n)) for n in range(MOST_LEVELS + 1))


def encode(image: Integers, budget: int | None = None, *, ratio: float | None = None) -> bytes:
    """Encode an image with loss.

    Parameters:
        image: [y, x] of uint8, int8, uint16 or int16.
        budget: bytes that the payload may have.
        ratio: instead of it, the ratio of the bytes of the pixels to those of the payload.

    Returns:
        The payload. It has as many bytes as fit into the budget, less if all is told.

    Raises:
        UnsupportedError: another type or shape, or a budget that not even the roughest image fits into.
    """
    if image.ndim != 2 or image.dtype.newbyteorder("=") not in header.TYPES:
        raise UnsupportedError(f"lossy images have two axes and 8 or 16 bits, not {image.dtype} {list(image.shape)}")
    if not 0 < image.size <= header.MOST_PIXELS or max(image.shape) > header.LONGEST:
        raise UnsupportedError(f"lossy images have 1 to {header.MOST_PIXELS} pixels, not {image.size}")
    if (budget is None) == (ratio is None):
        raise UnsupportedError("state either a budget of bytes or a ratio")
    if budget is None:
        assert ratio is not None
        if not ratio > 0:
            raise UnsupportedError(f"a ratio is above 0, not {ratio}")
        budget = int(image.size * image.itemsize / ratio)
    network = weights.network()
    info = np.iinfo(image.dtype)
    least, greatest = int(info.min), int(info.max)
    if image.itemsize > 1 or image.min() == image.max():
        least, greatest = int(image.min()), int(image.max())
    shape = (int(image.shape[0]), int(image.shape[1]))
    head = Header(image.dtype.newbyteorder("="), shape, least, greatest, Steps(0, (0, 0, 0)), False)
    places = layout(*shape)
    flat = analysed(image, head, places)
    room = budget - len(head.to_bytes())
    start = code_of(max((greatest - least) / 24, 1 / 4))
    written = rate.search(network, places, flat, room, start) if room >= 0 else None
    if written is None:
        raise UnsupportedError(f"an image of {shape[0]}×{shape[1]} pixels does not fit into {budget} bytes")
    shifts = shifts_of(rate.scale(flat, places, written.code), written.quantised, places)
    head = head._replace(steps=Steps(written.code, shifts))
    plane = restored(written.quantised, head, places)
    plain, better = (_error(image, finished(plane, head._replace(filtered=on))) for on in (False, True))
    return head._replace(filtered=better < plain).to_bytes() + written.payload.tobytes()


def decode(payload: bytes, *, reduce: int = 0, most_pixels: int = header.MOST_PIXELS) -> Integers:
    """Decode an image.

    Parameters:
        payload: of `encode`.
        reduce: halve the sides so many times, as far as the image has levels.
        most_pixels: a payload that states more is not decoded.

    Returns:
        The image [y, x] in the type that it had.

    Raises:
        DamagedError: a payload that is cut or that no encoder makes, as far as that can be seen.
        UnsupportedError: a version that is not known, or more than `most_pixels`.
    """
    cursor = Cursor(payload, "the lossy layer")
    head = header.read(cursor)
    if head.shape[0] * head.shape[1] > most_pixels:
        raise UnsupportedError(f"the lossy layer has {head.shape[0]}×{head.shape[1]} pixels, allowed are {most_pixels}")
    places = layout(*head.shape)
    quantised = read_coefficients(cursor.rest(), places)
    levels = min(max(reduce, 0), places.levels)
    plane = restored(quantised, head, places, levels)
    return finished(plane, head, levels)


def read_coefficients(data: bytes, places: Layout) -> Int32s:
    """Read the coefficients int32 [size]; DamagedError if the data cannot be those of this layout."""
    network = weights.network()
    coded: UInt8s = np.frombuffer(data, np.uint8)
    quantised, magnitudes = np.zeros(places.size, np.int32), np.zeros(places.size, np.uint8)
    state = coder.decoder(coded)
    sound = coefficients.read(
        network, coefficients.state(network, len(places.table)), places.table, quantised, magnitudes, state, coded
    )
    if not sound or state[coder.AT] < coded.size:
        raise DamagedError("the coefficients of the lossy layer are damaged")
    return quantised


def restored(quantised: Int32s, head: Header, places: Layout, levels: int = 0) -> Int32s:
    """Restore the image int32 [y, x] in 2^-FRACTION grey levels about the middle, without `levels` finest levels."""
    flat = np.zeros(places.size, np.int32)
    shifts = np.array([0, *head.steps.shifts], np.int64)
    restore(quantised, places.table, band_steps(places, head.steps.code), shifts, flat)
    arrays = [view(flat, row) for row in places.table]
    bands = [(arrays[i], arrays[i + 1], arrays[i + 2]) for i in range(len(arrays) - 3, 0, -3)]
    plane = transform.synthesise(arrays[0], bands[levels:])
    if not levels:
        return plane
    return ((plane.astype(np.int64) * SCALES[levels] + (1 << (REDUCED - 1))) >> REDUCED).astype(np.int32)


def finished(plane: Int32s, head: Header, levels: int = 0) -> Integers:
    """Filter a whole image if its header says so, and round to grey levels within the limits, in its type."""
    if head.filtered and not levels:
        plane = postfilter.improve(plane, weights.postfilter(), head.steps.code)
    rounded = ((plane.astype(np.int64) + (1 << (FRACTION - 1))) >> FRACTION) + head.middle
    pixels: Integers = np.clip(rounded, head.least, head.greatest).astype(head.dtype)
    return pixels


def _error(image: Integers, other: Integers) -> float:
    """Return the mean squared difference."""
    return float(((image.astype(np.float64) - other) ** 2).mean())


def analysed(image: Integers, head: Header, places: Layout) -> Int32s:
    """Transform an image: its coefficients int32 [size] in 2^-FRACTION grey levels."""
    plane = (image.astype(np.int32) - head.middle) << FRACTION
    low, bands = transform.analyse(plane, places.levels)
    flat = np.zeros(places.size, np.int32)
    for row, band in zip(places.table, [low, *(band for level in reversed(bands) for band in level)], strict=True):
        view(flat, row)[:] = band
    return flat
