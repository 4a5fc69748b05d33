"""The samples of images, of the planes that they became: colours side by side, words of 32 bits joined, numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..bodies import gzipped
from ..bodies.bits import Packing
from ..bodies.numbers import Side
from ..bodies.planes import Kind, Map
from ..bodies.protocol import Planes
from ..bodies.samples import Order
from ..errors import UnsupportedError
from ..wire.cursor import Cursor
from .apart import WHAT, Apart

# Numbers of body codecs.
_NATIVE = (0, 1)
_SAMPLES, _DEFLATED, _NUMBERS, _BITS, _GZIPPED, _PNG = 2, 4, 5, 6, 8, 9
_ENCAPSULATED = (3, 7)


class Samples(Protocol):
    """How planes become the samples of an image. Those of several images are equal where they do it in the same way."""

    @property
    def type(self) -> np.dtype[Any]:
        """Their type."""
        ...

    @property
    def components(self) -> int:
        """How many a pixel has."""
        ...

    @property
    def planes(self) -> int:
        """How many planes they are made of."""
        ...

    @property
    def picture_alone(self) -> bool:
        """Whether bits beyond those of the picture lie in another plane."""
        ...

    def join(self, planes: Planes, at: int) -> np.ndarray:
        """Return the samples [z, Y, X], or [z, Y, X, components] of several, of planes [z, Y, X] that begin with slice
        `at` of the volume. Raises DamagedError."""
        ...


@dataclass(frozen=True)
class _Mapped:
    """Samples that a map makes of planes."""

    map: Map

    @property
    def type(self) -> np.dtype[Any]:
        return self.map.type

    @property
    def components(self) -> int:
        return self.map.components

    @property
    def planes(self) -> int:
        return self.map.planes

    @property
    def picture_alone(self) -> bool:
        return self.map.kind == Kind.STORED

    def join(self, planes: Planes, at: int) -> np.ndarray:
        return _side_by_side(self.map.inverse(planes))


@dataclass(frozen=True, eq=False)
class _Numbers:
    """Numbers of an image, whose code may differ from slice to slice."""

    side: Side
    first: int  # slice of the image in the volume

    picture_alone = False

    @property
    def type(self) -> np.dtype[Any]:
        return self.side.words.type

    @property
    def components(self) -> int:
        return self.side.own

    @property
    def planes(self) -> int:
        return self.side.planes

    def join(self, planes: Planes, at: int) -> np.ndarray:
        return _side_by_side(self.side.numbers(planes, at - self.first))


def samples_of(
    body: int, side: bytes, first: int, words: np.dtype[Any], again: Callable[[], bytes] | None = None
) -> Samples:  # fmt: skip
    """Return how the samples of an image are made.

    Parameters:
        body: number of the body codec.
        side: what is kept beside its voxels (`Kept.side`).
        first: slice of the image in its volume.
        words: the type of the volume's voxels, which are samples where the body has one plane of words.
        again: returns `side`, which is not held where it is large.

    Raises:
        DamagedError: where the side makes no sense.
        UnsupportedError: for a body that this module does not know.
    """
    if body in _NATIVE:
        return _Mapped(Map(Kind.SAME, words, 1))
    if body == _SAMPLES:
        return _Mapped(Order.decoded(side).map)
    if body in _ENCAPSULATED:
        return _Mapped(Map.decoded(Cursor(side, "the kept frame of a compressed image")))
    if body == _PNG:
        return _Mapped(Map.decoded(Cursor(side, "what is kept of a PNG")))
    if body == _DEFLATED:
        cursor = Cursor(side, "what is kept of a deflated data set")
        cursor.varint()
        return _Mapped(Order.decoded(cursor.string()).map)
    if body == _BITS:
        packing = Packing.decoded(Cursor(side, "the kept packing of samples"))
        return _Mapped(Map(Kind.SAME, packing.word, packing.components))
    if body == _NUMBERS:
        found = Side.decoded(Cursor(side, WHAT))
        return Apart(found, first, again or (lambda: side)) if found.streams else _Numbers(found, first)
    if body == _GZIPPED:
        number, inner = gzipped.inner(side)
        fetch = again or (lambda: side)
        return samples_of(number, inner, first, words, lambda: gzipped.inner(fetch())[1])
    raise UnsupportedError(f"the samples of images of body codec {body} are not known to this version")


def is_plain(body: int) -> bool:
    """Return whether the words of one plane are the samples of an image, whatever is kept beside them."""
    return body in _NATIVE


def is_coded(found: Samples, words: np.dtype[Any]) -> bool:
    """Return whether samples are the words of one plane, of this type."""
    return isinstance(found, _Mapped) and found.map == Map(Kind.SAME, words, 1)


def _side_by_side(samples: np.ndarray) -> np.ndarray:
    """Return samples [c, z, Y, X] as [z, Y, X], or [z, Y, X, c] of several components."""
    return samples[0] if len(samples) == 1 else np.moveaxis(samples, 0, -1)
