"""Compare sizes: a series of one's own under volcomp, and under what else is installed. The work of `volcomp compare`.

All files, headers and all, go through volcomp and general compressors; their voxels alone through codecs of images.
These get what `benchmarks/rivals.py` gives them: grey levels shifted to begin at 0, and how many bits hold them. What
they make is decoded and compared.
"""

from __future__ import annotations

import gzip
import lzma
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import zstandard

from .archive.pack import compress
from .archive.remote import source_of
from .archive.tree import source_errors
from .errors import UnsupportedError, VerificationError
from .options import EncodeOptions
from .reading.archive import Archive
from .reading.series import Series
from .reading.volume import Volume
from .runtime.cpus import cores

FILES, VOXELS = "all files", "voxels alone"
_PIECE = 1 << 20
_EFFORT = 7  # of JPEG XL: half a percent larger than 9, in a third of the time
Encode = Callable[
    [np.ndarray, int], tuple[int, np.ndarray]
]  # uint16 [Z, Y, X] from 0, threads → bytes, what comes back


@dataclass(frozen=True)
class Row:
    """What one method makes of the input."""

    method: str
    of: str  # FILES or VOXELS
    bytes: int
    raw_bytes: int  # of the same without compression
    voxels: int
    seconds: float  # of encoding, and of decoding to compare but for general compressors; 0 where it was not measured

    @property
    def ratio(self) -> float:
        """Return raw bytes by bytes."""
        return self.raw_bytes / max(self.bytes, 1)

    @property
    def bits_per_voxel(self) -> float | None:
        """Return bits by voxels; None where there are no voxels."""
        return 8 * self.bytes / self.voxels if self.voxels else None


@dataclass(frozen=True)
class Rival:
    """Another codec of images."""

    name: str
    package: str
    encode: Encode

    @property
    def installed(self) -> bool:
        """Return whether its package is there."""
        return find_spec(self.package) is not None


def compare(path: Path, options: EncodeOptions) -> Iterator[Row]:
    """Compress a folder or file in all ways that are there; yield a row as soon as it is measured.

    Raises:
        UnsupportedError: the input cannot be read, or options cannot be met.
        VerificationError: what a method makes does not decode to its input.
    """
    paths = _files(path)
    raw = sum(_size(one) for one in paths)
    threads = options.threads or cores()
    with tempfile.TemporaryDirectory(prefix="volcomp-") as folder:
        made = Path(folder, "compared.vcz")
        begin = time.perf_counter()
        done = compress([path], made, options)
        seconds = time.perf_counter() - begin
        yield Row("as they are", FILES, raw, raw, done.voxels, 0.0)
        yield Row(_title(options), FILES, done.packed_bytes, raw, done.voxels, seconds)
        for name, pack in _GENERAL.items():
            begin = time.perf_counter()
            size = pack(chain.from_iterable(map(_pieces, paths)), threads)
            yield Row(name, FILES, size, raw, done.voxels, time.perf_counter() - begin)
        with Archive(source_of(made), options.decoding, 0) as archive:
            volumes = list({volume.number: volume for volume in archive.volumes.values()}.values())
            # The rivals take whole numbers alone.
            volumes = [volume for volume in volumes if volume.dtype.kind in "iu" and volume.dtype.itemsize <= 4]
            if volumes:
                yield from _of_voxels(volumes, options, threads)


def missing() -> list[Rival]:
    """Return the rivals that are not installed."""
    return [rival for rival in RIVALS if not rival.installed]


def _of_voxels(volumes: list[Volume], options: EncodeOptions, threads: int) -> Iterator[Row]:
    raw, voxels = sum(volume.nbytes for volume in volumes), sum(volume.size for volume in volumes)
    ours = sum(sum(volume.slab_bytes) for volume in volumes)
    yield Row("as they are", VOXELS, raw, raw, voxels, 0.0)
    yield Row(_title(options), VOXELS, ours, raw, voxels, 0.0)
    for rival in RIVALS:
        if not rival.installed:
            continue
        size, seconds = 0, 0.0
        for volume in volumes:
            for plane in _planes(volume):
                begin = time.perf_counter()
                more, back = rival.encode(plane, threads)
                seconds += time.perf_counter() - begin
                if not np.array_equal(back, plane):
                    raise VerificationError(f"what {rival.name} made of {volume.name} does not decode to it")
                size += more
        yield Row(rival.name, VOXELS, size, raw, voxels, seconds)


def _planes(volume: Volume) -> Iterator[np.ndarray]:
    """Yield the voxels as uint16 [Z, Y, X] that begin at 0: of each colour, and of each half of wide words."""
    voxels = np.asarray(volume)
    if isinstance(volume, Series):  # no rival knows of time
        voxels = voxels.reshape(-1, *voxels.shape[2:])
    voxels = voxels[None] if voxels.ndim == 2 else voxels
    colours = [voxels] if voxels.ndim == 3 else [voxels[..., c] for c in range(voxels.shape[3])]
    for colour in colours:
        if colour.dtype.itemsize > 2:
            wide = colour.astype(np.int64) & 0xFFFFFFFF
            yield from ((wide >> 16).astype(np.uint16), (wide & 0xFFFF).astype(np.uint16))
        else:
            yield (colour.astype(np.int32) - int(colour.min())).astype(np.uint16)


def _tomoz(volume: np.ndarray, threads: int) -> tuple[int, np.ndarray]:
    import tomoz

    stream = tomoz.encode(volume, threads=threads)
    return len(stream), tomoz.decode(stream, threads=threads).reshape(volume.shape)


def _jpeg_xl(volume: np.ndarray, threads: int) -> tuple[int, np.ndarray]:
    import imagecodecs

    bits = max(1, int(volume.max()).bit_length())
    slices = volume if bits > 8 else volume.astype(np.uint8)

    def both(plane: np.ndarray) -> tuple[int, np.ndarray]:
        stream = imagecodecs.jpegxl_encode(plane, lossless=True, effort=_EFFORT, numthreads=1, bitspersample=bits)
        return len(stream), imagecodecs.jpegxl_decode(stream, numthreads=1).reshape(plane.shape)

    with ThreadPoolExecutor(threads) as pool:
        sizes, back = zip(*pool.map(both, slices), strict=True)
    return sum(sizes), np.stack(back).astype(np.uint16, copy=False)


RIVALS = (Rival("Tomoz", "tomoz", _tomoz), Rival(f"JPEG XL, effort {_EFFORT}", "imagecodecs", _jpeg_xl))


def _zstd(pieces: Iterable[bytes], threads: int) -> int:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19, window_log=27, threads=threads if threads > 1 else 0
    )
    machine = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    return sum(len(machine.compress(piece)) for piece in pieces) + len(machine.flush())


def _xz(pieces: Iterable[bytes], threads: int) -> int:
    machine = lzma.LZMACompressor(preset=9)
    return sum(len(machine.compress(piece)) for piece in pieces) + len(machine.flush())


def _gzip(pieces: Iterable[bytes], threads: int) -> int:
    class Counter:
        size = 0

        def write(self, data: Any) -> int:
            self.size += len(data)
            return len(data)

        def flush(self) -> None:
            pass

    counter = Counter()
    with gzip.GzipFile("", "wb", 9, counter, 0) as stream:
        for piece in pieces:
            stream.write(piece)
    return counter.size


_GENERAL: dict[str, Callable[[Iterable[bytes], int], int]] = {"gzip -9": _gzip, "zstd -19 --long": _zstd, "xz -9": _xz}


def _title(options: EncodeOptions) -> str:
    return f"volcomp {options.record.choice or options.record.name}, effort {options.effort}"


def _files(path: Path) -> list[Path]:
    """Return the regular files of an input, in the order of their names. Raises UnsupportedError without any."""
    with source_errors(path):
        path.stat()
    found = [path] if path.is_file() else [Path(here, name) for here, _, names in os.walk(path) for name in names]
    files = sorted(one for one in found if (one.is_file() and not one.is_symlink()) or one == path)
    if not files:
        raise UnsupportedError(f"{path} holds no files to compare with")
    return files


def _size(path: Path) -> int:
    with source_errors(path):
        return path.stat().st_size


def _pieces(path: Path) -> Iterator[bytes]:
    with source_errors(path), path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece
