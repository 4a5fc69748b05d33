"""The command `volcomp compress`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any, TextIO

from ..progress import printable
from .arguments import STANDARD, Commands, as_json, encode_options, encoding, inputs, place, sink, storing, work
from .output import fail, files, megabytes, working


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "compress",
        parents=[encoding(), work(), storing(), as_json()],
        help="archive folders and files",
        description="Archive folders and files. DICOM series are coded as volumes, all other files by zstd or LZMA2. "
        "Names, bytes, times of modification, permissions and symbolic links are restored; owners are not.",
    )
    parser.add_argument(
        "inputs", nargs="+", type=place, metavar="SERIES_DIR", help="folder or file; - is a file from standard input"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=place,
        metavar="OUT.vcz",
        help="default: the first input's name with .vcz; - is standard output",
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing output")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write an archive."""
    from ..archive.pack import compress
    from ..archive.tree import own_name

    begin = time.perf_counter()
    name = options.stdin_name if options.inputs[0] == STANDARD else own_name(options.inputs[0])
    output = options.output or Path(name + ".vcz")
    target = sink() if output == STANDARD else output
    with inputs(options) as paths, working(options):
        done = compress(
            paths,
            target,
            encode_options(options),
            force=options.force,
            times=options.times,
            skip_errors=options.skip_errors,
        )
    return report(
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
        done.skipped,
        options,
        sys.stderr if output == STANDARD else sys.stdout,
    )


def report(facts: dict[str, Any], skipped: list[str], options: argparse.Namespace, out: TextIO, what: str = "") -> int:
    """Print the final line of `compress` or `append`, and what was skipped; return the exit code."""
    if options.json:
        rounded = {key: round(value, 4) if isinstance(value, float) else value for key, value in facts.items()}
        print(json.dumps({**rounded, "skipped": skipped}), file=out)
    else:
        voxels = f"{facts['bits_per_voxel']:.3f} bits per voxel, " if facts["voxels"] else ""
        print(
            printable(
                f"{facts['file']}: {files(facts['files'])}{what}, {megabytes(facts['bytes_in'])} in, "
                f"{megabytes(facts['bytes_out'])} out, ratio {facts['ratio']:.3f}, {voxels}"
                f"{facts['seconds']:.1f} s"
            ),
            file=out,
        )
    for sentence in skipped:
        print("skipped: " + printable(sentence), file=sys.stderr)
    if skipped:
        return fail(f"{facts['file']} is written, but {len(skipped)} of the inputs could not be read", options)
    return 0
