"""volcomp's rivals, and volcomp itself, each behind the same two calls, so that all are measured alike.

A codec gets a volume [Z, Y, X] of uint16 whose values start at 0 and gives back its streams, one per slice or one for
all; their summed length is its size. The 2-D codecs go slice by slice, several slices at a time where threads are
given: so a picture archive would use them, and it is faster than their own threads.

Each is told the volume's depth, the smallest number of bits that holds its values. That saves JPEG-LS 0.6 to 4.7 %,
JPEG 2000 and JPEG XL up to 0.2 %; Tomoz notes it and codes the same. HTJ2K alone cannot be told (`imagecodecs`), which
costs it about as much as it would JPEG 2000. A stream holds nothing that its decoder does without: no boxes around
JPEG 2000, no SPIFF header before JPEG-LS, no comment with its coder's name.
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

from . import earlier


def _optional(package: str) -> Any:
    """A package, or None where it is not installed: the demo and the tests do without."""
    return import_module(package) if find_spec(package) else None


imagecodecs = _optional("imagecodecs")
jpeg_ls = _optional("jpeg_ls")
tomoz = _optional("tomoz")
MODULES = {"pyjpegls": "jpeg_ls"}  # of distributions that are imported by another name
Shape = tuple[int, ...]  # Z, Y, X


@dataclass(frozen=True)
class Codec:
    """A way from voxels to bytes and back.

    encode(volume, threads): uint16 [Z, Y, X] with values from 0 -> its streams
    decode(streams, shape, threads): the streams of a volume of that shape -> uint16 [Z, Y, X]
    """

    name: str  # in CSV files and on the command line
    title: str  # in tables
    packages: tuple[str, ...]  # the distributions that it comes from
    encode: Callable[[np.ndarray, int], list[bytes]]
    decode: Callable[[list[bytes], Shape, int], np.ndarray]
    options: tuple[str, ...] = ()  # of volcomp's command line

    @property
    def installed(self) -> bool:
        """Whether its packages are there."""
        return all(find_spec(MODULES.get(package, package)) for package in self.packages)

    @property
    def versions(self) -> tuple[str, ...]:
        """Packages and versions, as in ("tomoz 0.2.0",)."""
        return tuple(map(versioned, self.packages))


def versioned(package: str) -> str:
    """A distribution and its version, as in "tomoz 0.2.0"."""
    if package == "volcomp":
        return f"volcomp {volcomp.__version__}"  # of this checkout, whatever is installed
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:  # of ffmpeg and zlib, for example
        return f"{package} unknown"


def from_zero(voxels: np.ndarray) -> np.ndarray:
    """Voxels of any 8 or 16 bit type, shifted so that they start at 0: uint16 of the same shape. What all get."""
    return (voxels.astype(np.int32) - int(voxels.min())).astype(np.uint16)


def depth(volume: np.ndarray) -> int:
    """The smallest number of bits that holds every value of a volume which starts at 0; 1 for one that is all 0."""
    return max(1, int(volume.max()).bit_length())


def _slice_by_slice(
    name: str,
    title: str,
    encode: Callable[[np.ndarray, int], bytes],
    decode: Callable[[bytes], np.ndarray],
    also: tuple[str, ...] = (),
) -> Codec:
    """A codec for slices that imagecodecs decodes, and encodes unless another package does (`also`).

    `encode` takes a slice and the volume's depth: uint8 [Y, X] up to 8 bits, uint16 from 9 on.
    """

    def encode_all(volume: np.ndarray, threads: int) -> list[bytes]:
        bits = depth(volume)
        planes = volume if bits > 8 else volume.astype(np.uint8)
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda plane: bytes(encode(plane, bits)), planes))

    def decode_all(streams: list[bytes], shape: Shape, threads: int) -> np.ndarray:
        with ThreadPoolExecutor(threads) as pool:
            return np.stack(list(pool.map(decode, streams))).reshape(shape).astype(np.uint16, copy=False)

    return Codec(name, title, ("imagecodecs", *also), encode_all, decode_all)


def _jpeg_xl(effort: int) -> Codec:
    return _slice_by_slice(
        f"jpegxl-e{effort}",
        f"JPEG XL, effort {effort}",
        lambda plane, bits: imagecodecs.jpegxl_encode(
            plane, lossless=True, effort=effort, numthreads=1, bitspersample=bits
        ),
        lambda stream: imagecodecs.jpegxl_decode(stream, numthreads=1),
    )


def _jpeg_ls(plane: np.ndarray, bits: int) -> bytes:
    """The bare codestream, as DICOM has it. By pyjpegls, since imagecodecs writes 8 or 16 bits, whatever is in use.

    pyjpegls holds Python's lock, so that threads do not make it faster.
    """
    rows, columns = plane.shape
    return jpeg_ls.encode_pixel_data(
        plane.astype(plane.dtype.newbyteorder("<"), copy=False).tobytes(),
        rows=rows, columns=columns, samples_per_pixel=1, bits_stored=bits,
    )  # fmt: skip


def _jpeg_2000(plane: np.ndarray, bits: int) -> bytes:
    """The bare codestream (as DICOM has it, without the boxes of a JP2 file) by the reversible wavelet."""
    return _without_comments(
        imagecodecs.jpeg2k_encode(plane, level=0, reversible=True, codecformat="j2k", bitspersample=bits, numthreads=1)
    )


def _without_comments(stream: bytes) -> bytes:
    """A codestream of JPEG 2000 or HTJ2K without the COM segments of its main header: the name of the coder, 25 bytes
    or 39 for every slice, which no decoder reads."""
    kept, place = [stream[:2]], 2  # SOC, the one marker of the main header that has no length
    while (marker := stream[place : place + 2]) != b"\xff\x90":  # SOT: the first tile
        end = place + 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
        if marker != b"\xff\x64":
            kept.append(stream[place:end])
        place = end
    return b"".join(kept) + stream[place:]


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
        ("volcomp",),
        lambda volume, threads: [volcomp.compress(volume, model=model, threads=threads, verify=False, **how)],
        lambda streams, shape, threads: volcomp.decompress(streams[0], threads=threads),
        ("--model", model, *(() if effort is None else ("--effort", str(effort)))),
    )


MODELS = tuple(model for model in ("base", "fast", "turbo") if model in earlier.choices())  # the largest first
OURS = (_volcomp("base", 9), *map(_volcomp, MODELS))

# Strongest first: the order of the tables. Tomoz and zstd see the volume, the others its slices.
RIVALS = (
    Codec(
        "tomoz",
        "Tomoz",
        ("tomoz",),
        lambda volume, threads: [tomoz.encode(volume, threads=threads)],
        lambda streams, shape, threads: tomoz.decode(streams[0], threads=threads).reshape(shape),
    ),
    _jpeg_xl(9),
    _jpeg_xl(7),
    _slice_by_slice("jpegls", "JPEG-LS", _jpeg_ls, lambda stream: imagecodecs.jpegls_decode(stream), ("pyjpegls",)),
    _slice_by_slice(
        "jpeg2000", "JPEG 2000", _jpeg_2000, lambda stream: imagecodecs.jpeg2k_decode(stream, numthreads=1)
    ),
    _slice_by_slice(
        "htj2k",
        "HTJ2K",
        lambda plane, bits: _without_comments(imagecodecs.htj2k_encode(plane, reversible=True)),
        lambda stream: imagecodecs.htj2k_decode(stream),
    ),
    Codec("zstd-19", "zstd, level 19", ("zstandard",), _zstd_encode, _zstd_decode),
)

CODECS = {codec.name: codec for codec in (*OURS, *RIVALS)}


def named(name: str) -> Codec:
    """One of CODECS, or a model of volcomp with an effort, as "fast-e1". KeyError for others."""
    model, _, effort = name.partition("-e")
    return _volcomp(model, int(effort)) if model in MODELS and effort.isdecimal() else CODECS[name]
