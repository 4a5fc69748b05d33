"""Decode an array: of a `.vcz` of arrays, or of a volume of an archive of files, as `volcomp.open` shows it."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from .. import arrays
from ..errors import UnsupportedError, VolcompError
from ..options import DecodeOptions, check_flags, check_integer, check_path, check_slices, check_times
from ..wording import SALVAGE, spelled
from .archive import Archive
from .series import Series
from .volume import Volume

_ALL = slice(None)


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
        (z, y, x), or what else was compressed, in little-endian byte order. Of an archive of files it is the volume as
        `volcomp.open` shows it, with the numbers of the files; their SHA-256 is that of `volcomp.verify`.

    Raises:
        ArgumentError: an argument has another type.
        DamagedError: the file is damaged.
        UnsupportedError: the file needs a later version, or has no such volume or time point, or slices or times are
            asked of an array that has none, or `slices` is no slice; or a volume of which voxels are no numbers by
            themselves is to be salvaged.

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
    if isinstance(data, str | os.PathLike):
        check_path("data", data)
    if found := _of_files(data, volume, DecodeOptions(threads, device), times is not None):
        archive, one = found
        with archive:
            if salvage:
                raise UnsupportedError(
                    f"the numbers of {one.name} are made of what is coded and of what is kept beside it; "
                    f"{spelled(SALVAGE)} restores the file"
                )
            if isinstance(one, Series):
                return np.asarray(one[_ALL if times is None else times, _ALL if slices is None else slices])
            return np.asarray(one if slices is None else one[slices])
    return arrays.decompress(data, slices, times=times, volume=volume, salvage=salvage, threads=threads, device=device)


def _of_files(
    data: bytes | bytearray | memoryview | os.PathLike[str] | str, number: int | None, options: DecodeOptions,
    in_time: bool,
) -> tuple[Archive, Volume] | None:  # fmt: skip
    """Return an open archive of files and the volume that is asked for, whose numbers are not the words that are coded
    in their order.

    None for all else, of which `arrays.decompress` decodes the words, or says what is wrong; so it is where time points
    are asked for (`in_time`) of a volume that has none.
    """
    if not isinstance(data, bytes | bytearray | memoryview | str | os.PathLike):
        return None
    try:
        archive = Archive(Path(data) if isinstance(data, str | os.PathLike) else bytes(data), options, 0)
    except VolcompError:
        return None
    with ExitStack() as stack:
        stack.enter_context(archive)
        found = [one for one in archive.volumes.values() if number is None or one.number == number]
        if len({one.number for one in found}) != 1:
            return None
        if found[0].files if isinstance(found[0], Series) else not (in_time or found[0].coded_as_it_is):
            stack.pop_all()
            return archive, found[0]
    return None
