"""Codecs of Zarr on the corpus: sizes and speeds of whole arrays, written chunk by chunk and read again.

    python -m benchmarks.zarr_codecs                       # measures what zarr_codecs.csv lacks
    python -m benchmarks.zarr_codecs --redo fast nd-lift-ht

Each series is an array in memory, of uint16 from 0, in chunks of 64 × 256 × 256, or less where it has fewer slices; at
the edges chunks are filled up with zeros, as Zarr does. Codecs for pictures that do not take a volume get chunks of one
slice. Bytes are those of all chunks. All read arrays are compared.

Seconds are those of the processor, whatever else the machine does meanwhile; one chunk is at work at a time, and every
codec has one thread. volcomp does not verify here, as the others do not.

    python -m benchmarks.zarr_codecs --overhead            # what the way through Zarr costs

codes one whole chunk of a chest CT through Zarr and by `volcomp.compress` and `volcomp.decompress` alone, in turns;
the rows have medians.

The rivals need `pip install imagecodecs imagecodecs-numcodecs 'nd-image-codecs[zarr]'`; those that are not there are
left out.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

import volcomp
from volcomp.training import corpus

from . import machine, report
from .ratio import NotLossless
from .rivals import from_zero, versioned

CSV = Path(__file__).with_name("zarr_codecs.csv")
COLUMNS = (
    "series", "modality", "codec", "chunk", "voxels", "bytes", "bpv", "encode_s", "decode_s", "verified",
    "processor", "instruction_set", "threads", "versions",
)  # fmt: skip
CHUNK = (64, 256, 256)
MODELS = ("base", "fast", "turbo")
DIRECT = "fast, no Zarr"
OF_ONE_CHUNK, ROUNDS = "one chunk of ct_fuzun_a", 5  # in the column of series

Row = dict[str, str]
Shape = tuple[int, ...]
Arguments = Callable[[Shape], dict[str, Any]]  # of `zarr.create_array`, by the shape of a chunk


@dataclass(frozen=True)
class ZarrCodec:
    """A codec, and how an array is made that has it."""

    title: str  # in tables
    packages: tuple[str, ...]  # the distributions that it comes from
    arguments: Arguments
    slices: bool = False  # whether chunks are of one slice

    @property
    def installed(self) -> bool:
        """Whether its packages are there."""
        return all(find_spec(name.replace("-", "_")) for name in self.packages)


def _volcomp(model: str) -> ZarrCodec:
    def arguments(chunk: Shape) -> dict[str, Any]:
        from volcomp.zarr import VolcompCodec

        return {"serializer": VolcompCodec(model, verify=False), "compressors": None}

    return ZarrCodec(f"**volcomp {model}**", ("volcomp", "zarr"), arguments)


def _bytes(name: str, **options: Any) -> Arguments:
    """One of Zarr's own compressors of bytes."""
    return lambda chunk: {"compressors": getattr(import_module("zarr.codecs"), name)(**options)}


def _imagecodecs(name: str, **options: Any) -> Arguments:
    """A codec that imagecodecs has for numcodecs, which is for format 2."""

    def arguments(chunk: Shape) -> dict[str, Any]:
        module = import_module("imagecodecs.numcodecs")
        codec = getattr(module, name)
        import_module("numcodecs").register_codec(codec)
        return {"zarr_format": 2, "compressors": codec(**options)}

    return arguments


def _nd(family: str) -> Arguments:
    """A series of codecs as nd-image-codecs puts it together for the axes of an array."""

    def arguments(chunk: Shape) -> dict[str, Any]:
        series = import_module("nd_image_codecs").codec_series(["z", "y", "x"], list(chunk), "uint16", family)
        at = next(i for i, codec in enumerate(series) if codec["name"] in ("bytes", "htj2k"))
        return {"filters": series[:at], "serializer": series[at], "compressors": series[at + 1 :] or None}

    return arguments


IMAGECODECS, ND = ("imagecodecs", "zarr"), ("nd_image_codecs", "zarr")
CODECS = {
    **{model: _volcomp(model) for model in MODELS},
    "jpegxl-e9": ZarrCodec(
        "JPEG XL, effort 9", IMAGECODECS, _imagecodecs("Jpegxl", effort=9, lossless=True, numthreads=1)
    ),
    "jpegxl-e7": ZarrCodec(
        "JPEG XL, effort 7", IMAGECODECS, _imagecodecs("Jpegxl", effort=7, lossless=True, numthreads=1)
    ),
    "jpegls": ZarrCodec("JPEG-LS", IMAGECODECS, _imagecodecs("Jpegls"), slices=True),
    "jpeg2000": ZarrCodec("JPEG 2000", IMAGECODECS, _imagecodecs("Jpeg2k", level=0, reversible=True), slices=True),
    "htj2k": ZarrCodec("HTJ2K", IMAGECODECS, _imagecodecs("Htj2k", reversible=True), slices=True),
    "nd-lift-ht": ZarrCodec("HTJ2K after lifting along z (nd-lift-ht)", ND, _nd("nd-lift-ht")),
    "nd-delta": ZarrCodec("differences along z, Blosc (nd-delta)", ND, _nd("nd-delta")),
    "blosc-bitshuffle": ZarrCodec(
        "Blosc, zstd 9, bits shuffled", ("zarr",),
        _bytes("BloscCodec", cname="zstd", clevel=9, shuffle="bitshuffle", typesize=2),
    ),
    "blosc-shuffle": ZarrCodec(
        "Blosc, zstd 9, bytes shuffled", ("zarr",),
        _bytes("BloscCodec", cname="zstd", clevel=9, shuffle="shuffle", typesize=2),
    ),
    "blosc2-shuffle": ZarrCodec(
        "Blosc 2, zstd 9, bytes shuffled", IMAGECODECS,
        _imagecodecs("Blosc2", compressor="zstd", level=9, shuffle=1, typesize=2, numthreads=1),
    ),
    "zstd-19": ZarrCodec("zstd, level 19", ("zarr",), _bytes("ZstdCodec", level=19)),
    "zstd-0": ZarrCodec("zstd, level 0: Zarr's default", ("zarr",), _bytes("ZstdCodec", level=0)),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, row by row into the CSV, then the table."""
    options = _parser().parse_args(arguments)
    rows = {(row["series"], row["codec"]): row for row in report.read_rows(CSV)}
    chosen = [s for s in corpus.splits() if s.split == "valid" and s.name in (options.series or [s.name])]
    if options.overhead:
        _one_at_a_time()
        _save(rows, overhead())
    elif not options.report:
        _one_at_a_time()
        for series, name in itertools.product(chosen, (n for n, codec in CODECS.items() if codec.installed)):
            if name not in options.codecs or ((series.name, name) in rows and name not in options.redo):
                continue
            print(f"{series.name}: {name}", end=" ", flush=True, file=sys.stderr)
            row = measure(series, name)
            print(f"{row['bpv']} bits per voxel, {row['encode_s']} s, {row['decode_s']} s", file=sys.stderr)
            _save(rows, [row])
    report.publish("zarr_codecs", summary(list(rows.values())))


def _save(rows: dict[tuple[str, str], Row], measured: Sequence[Row]) -> None:
    """Put rows in their place: series in the order of their names, codecs in that of the table."""
    rows.update({(row["series"], row["codec"]): row for row in measured})
    order = [*CODECS, DIRECT]
    ordered = sorted(rows.values(), key=lambda row: (row["series"], order.index(row["codec"])))
    report.write_rows(CSV, COLUMNS, ordered)


def measure(series: corpus.Series, name: str) -> Row:
    """The row of a codec. Raises NotLossless where it is not."""
    codec, found = CODECS[name], []
    volumes = [from_zero(volume) for volume in corpus.volumes(series.name)]
    chunks = [(1 if codec.slices else min(CHUNK[0], len(volume)), *CHUNK[1:]) for volume in volumes]
    for volume, chunk in zip(volumes, chunks, strict=True):
        found.append(through_zarr(codec, volume, chunk))
    voxels = sum(volume.size for volume in volumes)
    return _row(series.name, series.modality, name, chunks[0], voxels, np.sum(found, axis=0))


def overhead() -> list[Row]:
    """Two rows: a whole chunk through Zarr, and without it. Medians of rounds in which they take turns."""
    volume = from_zero(corpus.volumes("ct_fuzun_a")[0])
    piece = np.ascontiguousarray(volume[: CHUNK[0], 128:384, 128:384])
    codec = CODECS["fast"]
    turns = [(through_zarr(codec, piece, CHUNK), _without("fast", piece)) for _ in range(ROUNDS)]
    medians = np.median(turns, axis=0)
    names = ("fast", DIRECT)
    return [_row(OF_ONE_CHUNK, "CT", name, CHUNK, piece.size, medians[k]) for k, name in enumerate(names)]


def _row(series: str, modality: str, codec: str, chunk: Shape, voxels: int, found: Any) -> Row:
    size, encoding, decoding = found
    packages = CODECS[codec if codec in CODECS else "fast"].packages
    return {
        "series": series,
        "modality": modality,
        "codec": codec,
        "chunk": "×".join(map(str, chunk)),
        "voxels": str(voxels),
        "bytes": str(int(size)),
        "bpv": f"{8 * size / voxels:.4f}",
        "encode_s": f"{encoding:.4f}",
        "decode_s": f"{decoding:.4f}",
        "verified": "yes",
        "processor": machine.processor(),
        "instruction_set": machine.instruction_set(),
        "threads": "1",
        "versions": ", ".join(versioned(package.replace("_", "-")) for package in packages),
    }


def through_zarr(codec: ZarrCodec, volume: np.ndarray, chunk: Shape) -> tuple[int, float, float]:
    """Write and read an array: bytes of its chunks, processor seconds of both."""
    import zarr

    store: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that codecs are not in the specification
        array = zarr.create_array(
            zarr.storage.MemoryStore(store),
            shape=volume.shape,
            chunks=chunk,
            dtype=volume.dtype,
            **codec.arguments(chunk),
        )
        array[: chunk[0], : chunk[1], : chunk[2]] = volume[: chunk[0], : chunk[1], : chunk[2]]  # loads and compiles
        begin = time.process_time()
        array[:] = volume
        between = time.process_time()
        found = array[:]
        end = time.process_time()
    if found.dtype != volume.dtype or not np.array_equal(found, volume):
        raise NotLossless(f"{codec.title} does not give back the voxels of {volume.shape}")
    size = sum(
        len(data) for key, data in store.items() if key.split("/")[-1] not in ("zarr.json", ".zarray", ".zattrs")
    )
    return size, between - begin, end - between


def _without(model: str, piece: np.ndarray) -> tuple[int, float, float]:
    """The same chunk by volcomp alone."""
    begin = time.process_time()
    stream = volcomp.compress(piece, model, verify=False, threads=1, device="cpu")
    between = time.process_time()
    found = volcomp.decompress(stream, threads=1, device="cpu")
    end = time.process_time()
    if not np.array_equal(found, piece):
        raise NotLossless(f"volcomp {model} does not give back the voxels of {piece.shape}")
    return len(stream), between - begin, end - between


def summary(rows: Sequence[Row]) -> str:
    """What the page has: on how many series of which kind, on what processor and with which releases; the table."""
    measured = [row for row in rows if row["series"] != OF_ONE_CHUNK]
    kinds = Counter({row["series"]: row["modality"] for row in measured}.values())
    kinds_named = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    machines = sorted({f"{row['processor']}, {row['instruction_set']}" for row in measured})
    releases = sorted({part for row in measured for part in row["versions"].split(", ") if part.startswith("volcomp ")})
    return (
        f"{kinds.total()} series of the valid split ({kinds_named}). MB of voxels a second of processor time, "
        f"{'; '.join(machines)}, one thread\nand one chunk at a time, nothing verified; others used the machine "
        f"meanwhile, so compare lines. {' and '.join(releases)}.\n\n{codecs(measured)}"
    )


def codecs(rows: Sequence[Row]) -> str:
    """The table: mean bits per voxel over the series, and MB a second of processor time over all of them.

    Only codecs with a row for every series that any codec has: a mean over fewer would compare nothing.
    """
    by_codec = {name: [row for row in rows if row["codec"] == name] for name in CODECS}
    series = {row["series"] for row in rows}
    lines = []
    for name, found in by_codec.items():
        if not series or {row["series"] for row in found} != series:
            continue
        megabytes = sum(int(row["voxels"]) for row in found) * 2 / 1e6
        speeds = [megabytes / sum(float(row[column]) for row in found) for column in ("encode_s", "decode_s")]
        chunk = "a slice" if CODECS[name].slices else "a volume"
        lines.append(
            [CODECS[name].title, chunk, f"{mean(float(row['bpv']) for row in found):.3f}", *map(_speed, speeds)]
        )
    heads = ["", "chunk", f"bits per voxel, {len(series)} series", "encoding MB/s", "decoding MB/s"]
    return report.table(heads, lines)


def _speed(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def _one_at_a_time() -> None:
    """Let Zarr have one chunk at work at a time, and compressors one thread."""
    import numcodecs
    import zarr

    zarr.config.set({"async.concurrency": 1, "threading.max_workers": 1})
    numcodecs.blosc.set_nthreads(1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.zarr_codecs", description=(__doc__ or "").split("\n")[0]
    )
    names: dict[str, Any] = {"nargs": "+", "metavar": "CODEC", "choices": CODECS}
    parser.add_argument("--codecs", **names, default=list(CODECS), help=f"only these of: {', '.join(CODECS)}")
    parser.add_argument("--redo", **names, default=(), help="measure these again")
    parser.add_argument("--series", nargs="+", metavar="NAME", help="only these of the valid split")
    parser.add_argument("--overhead", action="store_true", help="measure what the way through Zarr costs")
    parser.add_argument("--report", action="store_true", help="measure nothing: the table, from zarr_codecs.csv alone")
    return parser


if __name__ == "__main__":
    main()
