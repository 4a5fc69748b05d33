"""The command `volcomp view`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..progress import printable
from .arguments import STANDARD, Commands, archive, as_json, place, source, work
from .output import finish, working
from .volume import chosen


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "view",
        usage="volcomp view FILE [-o SHEET] [options]",
        parents=[work(), as_json()],
        help="show a volume of an archive as a picture",
        description="Write a picture of a volume, or a page that needs no other file: three slices at right angles, in "
        "true proportions, and the bits per voxel of each slab. All of the volume is decoded. "
        "Of a series in time the time point in the middle is shown.",
        example="volcomp view ct.vcz -o ct.html",
    )
    parser.add_argument("file", type=archive, metavar="FILE", help="path or URL; - is standard input")
    parser.add_argument(
        "-o",
        "--output",
        type=place,
        metavar="SHEET",
        help="a .png or .html file (default: FILE's name, .png)",
    )
    parser.add_argument("--series", metavar="NAME", help="which volume: its name or series, as in info")
    parser.add_argument("--slice", type=int, metavar="N", help="which slice (default: the middle one)")
    parser.add_argument("--force", action="store_true", help="overwrite an existing output")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the picture."""
    from ..options import DecodeOptions
    from ..reading.archive import Archive
    from ..reading.view import save

    name = "archive" if options.file == STANDARD else options.file.stem
    output = options.output or Path(name + ".png")
    with working(options), Archive(source(options.file), DecodeOptions(options.threads, options.device), 0) as opened:
        volume = chosen(opened, options.file, options.series)
        seen = save(volume, output, options.slice, force=options.force)
    slabs = [{"slices": [first, end], "bits_per_voxel": bits} for first, end, bits in seen.slabs]
    facts = {"file": str(options.file), "output": str(output), "volume": seen.title, "slabs": slabs}
    return finish(options, facts, printable(f"{options.file}: {seen.title}, {seen.facts['shape']}, to {output}"))
