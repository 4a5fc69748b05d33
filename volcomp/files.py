"""Compress and decompress files: the library's front door beside `arrays`. Every file comes back byte for byte."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .archive.pack import Summary, compress
from .archive.restore import Outcome, restore
from .constants import EFFORT
from .errors import UnsupportedError
from .models import DEFAULT, Model
from .options import DecodeOptions, EncodeOptions

AnyPath = str | os.PathLike[str]


def compress_files(
    inputs: AnyPath | Iterable[AnyPath],
    output: AnyPath,
    model: str | Model = DEFAULT,
    *,
    effort: int = EFFORT,
    verify: bool = True,
    threads: int | None = None,
    device: str = "auto",
    parity: float = 0.0,
    force: bool = False,
    times: bool = True,
) -> Summary:
    """Archive folders and files as a `.vcz` file, as `volcomp compress` does.

    Parameters:
        inputs: a folder or file, or several. Images that a format of `formats` reads are coded as volumes; all other
            bytes are kept.
        output: the archive. It gets its name when it is complete.
        model, effort, verify, threads, device, parity: see `options.EncodeOptions`.
        force: overwrite an existing `output`.
        times: keep times of modification and permissions.

    Returns:
        Counts of files, bytes and voxels. With `verify` the archive has been decoded and compared.

    Raises:
        TargetError: `output` exists, or cannot be written.
        UnsupportedError: an input cannot be read, or options cannot be met.
        VerificationError: the archive does not decode to the inputs.

    Example:
        >>> import pathlib, tempfile, volcomp
        >>> with tempfile.TemporaryDirectory() as scratch:
        ...     study, archive = pathlib.Path(scratch, "study"), pathlib.Path(scratch, "study.vcz")
        ...     study.mkdir()
        ...     _ = (study / "report.txt").write_bytes(b"No finding. " * 100)
        ...     done = volcomp.compress_files(study, archive)
        >>> done.files, done.raw_bytes, done.packed_bytes < 300
        (1, 1200, True)
    """
    several = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
    options = EncodeOptions(model, effort, verify, threads, device, parity)
    return compress([Path(one) for one in several], Path(output), options, force=force, times=times)


def decompress_files(
    archive: AnyPath,
    target: AnyPath | None = None,
    slices: slice | None = None,
    *,
    salvage: bool = False,
    threads: int | None = None,
    device: str = "auto",
    force: bool = False,
    times: bool = True,
) -> Outcome:
    """Restore the files of an archive, as `volcomp decompress` does.

    Parameters:
        archive: the path of the `.vcz` file.
        target: the folder for its files; by default the archived folder's name, in the current folder.
        slices: restore only the images that hold any of these slices of their volume, in steps of one (a file with
            several frames is restored whole), and decode only the slabs that contain them.
        salvage: skip damaged files and restore the others; `lost` of the result names those that were skipped.
        threads, device: see `options.DecodeOptions`.
        force: overwrite files of the same names in an existing folder.
        times: restore times of modification and permissions, where the archive has them.

    Returns:
        Counts of files, bytes and voxels. The SHA-256 of every file that was written has been compared.

    Raises:
        DamagedError: the archive is damaged; nothing has been written.
        UnsupportedError: it cannot be read, needs a later version, or has no files, or none of these slices.
        TargetError: the folder has files and `force` is not given, or it cannot be written.

    Example:
        >>> import pathlib, tempfile, volcomp
        >>> with tempfile.TemporaryDirectory() as scratch:
        ...     report, archive = pathlib.Path(scratch, "report.txt"), pathlib.Path(scratch, "report.vcz")
        ...     _ = report.write_bytes(b"No finding.")
        ...     _ = volcomp.compress_files([report], archive)
        ...     done = volcomp.decompress_files(archive, pathlib.Path(scratch, "restored"))
        ...     pathlib.Path(scratch, "restored", "report.txt").read_bytes()
        b'No finding.'
    """
    if slices is not None and slices.step not in (None, 1):
        raise UnsupportedError(f"slices in steps of {slices.step} were asked of files; take those without a step")
    options = DecodeOptions(threads, device)
    return restore(
        Path(archive),
        None if target is None else Path(target),
        options,
        slices=slices,
        salvage=salvage,
        force=force,
        times=times,
    )
