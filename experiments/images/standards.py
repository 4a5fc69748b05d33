"""JPEG, JPEG 2000, JPEG XL, WebP and AVIF by libraries, and what codes without loss."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np

from volcomp.dtypes import UInt8s


def _pillow(kind: str, **options: Any) -> Callable[[UInt8s], bytes]:
    from PIL import Image

    def encode(image: UInt8s) -> bytes:
        file = io.BytesIO()
        Image.fromarray(image).save(file, kind, **options)
        return file.getvalue()

    return encode


def _decode_pillow(data: bytes) -> UInt8s:
    from PIL import Image

    with Image.open(io.BytesIO(data)) as picture:
        return np.array(picture.convert("L"))


def _jpeg_xl(distance: float, effort: int) -> Callable[[UInt8s], bytes]:
    import imagecodecs

    lossless = distance == 0
    return lambda image: bytes(
        imagecodecs.jpegxl_encode(image, distance=None if lossless else distance, lossless=lossless, effort=effort)
    )


def _decode_jpeg_xl(data: bytes) -> UInt8s:
    import imagecodecs

    return np.asarray(imagecodecs.jpegxl_decode(data))


class Standard:
    """A standard's codec at a quality, a ratio or a distance."""

    def __init__(self, name: str, encode: Callable[[UInt8s], bytes], decode: Callable[[bytes], UInt8s]) -> None:
        self.name = name
        self.encode, self.decode = encode, decode


def standard(name: str, point: float) -> Standard:
    """Make a codec.

    point   quality of jpeg, webp and avif; ratio of jpeg2000; distance of jpegxl
    """
    match name:
        case "jpeg":
            return Standard(name, _pillow("JPEG", quality=round(point), optimize=True), _decode_pillow)
        case "jpeg2000":
            encode = _pillow("JPEG2000", quality_mode="rates", quality_layers=[point], irreversible=True)
            return Standard(name, encode, _decode_pillow)
        case "jpegxl":
            return Standard(name, _jpeg_xl(point, 7), _decode_jpeg_xl)
        case "webp":
            return Standard(name, _pillow("WEBP", quality=round(point), method=6), _decode_pillow)
        case "avif":
            # Not imagecodecs, which writes grey images without loss at every level (2026.3.6).
            return Standard(name, _pillow("AVIF", quality=round(point), speed=6), _decode_pillow)
    raise KeyError(name)


NAMES = ("jpeg", "jpeg2000", "jpegxl", "webp", "avif")


def png(image: UInt8s) -> bytes:
    """The smallest PNG that Pillow writes."""
    return _pillow("PNG", optimize=True)(image)


def lossless_jpeg_xl(image: UInt8s) -> bytes:
    """JPEG XL without loss at effort 9."""
    return _jpeg_xl(0, 9)(image)


decode_png, decode_jpeg_xl = _decode_pillow, _decode_jpeg_xl
