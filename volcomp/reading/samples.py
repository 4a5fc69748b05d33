"""The samples of images, of the planes that they became: colours side by side, words of 32 bits joined."""

from __future__ import annotations

import numpy as np

from ..bodies.planes import Map
from ..bodies.protocol import Planes
from ..bodies.samples import Order
from ..errors import UnsupportedError
from ..wire.cursor import Cursor

_SAMPLES, _ENCAPSULATED, _DEFLATED = 2, 3, 4


def map_of(body: int, side: bytes) -> Map:
    """Return the map of an image that has several planes.

    Parameters:
        body: number of the body codec.
        side: what is kept beside its voxels (`Kept.side`).

    Raises:
        DamagedError: where the side makes no sense.
        UnsupportedError: for a body that this module does not know.
    """
    if body == _SAMPLES:
        return Order.decoded(side).map
    if body == _ENCAPSULATED:
        return Map.decoded(Cursor(side, "the kept frame of a compressed image"))
    if body == _DEFLATED:
        cursor = Cursor(side, "what is kept of a deflated data set")
        cursor.varint()
        return Order.decoded(cursor.string()).map
    raise UnsupportedError(f"the samples of images of body codec {body} are not known to this version")


def join(found: Map, planes: Planes) -> np.ndarray:
    """Return the samples [z, Y, X], or [z, Y, X, components] of several, of planes [z, Y, X]. Raises DamagedError."""
    samples = found.inverse(planes)
    return samples[0] if len(samples) == 1 else np.moveaxis(samples, 0, -1)
