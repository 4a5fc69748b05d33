"""Archives of files, made, restored, listed: the library's front door beside `arrays`.

Every file comes back byte for byte.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from .archive import append as adding
from .archive import restore as restoring
from .archive.contents import contents
from .archive.describe import describe
from .archive.pack import Substitute, Summary, compress
from .archive.protect import diagnose
from .archive.remote import local, source_of
from .archive.restore import Outcome, restore
from .archive.tree import Tree
from .constants import EFFORT
from .errors import DamagedError, UnsupportedError
from .models import DEFAULT, Model
from .options import (
    DecodeOptions,
    EncodeOptions,
    check_flags,
    check_folder,
    check_integer,
    check_paths,
    check_slices,
    check_type,
    image_suffix,
)  # fmt: skip
from .wording import spelled

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
    skip_errors: bool = False,
    max_error: int = 0,
    roi: str | None = None,
    lossy: bool = False,
) -> Summary:
    """Archive folders and files as a `.vcz` file, as `volcomp compress` does.

    Parameters:
        inputs: a folder or file, or several. Images that a format of `formats` reads are coded as volumes; all other
            bytes are kept.
        output: the archive. It gets its name when it is complete.
        model, effort, verify, threads, device, parity: see `options.EncodeOptions`.
        force: overwrite an existing `output`.
        times: keep times of modification and permissions.
        skip_errors: leave out what cannot be read, and name it in `skipped` of the result.
        max_error: how many grey levels a stored voxel may differ from the original; 0 for none. The archive then has
            other files than were given, and says so.
        roi: with `max_error`, what stays as it is: "x0:x1,y0:y1,z0:z1", or the path of a mask of the volume's grid.
        lossy: allow `max_error` for DICOM images, which become new instances, marked as lossy.

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
    options = EncodeOptions(model, effort, verify, threads, device, parity)
    check_flags(force=force, times=times, skip_errors=skip_errors, lossy=lossy)
    target = local(output, "output")
    return compress(
        _paths(inputs), target, options, force=force, times=times, skip_errors=skip_errors,
        substitute=substitute(max_error, roi, lossy, options),
    )  # fmt: skip


def substitute(
    max_error: int, roi: str | None, lossy: bool, options: EncodeOptions
) -> Callable[[Tree], AbstractContextManager[Substitute]] | None:
    """Return what puts files within a bound in the place of those given; None where no error is allowed."""
    check_integer("max_error", max_error, "a number of grey levels, or 0")
    if roi is not None:
        check_type("roi", roi, str, "x0:x1,y0:y1,z0:z1 or the path of a mask")
    if not max_error:
        if roi is not None or lossy:
            given = "roi=" if roi is not None else "lossy=True"
            raise UnsupportedError(f"{given} was given without a largest error; give {spelled('max_error=')} too")
        return None
    from .derived.files import Allowed, derived
    from .derived.region import region_of

    allowed = Allowed(max_error, None if roi is None else region_of(roi), lossy)
    return lambda tree: derived(tree, allowed, options)


def append(
    archive: AnyPath,
    inputs: AnyPath | Iterable[AnyPath],
    model: str | Model = DEFAULT,
    *,
    effort: int = EFFORT,
    verify: bool = True,
    threads: int | None = None,
    device: str = "auto",
    parity: float = 0.0,
    times: bool = True,
    skip_errors: bool = False,
) -> Summary:
    """Add folders and files to an archive, as `volcomp append` does: nothing in it is coded again, or replaced.

    Parameters:
        archive: the path of the `.vcz` file. A new file takes its name when it is complete.
        inputs: a folder or file, or several. A single folder of the archived one's name adds its contents to it.
        model, effort, verify, threads, device: see `options.EncodeOptions`.
        parity: of an archive that has parity, how much the new one gets.
        times, skip_errors: see `compress_files`.

    Returns:
        Counts of what was added; `packed_bytes` is what the archive grew by.

    Raises:
        TargetError: the archive cannot be replaced, or another process adds to it.
        DamagedError: the archive is damaged.
        UnsupportedError: an input cannot be read, or has the name of what is in the archive, or options cannot be met.
        VerificationError: the new archive does not decode to the inputs; the old one stays, as in all these cases.

    Example:
        >>> import pathlib, tempfile, volcomp
        >>> with tempfile.TemporaryDirectory() as scratch:
        ...     report, more, archive = (pathlib.Path(scratch, name) for name in ("a.txt", "b.txt", "c.vcz"))
        ...     _ = report.write_bytes(b"No finding."), more.write_bytes(b"A finding.")
        ...     _ = volcomp.compress_files(report, archive)
        ...     done = volcomp.append(archive, more)
        ...     done.files, [entry["name"] for entry in volcomp.list_files(archive)]
        (1, ['a.txt', 'b.txt'])
    """
    options = EncodeOptions(model, effort, verify, threads, device, parity)
    check_flags(times=times, skip_errors=skip_errors)
    return adding.append(local(archive, "archive"), _paths(inputs), options, times=times, skip_errors=skip_errors)


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
        archive: the path of the `.vcz` file, or its URL.
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
        UnsupportedError: it cannot be read, needs a later version, or has no files, or none of these slices; or
            `target` has the name of an image, such as "x.nii.gz", and is no folder that exists.
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
    check_slices(slices)
    if slices is not None and slices.step not in (None, 1):
        raise UnsupportedError(f"slices in steps of {slices.step} were asked of files; take those without a step")
    check_flags(salvage=salvage, force=force, times=times)
    if target is not None and not Path(target).is_dir():
        if image_suffix(Path(target).name):
            raise UnsupportedError(
                f"{target} is the name of an image, and files are restored to a folder; volcomp.open(archive).save("
                f"{str(target)!r}) writes the volume, or take another name for the folder"
            )
        check_folder(str(target))
    options = DecodeOptions(threads, device)
    return restore(
        source_of(archive),
        None if target is None else local(target, "target"),
        options,
        slices=slices,
        salvage=salvage,
        force=force,
        times=times,
    )


def verify(archive: AnyPath, *, threads: int | None = None, device: str = "auto") -> Outcome:
    """Decode all of an archive, or of the `.vcz` of arrays, and compare all checksums, as `volcomp verify` does.

    Parameters:
        archive: the path of the file, or its URL, of which all is then fetched.
        threads, device: see `options.DecodeOptions`.

    Returns:
        Counts of files, bytes and voxels.

    Raises:
        DamagedError: it is damaged; of a file with parity also where the parity is.
        UnsupportedError: it cannot be read, or needs a later version.
    """
    source = source_of(archive)
    options = DecodeOptions(threads, device)
    if damage := diagnose(source):
        raise DamagedError(f"{source}: {damage}")
    return restoring.verify(source, options)


def list_files(archive: AnyPath) -> list[dict[str, Any]]:
    """Return the files, folders and links of an archive, as `volcomp list --json` has them. Nothing is decoded.

    Parameters:
        archive: the path of the `.vcz` file, or its URL.

    Returns:
        For each its `name`, `kind` ("file", "folder" or "link"), `mtime_ns` and `mode` (None where they were not to be
        kept); of a file also `size`, `sha256` and `kept`: "volume" (with `volume`, its number, and `slices`), "whole"
        (with `why`) or "copy" (with `copy_of`); of a link its `target`.

    Raises:
        DamagedError: its index or its lists of files are damaged.
        UnsupportedError: it cannot be read, has arrays and no files, or needs a later version.
    """
    entries: list[dict[str, Any]] = contents(source_of(archive))["entries"]
    return entries


def info(archive: AnyPath) -> dict[str, Any]:
    """Return what an archive holds, as `volcomp info --json` has it; `volcomp.inspect` tells less, and of bytes too.

    Parameters:
        archive: the path of the `.vcz` file, or its URL.

    Returns:
        Its volumes with shape, type, series, spacing and model; sizes by section; counts of files.

    Raises:
        DamagedError: its index, a list or a header is damaged.
        UnsupportedError: it cannot be read, or needs a later version.
    """
    return describe(source_of(archive))


def _paths(inputs: AnyPath | Iterable[AnyPath]) -> list[Path]:
    """Return the paths of what is archived. Raises ArgumentError for other types, and UnsupportedError."""
    check_paths("inputs", inputs)
    several = [inputs] if isinstance(inputs, str | os.PathLike) else [*inputs]
    return [local(one, f"inputs[{k}]" if len(several) > 1 else "inputs") for k, one in enumerate(several)]
