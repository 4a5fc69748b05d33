"""What `volcomp decompress` does where the output is a volume in another format, not a folder of files."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import Any

from ..progress import printable
from .arguments import STANDARD, slices, source
from .output import amount, finish, working


def is_image(output: Path | None) -> bool:
    """Return whether a name asks for a volume: it has the suffix of a format, and is no folder that exists."""
    if output is None or output == STANDARD:
        return False
    # `convert.SUFFIXES`, which would import numpy before the arguments are known to be valid.
    name = output.name.lower()
    return name.endswith(".zarr") or (
        name.endswith((".nii.gz", ".nii", ".nrrd", ".mha", ".npy")) and not output.is_dir()
    )


def save(options: argparse.Namespace) -> int:
    """Write a volume of an archive in another format; print what was done; return the exit code."""
    wanted = None if options.slices is None else slices(options.slices)
    from ..errors import UnsupportedError
    from ..options import DecodeOptions
    from ..reading.archive import Archive

    if options.salvage:
        raise UnsupportedError("--salvage restores files; it writes no volume, of which slices would be missing")
    begin = time.perf_counter()
    with working(options), Archive(source(options.file), DecodeOptions(options.threads, options.device), 0) as archive:
        if len(options.series) > 1:
            raise UnsupportedError(f"{len(options.series)} series were asked for, and a volume is one; name one")
        if len(archive.volumes) > 1 and not options.series:
            raise UnsupportedError(f"{options.file} has {archive.volumes.listed()}; choose one with --series")
        volume = archive.volumes[options.series[0]] if options.series else archive.volumes.only()
        shape = volume.save(options.output, slice(None) if wanted is None else wanted, force=options.force)
        facts: dict[str, Any] = {
            "file": str(options.file),
            "output": str(options.output),
            "volume": volume.name,
            "series": volume.series,
            "shape": list(shape),
            "dtype": str(volume.rescaled_dtype),
            "bytes_in": archive.file_size,
            "bytes_out": _size(options.output),
        }
    text = f"{options.file}: {volume.name}, {'×'.join(map(str, shape))} {facts['dtype']}, to {options.output}"
    return finish(
        options, facts, printable(f"{text}, {amount(facts['bytes_out'])}, {time.perf_counter() - begin:.1f} s")
    )


def _size(path: Path) -> int:
    """Return the bytes of a file, or of all in a folder."""
    if path.is_dir():
        return sum(os.path.getsize(Path(here, name)) for here, _, names in os.walk(path) for name in names)
    return path.stat().st_size
