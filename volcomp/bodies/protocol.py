"""The interface of a body codec: how the bytes of an image become planes of voxels, and the image again.

A plane is a volume's worth of words of 8 or 16 bits: an image has one, or several for its colours or for the halves of
wide words. Files are restored by `Body.write` from planes and three strings of kept bytes. It never changes its output.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple, Protocol

from numpy.typing import NDArray

Planes = list[NDArray[Any]]  # uint8 or uint16 [z, Y, X], of one shape and type: some frames of every plane
Piece = bytes | memoryview


class Kept(NamedTuple):
    """The bytes of an image that are kept beside its voxels."""

    before: bytes  # the file, up to its voxels
    side: bytes  # what the bytes of the voxels are made with
    after: bytes  # the file, after its voxels


class Body(Protocol):
    """One body codec."""

    def write(self, kept: Kept, planes: Iterator[Planes]) -> Iterator[Piece]:
        """Yield the bytes of a file.

        Raises:
            DamagedError: where `kept.side` makes no sense or contradicts the planes.
        """
        ...


class Reading(Protocol):
    """How an encoder reads one image through a body codec."""

    number: int  # of the body codec; see `registry`
    planes: int
    bits: int  # of the words of every plane: 8 or 16

    def read(self, file: BinaryIO) -> Iterator[Planes]:
        """Yield all frames, from a file at any position.

        Raises:
            NotReproducible: where the voxels could not be written again.
        """
        ...

    @property
    def kept(self) -> Kept:
        """Return what `Body.write` needs beside the planes; valid when `read` is exhausted."""
        ...


class KeptAtLast:
    """What most readings have in common: `read` assigns `_kept` at its end."""

    _kept: Kept | None = None

    @property
    def kept(self) -> Kept:
        """Return the kept bytes; see `Reading.kept`."""
        assert self._kept is not None
        return self._kept
