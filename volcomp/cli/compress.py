"""The command `volcomp compress`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from ..progress import printable
from .arguments import Commands, as_json, encode_options, encoding, work
from .output import files, megabytes, working


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "compress",
        parents=[encoding(), work(), as_json()],
        help="archive folders and files",
        description="Archive folders and files. DICOM series are coded as volumes, all other files by zstd. Names and "
        "bytes are restored, modes and times are not.",
    )
    parser.add_argument("inputs", nargs="+", type=Path, metavar="SERIES_DIR", help="folder or file")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT.vcz", help="default: the first input's name with .vcz"
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing output")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write an archive."""
    from ..archive.pack import compress
    from ..archive.tree import own_name

    begin = time.perf_counter()
    output = options.output or Path(own_name(options.inputs[0]) + ".vcz")
    with working(options):
        done = compress(options.inputs, output, encode_options(options), force=options.force)
    _report(
        {
            "file": str(output),
            "files": done.files,
            "bytes_in": done.raw_bytes,
            "bytes_out": done.packed_bytes,
            "ratio": done.raw_bytes / done.packed_bytes,
            "voxels": done.voxels,
            "bits_per_voxel": done.voxel_bits,
            "seconds": time.perf_counter() - begin,
        },
        options.json,
    )
    return 0


def _report(facts: dict[str, Any], as_json: bool) -> None:
    """Print the final line of `compress`."""
    if as_json:
        print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in facts.items()}))
    else:
        voxels = f"{facts['bits_per_voxel']:.3f} bits per voxel, " if facts["voxels"] else ""
        print(
            printable(
                f"{facts['file']}: {files(facts['files'])}, {megabytes(facts['bytes_in'])} in, "
                f"{megabytes(facts['bytes_out'])} out, ratio {facts['ratio']:.3f}, {voxels}"
                f"{facts['seconds']:.1f} s"
            )
        )
