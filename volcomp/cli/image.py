"""What `volcomp decompress` does where the output is a volume in another format, not a folder of files."""

from __future__ import annotations

import argparse
import os
import time
import warnings
from pathlib import Path
from typing import Any

from ..options import DecodeOptions, check_folder, image_suffix
from ..progress import printable
from .arguments import STANDARD, slices, source
from .output import amount, finish, working
from .volume import chosen


def is_image(output: Path | None) -> bool:
    """Return whether a name asks for a volume: it has the suffix of a format, and is no folder that exists.

    Raises UnsupportedError for the name of a file of a format that is not written.
    """
    if output is None or output == STANDARD:
        return False
    suffix = image_suffix(output.name)
    if suffix is None and not output.is_dir():
        check_folder(str(output))
    return suffix is not None and (suffix.endswith(".zarr") or not output.is_dir())


def save(options: argparse.Namespace) -> int:
    """Write a volume of an archive in another format; print what was done; return the exit code."""
    wanted = None if options.slices is None else slices(options.slices)
    from ..errors import UnsupportedError
    from ..reading.archive import Archive

    if options.salvage:
        raise UnsupportedError("--salvage restores files; it writes no volume, of which slices would be missing")
    begin = time.perf_counter()
    with working(options), Archive(source(options.file), DecodeOptions(options.threads, options.device), 0) as archive:
        if len(options.series) > 1:
            raise UnsupportedError(f"{len(options.series)} series were asked for, and a volume is one; name one")
        volume = chosen(archive, options.file, options.series[0] if options.series else None)
        with warnings.catch_warnings(record=True) as cautions:
            warnings.simplefilter("always", UserWarning)
            shape = volume.save(options.output, slice(None) if wanted is None else wanted, force=options.force)
        facts: dict[str, Any] = {
            "file": str(options.file),
            "output": str(options.output),
            "volume": volume.name,
            "series": volume.series,
            "shape": list(shape),
            "dtype": str(volume.rescaled_dtype),
            "bytes_in": archive.file_size,
            "bytes_out": sum(map(_size, parts(options.output))),
        }
    text = f"{options.file}: {volume.name}, {'×'.join(map(str, shape))} {facts['dtype']}, to {options.output}"
    line = printable(f"{text}, {amount(facts['bytes_out'])}, {time.perf_counter() - begin:.1f} s")
    notes = [f"volcomp: {one.message}" for one in cautions if one.category is UserWarning]
    return finish(options, facts, line, None, notes)


def parts(path: Path) -> list[Path]:
    """Return the files that a volume is written to: one, or header and voxels."""
    from ..reading.convert import pair_of

    return [*(pair_of(path) or (path,))]


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all in a folder."""
    if path.is_dir():
        return sum(os.path.getsize(Path(here, name)) for here, _, names in os.walk(path) for name in names)
    return path.stat().st_size
