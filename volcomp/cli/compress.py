"""The command `volcomp compress`."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import UnsupportedError
from .arguments import (
    STANDARD,
    SUFFIX,
    Commands,
    as_json,
    encode_options,
    encoding,
    grey_levels,
    inputs,
    is_archive,
    new_archive,
    place,
    sink,
    storing,
    work,
)
from .output import amount, finish, held, printable_lines, working
from .usage import UsageError

if TYPE_CHECKING:
    from ..archive.pack import Summary


def add(commands: Commands) -> None:
    """Add the command and its options."""
    parser = commands.add_parser(
        "compress",
        usage="volcomp compress SERIES_DIR... [-o OUT.vcz] [options]",
        parents=[encoding(), work(), storing(), as_json()],
        help="archive folders and files",
        description="Archive folders and files. DICOM series, files of whole volumes, as NIfTI, and PNG and PGM images "
        "are coded as volumes, all other files by zstd or LZMA2. "
        "Names, bytes, times of modification, permissions and symbolic links are restored; owners are not.",
        example="volcomp compress CT -o ct.vcz",
    )
    parser.add_argument(
        "inputs", nargs="+", type=place, metavar="SERIES_DIR", help="folder or file; - is a file from standard input"
    )
    parser.add_argument(
        "-o",
        "--output",
        type=new_archive,
        metavar="OUT.vcz",
        help="default: the input's name with .vcz; - is stdout",
    )
    parser.add_argument("--force", action="store_true", help="overwrite an existing output")
    lossy = parser.add_argument_group("files that are no longer the originals")
    lossy.add_argument(
        "--max-error",
        type=grey_levels,
        default=0,
        metavar="D",
        help="let voxels differ by up to D grey levels",
    )
    lossy.add_argument(
        "--roi",
        metavar="REGION",
        help="keep this exact: x0:x1,y0:y1,z0:z1, or a mask",
    )
    lossy.add_argument("--lossy", action="store_true", help="allow --max-error for DICOM images")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write an archive."""
    from ..archive.pack import compress
    from ..archive.tree import own_name
    from ..files import substitute

    encoded = encode_options(options)
    _check(options.inputs, options.output)
    if not options.max_error and (options.roi or options.lossy):
        raise UsageError(f"{'--roi' if options.roi else '--lossy'} needs --max-error: say how far voxels may differ")
    name = options.stdin_name if options.inputs[0] == STANDARD else own_name(options.inputs[0])
    output = options.output or Path(name + SUFFIX)
    target = sink() if output == STANDARD else output
    with inputs(options) as paths, working(options):
        done = compress(
            paths, target, encoded, force=options.force, times=options.times, skip_errors=options.skip_errors,
            substitute=substitute(options.max_error, options.roi, options.lossy, encoded),
        )  # fmt: skip
    return report(output, done, options)


def _check(given: list[Path], output: Path | None) -> None:
    """Raise UnsupportedError for what is likely a mistake: a target among the inputs, or an archive as the only one."""
    last = given[-1]
    if len(given) > 1 and output is None and last.suffix == SUFFIX:
        several = " ".join(map(str, given[:-1]))
        if not os.path.lexists(last):
            raise UnsupportedError(
                f"{last} cannot be read: there is no such file; to write it, name the target with -o: "
                f"volcomp compress {several} -o {last}"
            )
        if is_archive(last):
            raise UnsupportedError(
                f"{last} is an archive already; volcomp append {last} {several} adds to it, and "
                f"volcomp compress {several} -o {last} --force replaces it"
            )
    if len(given) == 1 and is_archive(last):
        raise UnsupportedError(
            f"{last} is an archive already; volcomp decompress {last} restores it, and volcomp append {last} INPUT "
            "adds to it (archives in a folder are archived with it)"
        )


def report(archive: Path, done: Summary, options: argparse.Namespace, what: str = "") -> int:
    """Print the result of `compress` or `append`, and what was skipped; return the exit code."""
    ratio = done.raw_bytes / max(done.packed_bytes, 1)
    warnings = list(done.warnings)
    if getattr(options, "preview", 0) and not done.voxels:
        warnings.append("none of these files has a preview, since none is coded as voxels; volcomp info says why")
    facts = {
        "file": str(archive),
        "files": done.files,
        "folders": done.folders,
        "links": done.links,
        "bytes_in": done.raw_bytes,
        "bytes_out": done.packed_bytes,
        "ratio": ratio,
        "voxels": done.voxels,
        "bits_per_voxel": done.voxel_bits,
        "skipped": done.skipped,
        "changed": done.changed,
        "unchanged": done.unchanged,
        "warnings": warnings,
    }
    parts = [held(done.files, done.folders, done.links) + what]
    parts += [f"{amount(done.raw_bytes)} in", f"{amount(done.packed_bytes)} out"]
    parts += [f"ratio {ratio:.3f}"] if done.raw_bytes else []
    parts += [f"{done.voxel_bits:.3f} bits per voxel"] if done.voxels else []
    parts += [f"{time.perf_counter() - options.begin:.1f} s"]
    text = f"{'standard output' if archive == STANDARD else archive}: {', '.join(parts)}"
    if done.changed:
        differ = "file differs from the original" if done.changed == 1 else "files differ from the originals"
        text += f"\n{done.changed} {differ}, within the bound; bytes in and the ratio are of what is archived"
    problem = f"{archive} is written, but {len(done.skipped)} of the inputs could not be read" if done.skipped else None
    notes = [f"skipped: {sentence}" for sentence in done.skipped]
    notes += [f"unchanged: {name} stays exact: its voxels cannot be replaced" for name in done.unchanged]
    notes += [f"warning: {sentence}" for sentence in warnings]
    return finish(options, facts, printable_lines(text), problem, notes)
