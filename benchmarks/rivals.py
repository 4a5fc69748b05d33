"""volcomp's rivals, and volcomp itself, each behind the same two calls, so that all are measured alike.

A codec gets a volume [Z, Y, X] of uint16 whose values start at 0 and gives back its streams, one per slice or one for
all; their summed length is its size. The 2-D codecs go slice by slice, several slices at a time where threads are
given: so a picture archive would use them, and it is faster than their own threads. Each is told how many bits are in
use where it can be told, which saves JPEG XL and JPEG 2000 up to 0.1 %.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

import numpy as np
import zstandard

import volcomp


def _optional(package: str) -> Any:
    """A package, or None where it is not installed: the demo and the tests do without."""
    return import_module(package) if find_spec(package) else None


imagecodecs = _optional("imagecodecs")
tomoz = _optional("tomoz")
Shape = tuple[int, ...]  # Z, Y, X


@dataclass(frozen=True)
class Codec:
    """A way from voxels to bytes and back.

    encode(volume, threads): uint16 [Z, Y, X] with values from 0 -> its streams
    decode(streams, shape, threads): the streams of a volume of that shape -> uint16 [Z, Y, X]
    """

    name: str  # in CSV files and on the command line
    title: str  # in tables
    package: str  # the distribution that it comes from
    encode: Callable[[np.ndarray, int], list[bytes]]
    decode: Callable[[list[bytes], Shape, int], np.ndarray]
    options: tuple[str, ...] = ()  # of volcomp's command line

    @property
    def installed(self) -> bool:
        """Whether its package is there."""
        return find_spec(self.package) is not None

    @property
    def version(self) -> str:
        """Package and version, as in "tomoz 0.2.0"."""
        try:
            return f"{self.package} {version(self.package)}"
        except PackageNotFoundError:  # run from a checkout that nobody installed
            return f"{self.package} unreleased"


def from_zero(voxels: np.ndarray) -> np.ndarray:
    """Voxels of any 8 or 16 bit type, shifted so that they start at 0: uint16 of the same shape. What all get."""
    return (voxels.astype(np.int32) - int(voxels.min())).astype(np.uint16)


def _slice_by_slice(
    name: str, title: str, encode: Callable[[np.ndarray, int], bytes], decode: Callable[[bytes], np.ndarray]
) -> Codec:
    """A codec of imagecodecs for slices; `encode` takes a slice and the number of bits in use in the volume."""

    def encode_all(volume: np.ndarray, threads: int) -> list[bytes]:
        bits = max(9, int(volume.max()).bit_length())  # fewer than 9 would have to come in bytes
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda plane: bytes(encode(plane, bits)), volume))

    def decode_all(streams: list[bytes], shape: Shape, threads: int) -> np.ndarray:
        with ThreadPoolExecutor(threads) as pool:
            return np.stack(list(pool.map(decode, streams))).reshape(shape)

    return Codec(name, title, "imagecodecs", encode_all, decode_all)


def _jpeg_xl(effort: int) -> Codec:
    return _slice_by_slice(
        f"jpegxl-e{effort}",
        f"JPEG XL, effort {effort}",
        lambda plane, bits: imagecodecs.jpegxl_encode(
            plane, lossless=True, effort=effort, numthreads=1, bitspersample=bits
        ),
        lambda stream: imagecodecs.jpegxl_decode(stream, numthreads=1),
    )


def _jpeg_2000(plane: np.ndarray, bits: int) -> bytes:
    """The bare codestream (as DICOM has it, without the boxes of a JP2 file) by the reversible wavelet."""
    return imagecodecs.jpeg2k_encode(
        plane, level=0, reversible=True, codecformat="j2k", bitspersample=bits, numthreads=1
    )


def _zstd_encode(volume: np.ndarray, threads: int) -> list[bytes]:
    workers = threads if threads > 1 else 0  # 0: in this thread, which compresses a little better than one worker
    return [zstandard.ZstdCompressor(level=19, threads=workers).compress(np.ascontiguousarray(volume, "<u2").tobytes())]


def _zstd_decode(streams: list[bytes], shape: Shape, threads: int) -> np.ndarray:
    return np.frombuffer(zstandard.ZstdDecompressor().decompress(streams[0]), "<u2").reshape(shape)


def _volcomp(model: str, effort: int | None = None) -> Codec:
    """volcomp's arrays, without DICOM; what an archive of a series adds to that, `ratio.py` measures."""
    how: dict[str, Any] = {} if effort is None else {"effort": effort}
    return Codec(
        model if effort is None else f"{model}-e{effort}",
        f"**volcomp {model}**" if effort is None else f"**volcomp {model}, effort {effort}**",
        "volcomp",
        lambda volume, threads: [volcomp.compress(volume, model=model, threads=threads, verify=False, **how)],
        lambda streams, shape, threads: volcomp.decompress(streams[0], threads=threads),
        ("--model", model, *(() if effort is None else ("--effort", str(effort)))),
    )


OURS = (_volcomp("base", 9), _volcomp("base"), _volcomp("fast"))

# Strongest first: the order of the tables. Tomoz and zstd see the volume, the others its slices.
RIVALS = (
    Codec(
        "tomoz",
        "Tomoz",
        "tomoz",
        lambda volume, threads: [tomoz.encode(volume, threads=threads)],
        lambda streams, shape, threads: tomoz.decode(streams[0], threads=threads).reshape(shape),
    ),
    _jpeg_xl(9),
    _jpeg_xl(7),
    _slice_by_slice(
        "jpegls",
        "JPEG-LS",
        lambda plane, bits: imagecodecs.jpegls_encode(plane),
        lambda stream: imagecodecs.jpegls_decode(stream),
    ),
    _slice_by_slice(
        "jpeg2000", "JPEG 2000", _jpeg_2000, lambda stream: imagecodecs.jpeg2k_decode(stream, numthreads=1)
    ),
    _slice_by_slice(
        "htj2k",
        "HTJ2K",
        lambda plane, bits: imagecodecs.htj2k_encode(plane, reversible=True),
        lambda stream: imagecodecs.htj2k_decode(stream),
    ),
    Codec("zstd-19", "zstd, level 19", "zstandard", _zstd_encode, _zstd_decode),
)

CODECS = {codec.name: codec for codec in (*OURS, *RIVALS)}
