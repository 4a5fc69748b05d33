"""Compress and decompress arrays: the library's front door. One array per file, voxel-exact."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

import numpy as np

from .codec.decode import Keys, Slab, decode_volume, sha256_of
from .codec.encode import ArraySource, write_volume
from .codec.series import write_series
from .constants import EFFORT
from .container.inspection import opened
from .container.sections import SERIES_VERSION, VOXEL_VERSION, Reader, Writer
from .container.volume import Volume, read_volume, volume_numbers
from .errors import ArgumentError, DamagedError, UnsupportedError, VerificationError
from .models import DEFAULT, RELEASED, Model
from .options import DecodeOptions, EncodeOptions, check_flags, check_integer, check_slices, check_times, check_type

_DTYPES = ("u1", "i1", "u2", "i2")


def compress(
    array: np.ndarray,
    model: str | Model = DEFAULT,
    *,
    effort: int = EFFORT,
    verify: bool = True,
    threads: int | None = None,
    device: str = "auto",
    preview: float = 0.0,
) -> bytes:
    """Encode an array as a `.vcz` file.

    Parameters:
        array: (z, y, x), (y, x) or (t, z, y, x) of u1, i1, u2 or i2, in any byte order and with any strides. t counts
            the time points of a series, or its directions, echoes or other repetitions of the same slices. Most are
            coded with the help of another one each (docs/decisions/time-series.md).
        model, effort, verify, threads, device, preview: see `options.EncodeOptions`. Series in time have no
            preview.

    Returns:
        The file. With `verify` it has been decoded and compared.

    Raises:
        ArgumentError: for what is no array, and for options of other types.
        UnsupportedError: for another shape or type of voxels, or options that cannot be met.
        VerificationError: the file does not decode to `array`.

    Example:
        >>> import numpy as np, volcomp
        >>> ramp = np.add.outer(np.arange(8), np.add.outer(np.arange(32), np.arange(32))).astype(np.uint16)
        >>> data = volcomp.compress(ramp)
        >>> len(data) < ramp.nbytes / 10
        True
    """
    options = EncodeOptions(model, effort, verify, threads, device, preview=preview)
    voxels = _checked(array)
    if preview and voxels.ndim == 4:
        raise UnsupportedError("a preview was asked for of a series in time; compress its time points one by one")
    file = io.BytesIO()
    writer = Writer(file, SERIES_VERSION if voxels.ndim == 4 else VOXEL_VERSION)
    try:
        for volume, slabs in _written(writer, voxels, options):
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
            for number in volume_numbers(reader):
                read_volume(reader, number, {**RELEASED, options.record.number: options.record})
    except DamagedError as error:
        raise VerificationError(f"what was coded does not decode to what was given: {error}") from error
    return data


def _written(writer: Writer, voxels: np.ndarray, options: EncodeOptions) -> Iterator[tuple[Volume, Generator[Slab]]]:
    """Append an array; yields what `write_volume` returns for each of its volumes."""
    if voxels.ndim == 4:
        yield from write_series(writer, 0, [ArraySource(one) for one in voxels], options, time_point=True)
    else:
        source = ArraySource(voxels if voxels.ndim == 3 else voxels[None])
        yield write_volume(writer, 0, source, options, two_dimensional=voxels.ndim == 2)


def decompress(
    data: bytes | bytearray | memoryview | os.PathLike[str] | str,
    slices: slice | None = None,
    *,
    times: slice | int | None = None,
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
        times: which time points of an array (t, z, y, x) to return, as in `array[times]`: an integer gives one as
            (z, y, x). For slices of one time point at most two slabs are decoded for every one that holds them.
        volume: which volume, if the file holds several.
        salvage: read a file that is cut, or whose index is damaged. Slices that are lost are named in the error; ask
            for the others with `slices`.
        threads, device: see `options.DecodeOptions`.

    Returns:
        (z, y, x), or what else was compressed, in little-endian byte order.

    Raises:
        ArgumentError: an argument has another type.
        DamagedError: the file is damaged.
        UnsupportedError: the file cannot be read or needs a later version, or has no such volume or time point, or
            slices or times are asked of an array that has none.

    Example:
        >>> import numpy as np, volcomp
        >>> data = volcomp.compress(np.arange(2000, dtype=np.int16).reshape(20, 10, 10))
        >>> volcomp.decompress(data, slice(4, 6))[:, 0, 0].tolist()
        [400, 500]
    """
    check_slices(slices)
    check_times(times)
    check_integer("volume", volume, "the number of a volume", optional=True)
    check_flags(salvage=salvage)
    options = DecodeOptions(threads, device)
    with opened(data, salvage=salvage) as reader:
        numbers = volume_numbers(reader)
        if volume is None and numbers and (len(numbers) > 1 or times is not None) and _is_series(reader, numbers):
            return _decode_series(reader, numbers, times, slices, options)
        if times is not None:
            raise UnsupportedError("times were asked of an array that has none: it is not (t, z, y, x)")
        header = read_volume(reader, _only_volume(numbers, volume))
        if slices is not None and header.two_dimensional:
            raise UnsupportedError("slices were asked of a two-dimensional array, which has none")
        voxels = _decode_checked(reader, header, slices, options)
        if header.two_dimensional:
            return voxels[0]
        return voxels[None] if header.time_point and volume is None else voxels


def _is_series(reader: Reader, numbers: Sequence[int]) -> bool:
    """Return whether the file holds one array (t, z, y, x)."""
    return read_volume(reader, numbers[0]).time_point


def _decode_series(
    reader: Reader, numbers: Sequence[int], times: slice | int | None, slices: slice | None, options: DecodeOptions
) -> np.ndarray:
    """Return time points [t, z, Y, X] of a series, or one [z, Y, X] if `times` is an integer."""
    count = numbers[-1] + 1
    wanted = range(count)
    if isinstance(times, slice):
        wanted = wanted[times]
    elif times is not None:
        if not -count <= times < count:
            raise UnsupportedError(f"time point {times} was asked of an array that has {count}")
        wanted = range(times % count, times % count + 1)
    found: np.ndarray | None = None
    for place, voxels in _time_points(reader, wanted, slices, options):
        if found is None:  # after the first time point, so that a false header costs no memory
            found = np.empty((len(wanted), *voxels.shape), voxels.dtype)
        if (voxels.shape, voxels.dtype) != (found.shape[1:], found.dtype):
            raise DamagedError(f"volume {wanted[place]} is no time point of the same array as volume {wanted[0]}")
        found[place] = voxels
    if found is None:
        layout = read_volume(reader, numbers[0]).layout
        depth = len(range(layout.shape[0])[slices or slice(None)])
        found = np.empty((0, depth, *layout.shape[1:]), layout.dtype)
    return found if times is None or isinstance(times, slice) else found[0]


def _time_points(
    reader: Reader, wanted: Sequence[int], slices: slice | None, options: DecodeOptions
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield time points with their places in `wanted`: each key before those that refer to it, which then need not
    decode it again."""
    volumes = [read_volume(reader, number) for number in wanted]
    for volume in volumes:
        if not volume.time_point:
            raise DamagedError(f"volume {volume.number} is no time point of the same array as the others")
    keys = Keys(reader)

    def turn(place: int) -> tuple[int, bool]:
        volume = volumes[place]
        return (volume.number, False) if volume.key is None else (volume.key, True)

    for place in sorted(range(len(volumes)), key=turn):
        yield place, _decode_checked(reader, volumes[place], slices, options, keys)


def _decode_checked(
    reader: Reader, volume: Volume, slices: slice | None, options: DecodeOptions, keys: Keys | None = None
) -> np.ndarray:
    """Return slices of a volume [z, Y, X], or all after a check of their SHA-256."""
    depth = range(volume.layout.shape[0])
    voxels = _decode_slices(reader, volume, depth if slices is None else depth[slices], options, keys)
    if slices is None and hashlib.sha256(voxels.data).digest() != volume.sha256:
        raise DamagedError(f"volume {volume.number} is damaged: the SHA-256 of its voxels does not fit")
    return voxels


def _checked(array: np.ndarray) -> np.ndarray:
    """Return `array` little-endian and in C order; ArgumentError or UnsupportedError for one that cannot be coded."""
    if isinstance(array, str | bytes | os.PathLike):
        check_type("array", array, np.ndarray, "an array; volcomp.compress_files archives files")
    try:
        array = np.asanyarray(array)
    except Exception as error:  # of lists of unequal lengths, and whatever another library's arrays raise
        reason = " ".join(str(error).split())
        raise ArgumentError(f"array is a {type(array).__name__} that numpy makes no array of: {reason}") from error
    if isinstance(array, np.ma.MaskedArray):
        raise UnsupportedError("a masked array was given, whose mask would be lost; give its data")
    if array.dtype.kind + str(array.dtype.itemsize) not in _DTYPES:
        raise UnsupportedError(
            f"voxels of type {array.dtype} were given; allowed are 8- and 16-bit integers, as "
            "array.astype(np.int16) makes them where all values fit"
        )
    if array.ndim not in (2, 3, 4):
        raise UnsupportedError(
            f"an array of {array.ndim} dimensions was given; allowed are (z, y, x), (y, x) and (t, z, y, x)"
        )
    if array.size == 0:
        raise UnsupportedError(f"an array of shape {array.shape} was given, which has no voxels")
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def _only_volume(numbers: Sequence[int], number: int | None) -> int:
    if number is None and len(numbers) == 1:
        return numbers[0]
    if number is None or number not in numbers:
        held = f"volumes 0 to {len(numbers) - 1}" if numbers else "no volume"
        raise UnsupportedError(f"the file holds {held}; say which with volume=")
    return number


def _decode_slices(
    reader: Reader, volume: Volume, wanted: range, options: DecodeOptions, keys: Keys | None = None
) -> np.ndarray:
    """Return the slices `wanted` [len(wanted), Y, X]; raises the error of the first damaged slab, in a salvage one that
    names all slices that are lost. `keys` has what the volume may refer to, and keeps what others may refer to."""
    low, high = (min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1]) + 1) if wanted else (0, 0)
    numbers = volume.slabs_of(low, high)
    first = volume.layout.slabs[numbers[0]][0] if numbers else 0
    end = volume.layout.slabs[numbers[-1]][1] if numbers else 0
    slabs = decode_volume(reader, volume, numbers, options, key=keys.of(volume) if keys else None)
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
            if keys and volume.key is None:
                keys.keep(volume.number, k, slab)
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
