"""Compress and decompress arrays: the library's front door. One volume per file, voxel-exact."""

from __future__ import annotations

import hashlib
import io
import os
from contextlib import closing

import numpy as np

from .codec.decode import decode_volume, sha256_of
from .codec.encode import ArraySource, write_volume
from .constants import EFFORT
from .container.inspection import opened
from .container.sections import Reader, Writer
from .container.volume import Volume, read_volume, volume_numbers
from .errors import DamagedError, UnsupportedError, VerificationError
from .models import DEFAULT, Model
from .options import DecodeOptions, EncodeOptions, check_slices

_DTYPES = ("u1", "i1", "u2", "i2")


def compress(
    array: np.ndarray,
    model: str | Model = DEFAULT,
    *,
    effort: int = EFFORT,
    verify: bool = True,
    threads: int | None = None,
    device: str = "auto",
) -> bytes:
    """Encode an array as a `.vcz` file.

    Parameters:
        array: (z, y, x) or (y, x) of u1, i1, u2 or i2, in any byte order and with any strides.
        model, effort, verify, threads, device: see `options.EncodeOptions`.

    Returns:
        The file. With `verify` it has been decoded and compared.

    Raises:
        UnsupportedError: for another shape or type, or options that cannot be met.
        VerificationError: the file does not decode to `array`.

    Example:
        >>> import numpy as np, volcomp
        >>> ramp = np.add.outer(np.arange(8), np.add.outer(np.arange(32), np.arange(32))).astype(np.uint16)
        >>> data = volcomp.compress(ramp)
        >>> len(data) < ramp.nbytes / 10
        True
    """
    options = EncodeOptions(model, effort, verify, threads, device)
    voxels, two_dimensional = _as_volume(array)
    file = io.BytesIO()
    writer = Writer(file)
    try:
        volume, slabs = write_volume(writer, 0, ArraySource(voxels), options, two_dimensional=two_dimensional)
        with closing(slabs):
            if verify and sha256_of(slabs) != volume.sha256:
                raise DamagedError("the SHA-256 of its voxels does not fit")
            for _ in slabs:  # those that are not verified are written only
                pass
        writer.finish()
        data = file.getvalue()
        if verify:
            reader = Reader(io.BytesIO(data))
            reader.compare(writer.digests)
            read_volume(reader, 0, {volume.layout.model.number: volume.layout.model})
    except DamagedError as error:
        raise VerificationError(f"what was coded does not decode to what was given: {error}") from error
    return data


def decompress(
    data: bytes | os.PathLike[str] | str,
    slices: slice | None = None,
    *,
    volume: int | None = None,
    salvage: bool = False,
    threads: int | None = None,
    device: str = "auto",
) -> np.ndarray:
    """Decode the array of a `.vcz` file.

    Parameters:
        data: the file, or its path.
        slices: which slices to return, as in `array[slices]`, with any step. Only the slabs that hold them are decoded.
            Without `slices` the SHA-256 of all voxels is checked as well.
        volume: which volume, if the file holds several.
        salvage: read a file that is cut, or whose index is damaged. Slices that are lost are named in the error; ask
            for the others with `slices`.
        threads, device: see `options.DecodeOptions`.

    Returns:
        (z, y, x), or (y, x) if a two-dimensional array was compressed, in little-endian byte order.

    Raises:
        DamagedError: the file is damaged.
        UnsupportedError: the file needs a later version, or has no such volume, or slices are asked of a
            two-dimensional one, or `slices` is no slice.

    Example:
        >>> import numpy as np, volcomp
        >>> data = volcomp.compress(np.arange(2000, dtype=np.int16).reshape(20, 10, 10))
        >>> volcomp.decompress(data, slice(4, 6))[:, 0, 0].tolist()
        [400, 500]
    """
    check_slices(slices)
    with opened(data, salvage=salvage) as reader:
        header = read_volume(reader, _only_volume(reader, volume))
        wanted = range(header.layout.shape[0])
        if slices is not None:
            if header.two_dimensional:
                raise UnsupportedError("slices were asked of a two-dimensional array, which has none")
            wanted = wanted[slices]
        voxels = _decode_slices(reader, header, wanted, DecodeOptions(threads, device))
        if slices is None and hashlib.sha256(voxels.data).digest() != header.sha256:
            raise DamagedError(f"volume {header.number} is damaged: the SHA-256 of its voxels does not fit")
        return voxels[0] if header.two_dimensional else voxels


def _as_volume(array: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return `array` as [Z, Y, X], little-endian, in C order; and whether it was (y, x)."""
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


def _only_volume(reader: Reader, number: int | None) -> int:
    numbers = volume_numbers(reader)
    if number is None and len(numbers) == 1:
        return numbers[0]
    if number is None or number not in numbers:
        held = f"volumes 0 to {len(numbers) - 1}" if numbers else "no volume"
        raise UnsupportedError(f"the file holds {held}; say which with volume=")
    return number


def _decode_slices(reader: Reader, volume: Volume, wanted: range, options: DecodeOptions) -> np.ndarray:
    """Return the slices `wanted` [len(wanted), Y, X]; raises the error of the first damaged slab, in a salvage one that
    names all slices that are lost."""
    low, high = (min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1]) + 1) if wanted else (0, 0)
    numbers = volume.slabs_of(low, high)
    first = volume.layout.slabs[numbers[0]][0] if numbers else 0
    end = volume.layout.slabs[numbers[-1]][1] if numbers else 0
    slabs = decode_volume(reader, volume, numbers, options)
    shape = (end - first, *volume.layout.shape[1:])
    voxels: np.ndarray | None = None
    lost: list[tuple[int, DamagedError]] = []  # slabs
    with closing(slabs):
        for k, slab in slabs:
            if isinstance(slab, DamagedError):
                if not reader.salvage:
                    raise slab
                lost.append((k, slab))
                continue
            if voxels is None:  # after the first slab, so that a false header costs no memory
                voxels = np.empty(shape, volume.layout.dtype)
            a, b = volume.layout.slabs[k]
            voxels[a - first : b - first] = slab
            del slab
    if lost:
        ranges = (volume.layout.slabs[k] for k, _ in lost)
        names = ", ".join(f"{a} to {b - 1}" if b - a > 1 else str(a) for a, b in ranges)
        raise DamagedError(
            f"slices {names} of volume {volume.number} are lost: {lost[0][1]}; ask for others with slices="
        )
    if voxels is None:
        return np.empty((0, *volume.layout.shape[1:]), volume.layout.dtype)
    start, step = (wanted.start - first, wanted.step)
    return voxels if len(wanted) == len(voxels) and step == 1 else voxels[np.arange(len(wanted)) * step + start]
