"""Real NIfTI and MGH files: their archives beside the files as they came, gzip, zstd, xz and Tomoz.

    python -m benchmarks.nifti                        # measures what nifti.csv lacks, file by file, the smallest first;
                                                      # several may run at a time
    python -m benchmarks.nifti --groups integers      # only these: integers, "floating point", labels, 4-D
    python -m benchmarks.nifti --redo base fast       # these codecs once more
    python -m benchmarks.nifti --report               # measures nothing: the tables, from nifti.csv alone

The files are those of `nifti_files.csv`. Each gets an archive of its own, of one file with its name and its time, which
is restored and compared byte for byte. gzip -9, zstd -19 and xz -6 get what a file inflates to; Tomoz gets the voxels
of three-dimensional integers alone, shifted so that they start at 0. All is decoded and compared; what differs is an
error, not a row.

`stream` is what is kept of a gzip stream so that it comes back: bytes, which encoder it came from, and what it costs to
take it apart and to make it again, without the voxels.

Seconds are those of the processor, on one thread, whatever else the machine does meanwhile; of small files those of
the second time, since the first one may compile. Files that inflate to more
than --largest MB are measured as streams alone.
"""

from __future__ import annotations

import argparse
import fcntl
import gzip
import lzma
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import zstandard

import volcomp
from volcomp.bodies.gzipped import member_start
from volcomp.streams import deflate, deflate_side
from volcomp.streams.protocol import NotReproducible

from . import machine, nifti_files, nifti_tables, report
from .nifti_streams import way
from .ratio import NotLossless
from .rivals import from_zero, tomoz, versioned

CSV = Path(__file__).with_name("nifti.csv")
COLUMNS = (
    "file", "codec", "bytes", "how", "encode_s", "decode_s", "verified",
    "processor", "instruction_set", "threads", "versions",
)  # fmt: skip
CODECS = ("stream", "fast", "base", "tomoz", "gzip-9", "zstd-19", "xz-6")
MODELS = ("fast", "base")
LARGEST = 100  # MB
SMALL = 1_000_000  # bytes; smaller files are done twice, since what is first of its kind compiles
_PACKAGES = {
    "fast": ("volcomp", "numba", "numpy"), "base": ("volcomp", "numba", "numpy"), "stream": ("volcomp", "numba"),
    "tomoz": ("tomoz",), "zstd-19": ("zstandard",),
}  # fmt: skip

Row = dict[str, str]


class Measured(NamedTuple):
    """What a codec did to a file: bytes, what else is to be said, processor seconds of both directions."""

    size: int
    how: str
    encoding: float
    decoding: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, row by row into the CSV; then the tables."""
    options = _parser().parse_args(arguments)
    files = {row["file"]: row for row in report.read_rows(nifti_files.FILES)}
    chosen = [row for row in files.values() if row["group"] in options.groups]
    chosen.sort(key=lambda row: int(row["inflated"]), reverse=options.largest_first)
    for file in [] if options.report else chosen:
        wanted = [codec for codec in CODECS if codec in options.codecs and applies(file, codec, options.largest)]
        done = measured(file)
        wanted = [codec for codec in wanted if codec not in done or codec in options.redo]
        data = nifti_files.content(file) if wanted else b""
        for codec in wanted:
            if codec not in options.redo and codec in measured(file):  # meanwhile, by another process
                continue
            print(f"{file['file']}: {codec}", end=" ", flush=True, file=sys.stderr)
            row = measure(file, codec, data)
            print(f"{row['bytes']} {row['how']}", file=sys.stderr)
            save(row)
    nifti_tables.publish(list(files.values()), report.read_rows(CSV))


def measured(file: Row) -> set[str]:
    """Return the codecs of which there are rows of a file."""
    return {row["codec"] for row in report.read_rows(CSV) if row["file"] == file["file"]}


def save(row: Row) -> None:
    """Put a row in its place. Several processes may measure at a time."""
    place = {file["file"]: number for number, file in enumerate(report.read_rows(nifti_files.FILES))}
    with (nifti_files.cache() / "nifti.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        rows = {(known["file"], known["codec"]): known for known in (*report.read_rows(CSV), row)}
        ordered = sorted(
            (known for known in rows.values() if known["file"] in place),
            key=lambda known: (place[known["file"]], CODECS.index(known["codec"])),
        )
        report.write_rows(CSV, COLUMNS, ordered)


def applies(file: Row, codec: str, largest: float = LARGEST) -> bool:
    """Tell whether a codec is measured on a file; `largest`: MB that one inflates to, but for its stream."""
    if codec == "stream":
        return file["path"].lower().endswith(("gz", "mgz"))
    if codec == "tomoz" and (file["dtype"] not in ("uint8", "int8", "uint16", "int16") or file["shape"].count("×") > 2):
        return False
    return int(file["inflated"]) <= largest * 1e6


def measure(file: Row, codec: str, data: bytes) -> Row:
    """Return the row of a codec. Raises NotLossless where it is not."""
    work = _work(file, codec, data)
    done = work()
    if int(file["inflated"]) < SMALL:
        done = work()
    return {
        "file": file["file"],
        "codec": codec,
        "bytes": str(done.size),
        "how": done.how,
        "encode_s": f"{done.encoding:.3f}",
        "decode_s": f"{done.decoding:.3f}",
        "verified": "yes",
        "processor": machine.processor(),
        "instruction_set": machine.instruction_set(),
        "threads": "1",
        "versions": ", ".join(map(versioned, _PACKAGES.get(codec, ()))) or f"Python {sys.version.split()[0]}",
    }


def _work(file: Row, codec: str, data: bytes) -> Callable[[], Measured]:
    if codec in MODELS:
        return partial(archive, codec, PurePosixPath(file["path"]).name, data)
    if codec == "stream":
        return partial(stream, data)
    if codec == "tomoz":
        return partial(_tomoz, file["path"], data)
    raw = nifti_files.inflated(data)
    if codec == "gzip-9":
        return partial(_general, raw, partial(gzip.compress, compresslevel=9, mtime=0), gzip.decompress)
    if codec == "xz-6":
        return partial(_general, raw, partial(lzma.compress, preset=6), lzma.decompress)
    return partial(_general, raw, zstandard.ZstdCompressor(level=19).compress, zstandard.ZstdDecompressor().decompress)


def archive(model: str, name: str, data: bytes) -> Measured:
    """Measure the archive of a file; how: "volume", or why it is kept whole."""
    with tempfile.TemporaryDirectory() as folder:
        source, packed, restored = Path(folder, "in", name), Path(folder, "x.vcz"), Path(folder, "out")
        source.parent.mkdir()
        source.write_bytes(data)
        options: dict[str, Any] = {"threads": 1, "device": "cpu"}
        begin = time.process_time()
        volcomp.compress_files([source], packed, model, verify=False, **options)
        between = time.process_time()
        volcomp.decompress_files(packed, restored, **options)
        end = time.process_time()
        if (restored / name).read_bytes() != data:
            raise NotLossless(f"volcomp {model} does not give back {name}")
        (entry,) = [entry for entry in volcomp.list_files(packed) if entry["kind"] == "file"]
        how = "volume" if entry["kept"] == "volume" else f"whole: {entry['why']}"
        return Measured(packed.stat().st_size, how, between - begin, end - between)


def stream(data: bytes) -> Measured:
    """Measure what is kept of the deflate streams of a gzipped file. One that does not come back is kept: all bytes."""
    at, kept, ways = 0, 0, list[str]()
    seconds = [0.0, 0.0]
    while (found := member_start(data[at:])) is not None:
        at += found[0]
        begin = time.process_time()
        try:
            raw, side, size = deflate.apart(memoryview(data)[at:], deflate.LARGEST)
        except NotReproducible as error:
            return Measured(len(data), f"kept: {error}", time.process_time() - begin, 0.0)
        between = time.process_time()
        made = deflate.make(raw, side)
        seconds = [seconds[0] + between - begin, seconds[1] + time.process_time() - between]
        if made != data[at : at + size]:
            raise NotLossless("a deflate stream does not come back")
        kept += len(side)
        ways.append(way(deflate_side.read(side, len(raw))))
        at += size + 8
    return Measured(kept, ", ".join(dict.fromkeys(ways)), *seconds)


def _tomoz(path: str, data: bytes) -> Measured:
    """The stream of the voxels."""
    image = nifti_files.read(path, data)
    assert image is not None
    volume = from_zero(image.voxels)
    begin = time.process_time()
    packed = tomoz.encode(volume, threads=1)
    between = time.process_time()
    found = tomoz.decode(packed, threads=1)
    end = time.process_time()
    if not np.array_equal(found.reshape(volume.shape), volume):
        raise NotLossless(f"Tomoz does not give back {path}")
    return Measured(len(packed), "", between - begin, end - between)


def _general(raw: bytes, encode: Callable[[bytes], bytes], decode: Callable[[bytes], bytes]) -> Measured:
    begin = time.process_time()
    packed = encode(raw)
    between = time.process_time()
    found = decode(packed)
    end = time.process_time()
    if found != raw:
        raise NotLossless("a general codec does not give back its bytes")
    return Measured(len(packed), "", between - begin, end - between)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.nifti", description=(__doc__ or "").split("\n")[0])
    names: dict[str, Any] = {"nargs": "+", "metavar": "CODEC", "choices": CODECS}
    parser.add_argument("--codecs", **names, default=list(CODECS), help=f"only these of: {', '.join(CODECS)}")
    parser.add_argument("--redo", **names, default=(), help="measure these again")
    groups: dict[str, Any] = {"nargs": "+", "metavar": "GROUP", "choices": nifti_files.GROUPS}
    parser.add_argument("--groups", **groups, default=nifti_files.GROUPS, help="only files of these groups")
    parser.add_argument("--largest", type=float, default=LARGEST, metavar="MB", help="that a file may inflate to")
    parser.add_argument("--largest-first", action="store_true", help="begin with the largest file")
    parser.add_argument("--report", action="store_true", help="measure nothing: the tables, from nifti.csv alone")
    return parser


if __name__ == "__main__":
    main()
