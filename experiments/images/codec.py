"""What every system is: an image in, bytes out, and the same image again on every machine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from volcomp.dtypes import Int32s, UInt8s
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.wire.cursor import Cursor, varint

from .symbols import Coder, Planes

SIDE = 1 << 12  # of an image, at most
Shapes = Sequence[tuple[int, int]]


class ImageCodec(Protocol):
    """A codec of single 8-bit images uint8 [y, x]."""

    name: str

    def encode(self, image: UInt8s) -> bytes:
        """Return all bytes that a decoder needs."""
        ...

    def decode(self, data: bytes) -> UInt8s:
        """Return what comes back, the same on every machine; DamagedError for bytes that `encode` does not write."""
        ...


class PlanesCodec(ABC):
    """A codec that turns an image into planes of integers, which a fitted `Coder` codes.

    The bytes: rows and columns, then the planes. Sides that `multiple` does not divide are filled up with the edge.
    """

    multiple = 1

    def __init__(self, name: str) -> None:
        self.name = name
        self.coder: Coder | None = None

    @abstractmethod
    def analyse(self, image: UInt8s) -> Planes:
        """Return the planes of an image whose sides are multiples of `multiple`."""

    @abstractmethod
    def shapes(self, rows: int, columns: int) -> Shapes:
        """Return the shapes of these planes; UnsupportedError where images of this size have none."""

    @abstractmethod
    def synthesise(self, planes: Sequence[Int32s]) -> UInt8s:
        """Return the image of any planes of these shapes, in integers."""

    def fit(self, images: Sequence[UInt8s]) -> None:
        """Fit the coder's tables to images."""
        self.coder = Coder.fitted([self.analyse(self._filled(image)) for image in images])

    def encode(self, image: UInt8s) -> bytes:
        """Return all bytes that a decoder needs."""
        assert self.coder
        rows, columns = image.shape
        if not 0 < rows <= SIDE or not 0 < columns <= SIDE:
            raise UnsupportedError(f"an image has 1 to {SIDE} rows and columns, not {rows}×{columns}")
        filled = self._filled(image)
        self.shapes(*filled.shape)
        return varint(rows) + varint(columns) + self.coder.encode(self.analyse(filled))

    def decode(self, data: bytes) -> UInt8s:
        """Return what comes back."""
        assert self.coder
        cursor = Cursor(data, "an image")
        rows, columns = cursor.varints(2, SIDE)
        if not rows or not columns:
            raise cursor.damaged()
        m = self.multiple
        try:
            shapes = self.shapes(-(-rows // m) * m, -(-columns // m) * m)
        except UnsupportedError as error:
            raise DamagedError(f"an image has a size that no encoder takes: {error}") from error
        return self.synthesise(self.coder.decode(cursor.rest(), shapes))[:rows, :columns]

    def _filled(self, image: UInt8s) -> UInt8s:
        rows, columns = image.shape
        return np.pad(image, ((0, -rows % self.multiple), (0, -columns % self.multiple)), mode="edge")
