"""Arrays in, bytes out, and back: the library's front door. One volume per file, voxel-exact."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np

from .codec import loop
from .container.sections import MANIFEST, Reader, SectionId, Writer
from .errors import DamagedError, UnsupportedError, VerificationError
from .options import EFFORT, MODEL, MODELS
from .codec.source import Held
from .codec.volumes import Decoded, Volume, decode, read_volume, slabs_of, volume_numbers, write_volume

_DTYPES = ("u1", "i1", "u2", "i2")


@dataclass(frozen=True)
class VolumeReport:
    """One volume of an archive, as its header and the index describe it."""

    shape: tuple[int, ...]  # (z, y, x), or (y, x) where an image was given
    dtype: str  # u1, i1, u2 or i2
    model: str
    slabs: int
    bytes: int  # header and slabs in the file
    bits_per_voxel: float
    sha256: str  # of the voxels, little-endian in C order


@dataclass(frozen=True)
class Report:
    """What a `.vcz` holds, read without decoding a voxel."""

    promise: str  # 'file-exact' (an archive of files) or 'voxel-exact' (arrays)
    volumes: tuple[VolumeReport, ...]
    size: int  # bytes of the whole file
    sections: dict[str, int]  # bytes by kind of section, and of header and index as 'FRAME'


def compress(
    array: np.ndarray,
    model: str = MODEL,
    threads: int | None = None,
    device: str = "auto",
    verify: bool = True,
    effort: int = EFFORT,
) -> bytes:
    """Code an array (z, y, x) or (y, x) of u1, i1, u2 or i2, in any byte order and with any strides, as a `.vcz`.

    With `verify` the result is decoded and compared before it is returned. `effort` is 1 (fastest) to 9 (smallest);
    above 5 the model is fitted to the volume, for up to ten times as long, which needs torch. Raises UnsupportedError
    for any other shape, type or effort, and VerificationError should the comparison fail.
    """
    voxels, two_dimensional = _as_volume(array)
    if model not in MODELS:
        raise UnsupportedError(f"there is no model {model!r}; choose one of {', '.join(MODELS)}")
    loop.check_effort(effort)
    file = io.BytesIO()
    writer, source = Writer(file), Held(voxels)
    try:
        volume, slabs = write_volume(
            writer,
            0,
            source,
            model=model,
            threads=threads,
            device=device,
            effort=effort,
            two_dimensional=two_dimensional,
            check=verify,
        )
        with closing(slabs):
            sha = _sha256(slabs)
        writer.finish()
        data = file.getvalue()
        if verify:
            if sha != volume.sha256:
                raise DamagedError("the SHA-256 of its voxels does not fit")
            reader = Reader(io.BytesIO(data))
            reader.compare(writer.digests)
            read_volume(reader, 0)
    except DamagedError as error:
        raise VerificationError(f"what was coded does not decode to what was given: {error}") from error
    return data


def decompress(
    data: bytes | os.PathLike[str] | str,
    slices: slice | None = None,
    threads: int | None = None,
    device: str = "auto",
    volume: int | None = None,
) -> np.ndarray:
    """The array of a `.vcz`, given as bytes or as a path, in little-endian byte order.

    `slices` picks along z, as in `array[slices]` (any step), and decodes only the slabs that hold them; without it the
    SHA-256 of the voxels is checked as well. `volume` picks one where a file holds several. Raises DamagedError.
    """
    with _opened(data) as reader:
        header = read_volume(reader, _only_volume(reader, volume))
        wanted = range(header.layout.shape[0])
        if slices is not None:
            if header.two_dimensional:
                raise UnsupportedError("slices were asked of a two-dimensional array, which has none")
            wanted = wanted[slices]
        voxels = _decode_slices(reader, header, wanted, threads, device)
        if slices is None and hashlib.sha256(voxels.data).digest() != header.sha256:
            raise DamagedError(f"volume {header.number} is damaged: the SHA-256 of its voxels does not fit")
        return voxels[0] if header.two_dimensional else voxels


def inspect(data: bytes | os.PathLike[str] | str) -> Report:
    """What a `.vcz`, given as bytes or as a path, holds: shapes, types, models, sizes by section, promise."""
    with _opened(data) as reader:
        return report(reader)


def report(reader: Reader) -> Report:
    """`inspect` for an open file."""
    sections: dict[str, int] = {}
    by_volume: dict[int, int] = {}
    numbers = volume_numbers(reader)
    for section, place in reader.places.items():
        tag = section.tag.decode("ascii", "replace")
        sections[tag] = sections.get(tag, 0) + place.length
        if tag in ("VHDR", "SLAB"):
            by_volume[section.major] = by_volume.get(section.major, 0) + place.length
    sections["FRAME"] = reader.size - sum(sections.values())
    volumes = tuple(_describe(read_volume(reader, number), by_volume[number]) for number in numbers)
    promise = "file-exact" if SectionId(MANIFEST) in reader.places else "voxel-exact"
    return Report(promise, volumes, reader.size, sections)


def _describe(volume: Volume, size: int) -> VolumeReport:
    shape = volume.layout.shape[1:] if volume.two_dimensional else volume.layout.shape
    return VolumeReport(
        shape,
        volume.layout.dtype.str[1:],
        volume.layout.model,
        len(volume.layout.slabs),
        size,
        8 * size / volume.voxels,
        volume.sha256.hex(),
    )


def _as_volume(array: np.ndarray) -> tuple[np.ndarray, bool]:
    """`array` as [Z,Y,X], little-endian, C order; and whether it was (y, x)."""
    array = np.asanyarray(array)
    if isinstance(array, np.ma.MaskedArray):
        raise UnsupportedError("a masked array was given, whose mask would be lost; give its data")
    if array.dtype.kind + str(array.dtype.itemsize) not in _DTYPES:
        raise UnsupportedError(f"voxels of type {array.dtype} were given; allowed are 8- and 16-bit integers")
    if array.ndim not in (2, 3):
        raise UnsupportedError(f"an array of {array.ndim} dimensions was given; allowed are (z, y, x) and (y, x)")
    if array.size == 0:
        raise UnsupportedError(f"an array of shape {array.shape} was given, which has no voxels")
    voxels = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return (voxels[None], True) if array.ndim == 2 else (voxels, False)


def _sha256(slabs: Iterator[Decoded]) -> bytes:
    """Of the voxels of all slabs; raises the error of the first damaged one."""
    sha = hashlib.sha256()
    for _, voxels in slabs:
        if isinstance(voxels, DamagedError):
            raise voxels
        sha.update(np.ascontiguousarray(voxels).data)
        del voxels  # or they would be here until the next ones come
    return sha.digest()


@contextmanager
def _opened(data: bytes | os.PathLike[str] | str) -> Iterator[Reader]:
    if isinstance(data, str | os.PathLike):
        with open(data, "rb") as file:
            yield Reader(file)
    else:
        yield Reader(io.BytesIO(data))


def _only_volume(reader: Reader, number: int | None) -> int:
    numbers = volume_numbers(reader)
    if number is None and len(numbers) == 1:
        return numbers[0]
    if number is None or number not in numbers:
        held = f"volumes 0 to {len(numbers) - 1}" if numbers else "no volume"
        raise UnsupportedError(f"the file holds {held}; say which with volume=")
    return number


def _decode_slices(reader: Reader, volume: Volume, wanted: range, threads: int | None, device: str) -> np.ndarray:
    """The slices `wanted` [len(wanted),Y,X]; raises the error of the first damaged slab."""
    low, high = (min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1]) + 1) if wanted else (0, 0)
    numbers = slabs_of(volume, low, high)
    first = volume.layout.slabs[numbers[0]][0] if numbers else 0
    end = volume.layout.slabs[numbers[-1]][1] if numbers else 0
    slabs = decode(reader, volume, numbers, threads=threads, device=device)
    shape = (end - first, *volume.layout.shape[1:])
    voxels: np.ndarray | None = None
    with closing(slabs):
        for k, slab in slabs:
            if isinstance(slab, DamagedError):
                raise slab
            if voxels is None:  # not before a slab has decoded: a lying header must not cost memory
                voxels = np.empty(shape, volume.layout.dtype)
            a, b = volume.layout.slabs[k]
            voxels[a - first : b - first] = slab
            del slab
    if voxels is None:
        return np.empty((0, *volume.layout.shape[1:]), volume.layout.dtype)
    start, step = (wanted.start - first, wanted.step)
    return voxels if len(wanted) == len(voxels) and step == 1 else voxels[np.arange(len(wanted)) * step + start]
