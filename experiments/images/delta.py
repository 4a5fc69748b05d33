"""Lossless: what a lossy codec gives back, and the difference to the image, by one of several coders."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from contextlib import closing
from typing import NamedTuple

import numpy as np

from volcomp.codec.decode import decode_slabs
from volcomp.codec.encode import ArraySource, encode_slabs
from volcomp.dtypes import UInt8s
from volcomp.errors import DamagedError
from volcomp.options import DecodeOptions, EncodeOptions
from volcomp.wire.cursor import Cursor, varint

from . import standards
from .codec import ImageCodec

MIDDLE = 128  # stands for no difference


class DeltaCoder(NamedTuple):
    """Codes an image of which both sides know a reconstruction: (image, reconstruction) → bytes, and back."""

    title: str
    encode: Callable[[UInt8s, UInt8s], bytes]
    decode: Callable[[bytes, UInt8s], UInt8s]


def difference(image: UInt8s, reconstruction: UInt8s) -> UInt8s:
    """Return the difference modulo 256, as an image about MIDDLE."""
    return (image - reconstruction + np.uint8(MIDDLE)).astype(np.uint8)


def _restored(delta: UInt8s, reconstruction: UInt8s) -> UInt8s:
    if delta.shape != reconstruction.shape:
        raise DamagedError("a difference has another size than its image")
    return (delta + reconstruction - np.uint8(MIDDLE)).astype(np.uint8)


def _of_differences(
    title: str, encode: Callable[[UInt8s], bytes], decode: Callable[[bytes, tuple[int, ...]], UInt8s]
) -> DeltaCoder:
    return DeltaCoder(
        title,
        lambda image, known: encode(difference(image, known)),
        lambda data, known: _restored(decode(data, known.shape), known),
    )


def _huffman(image: UInt8s) -> bytes:
    """Huffman codes for the image, and the table of them, by Deflate without its matches."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_HUFFMAN_ONLY)
    return deflate.compress(image.tobytes()) + deflate.flush()


def _unhuffman(data: bytes, shape: tuple[int, ...]) -> UInt8s:
    size = int(np.prod(shape))
    try:
        pixels = zlib.decompressobj(-15).decompress(data, size + 1)
    except zlib.error as error:
        raise DamagedError(f"a difference cannot be decoded: {error}") from error
    if len(pixels) != size:
        raise DamagedError("a difference has another size than its image")
    return np.frombuffer(pixels, np.uint8).reshape(shape)


def volcomp_bytes(image: UInt8s, known: UInt8s | None, model: str = "base") -> bytes:
    """Code an image as a slice of volcomp, with another one as its reference where there is one.

    The bytes are those of the sections of a volume that refers to a key, as in a time series. Those of the key, which
    is known, are not counted.
    """
    reference = None if known is None else ArraySource(np.ascontiguousarray(known[None]))
    options = EncodeOptions(model, verify=False, threads=1, device="cpu")
    header, slabs = encode_slabs(ArraySource(np.ascontiguousarray(image[None])), options, reference=reference)
    with closing(slabs):
        payload = next(slabs).payload
    return varint(len(header)) + header + payload


def volcomp_image(data: bytes, known: UInt8s | None) -> UInt8s:
    """Return the image that `volcomp_bytes` coded."""
    cursor = Cursor(data, "an image")
    header, payload = cursor.string(), cursor.rest()
    options = DecodeOptions(threads=1, device="cpu")
    key = None if known is None else (lambda k: np.ascontiguousarray(known[None]))
    with closing(decode_slabs(header, {0: payload}, options, key=key)) as slabs:
        _, voxels = next(slabs)
    if isinstance(voxels, DamagedError):
        raise voxels
    return np.asarray(voxels[0], np.uint8)


CODERS: dict[str, DeltaCoder] = {
    "huffman": _of_differences("Huffman", _huffman, _unhuffman),
    "png": _of_differences("PNG", standards.png, lambda data, shape: standards.decode_png(data)),
    "jpegxl": _of_differences(
        "JPEG XL e9", standards.lossless_jpeg_xl, lambda data, shape: standards.decode_jpeg_xl(data)
    ),
    "volcomp": _of_differences(
        "volcomp", lambda delta: volcomp_bytes(delta, None), lambda data, shape: volcomp_image(data, None)
    ),
    "context": DeltaCoder("volcomp, the image in the reconstruction's context", volcomp_bytes, volcomp_image),
}


class Lossless:
    """A codec and a coder of the differences: all bytes of both, and the image as it was."""

    def __init__(self, lossy: ImageCodec, coder: DeltaCoder) -> None:
        self.name = f"{lossy.name} + delta"
        self._lossy, self._coder = lossy, coder

    def encode(self, image: UInt8s) -> bytes:
        """Return the length of the lossy part, this part, and the rest."""
        lossy = self._lossy.encode(image)
        return varint(len(lossy)) + lossy + self._coder.encode(image, self._lossy.decode(lossy))

    def decode(self, data: bytes) -> UInt8s:
        """Return the image."""
        cursor = Cursor(data, "an image")
        known = self._lossy.decode(cursor.string())
        return self._coder.decode(cursor.rest(), known)
