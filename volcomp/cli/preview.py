"""The command `volcomp preview`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..progress import printable
from .arguments import STANDARD, Commands, archive, as_json, place, positive_size, source, work
from .output import finish, working
from .volume import chosen


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "preview",
        usage="volcomp preview FILE [-o PICTURE] [options]",
        parents=[work(), as_json()],
        help="show one slice of an archive, without decoding it",
        description="Write one slice as a picture. Of a volume with a preview (volcomp compress --preview 16) only "
        "that is read, and nothing decoded; of others the slab of the slice is. Of a series in time the time point in "
        "the middle is shown.",
        example="volcomp preview https://host/ct.vcz --size 256 -o ct.png",
    )
    parser.add_argument("file", type=archive, metavar="FILE", help="path or URL; - is standard input")
    parser.add_argument(
        "-o", "--output", type=place, metavar="PICTURE", help="a .png or .jpg (default: FILE's name, .png)"
    )
    parser.add_argument("--series", metavar="NAME", help="which volume: its name or series, as in info")
    parser.add_argument("--slice", type=int, metavar="N", help="which slice (default: the middle one)")
    parser.add_argument("--size", type=positive_size, metavar="N", help="at most so many pixels a side")
    parser.add_argument("--force", action="store_true", help="overwrite an existing output")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the picture."""
    from ..options import DecodeOptions
    from ..reading.archive import Archive
    from ..reading.thumbnail import save

    name = "archive" if options.file == STANDARD else options.file.stem
    output = options.output or Path(name + ".png")
    with working(options), Archive(source(options.file), DecodeOptions(options.threads, options.device), 0) as opened:
        volume = chosen(opened, options.file, options.series)
        shown = save(volume, output, options.slice, size=options.size, force=options.force)
    width, height = shown.size
    facts = {
        "file": str(options.file),
        "output": str(output),
        "volume": volume.name,
        "slice": shown.slice,
        "width": width,
        "height": height,
        "preview": shown.preview,
    }
    of = "preview of " if shown.preview else ""
    text = f"{options.file}: {of}slice {shown.slice} of {volume.name}, {width} × {height} pixels, to {output}"
    return finish(options, facts, printable(text))
