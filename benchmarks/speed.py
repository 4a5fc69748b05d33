"""Speeds: MB/s of encoding and decoding and the memory they take, volcomp and the other codecs side by side.

    python -m benchmarks.speed                          # a chest CT of 98 slices, two threads, three rounds
    python -m benchmarks.speed --codecs base fast tomoz --rounds 5

All codecs take turns, one at a time, round after round, so that whatever else slows the machine slows them alike; the
median of the rounds counts. Each turn is a process of its own, which loads the volume, does a small piece of it
untimed (compilers and model files are paid for there), then times encoding and decoding and compares. MB are 10^6 bytes
of 16-bit voxels; the memory is the peak of the whole process, Python and the volume itself included.

speed.csv has rows of several machines, docs/benchmarks.md a table for each. A run replaces its own: those of the same
processor, instruction set, number of threads and codec, with torch or without (`machine.key`).

    NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES= ONEDNN_MAX_CPU_ISA=AVX2 python -m benchmarks.speed   # without AVX-512
    python -m benchmarks.speed --report                                # the tables, from speed.csv alone
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from volcomp.training import corpus

from . import earlier, machine, report
from .command import timed
from .rivals import CODECS, Codec, from_zero, named

CSV = Path(__file__).with_name("speed.csv")
COLUMNS = ("codec", "series", *machine.COLUMNS, "encode_mb_s", "decode_mb_s", "peak_mb", "bpv")
SERIES, THREADS, ROUNDS = "ct_fuzun_a", 2, 3  # of the table

QUICK = [name for name in CODECS if name != "base-e9"]  # which decodes as base does, and encodes for minutes
Turn = dict[str, float]  # encode_mb_s, decode_mb_s, peak_mb, bpv
Row = dict[str, str]


def main(arguments: Sequence[str] | None = None) -> None:
    """All codecs in turn, each in a process of its own; then the CSV and the tables."""
    options = _parser().parse_args(arguments)
    if options.turn:
        print(json.dumps(turn(named(options.turn), corpus.volumes(options.series)[0], options.threads)))
        return
    if not options.report:
        chosen = [codec for codec in CODECS if codec in options.codecs]
        measured = measure(chosen, options.series, options.threads, options.rounds)
        report.write_rows(CSV, COLUMNS, merged(report.read_rows(CSV), measured))
    report.publish("speed", summary(report.read_rows(CSV)))


def measure(codecs: Sequence[str], series: str, threads: int, rounds: int) -> list[Row]:
    """Rows of these codecs, which take turns: medians of the rounds, and where they were measured."""
    turns: dict[str, list[Turn]] = {codec: [] for codec in codecs}
    for number in range(rounds):
        for codec in turns:
            print(f"round {number + 1} of {rounds}: {codec}, {series}", file=sys.stderr)
            turns[codec].append(_in_a_process(codec, series, threads))
    return [
        {"codec": codec, "series": series} | machine.describe(named(codec), threads, rounds) | _median(results)
        for codec, results in turns.items()
    ]


def merged(rows: Sequence[Row], measured: Sequence[Row]) -> list[Row]:
    """Rows of a CSV file and those that were measured now, which take the place of older ones with the same key, codec
    and series; machines in the order of their tables, codecs in that of theirs."""

    def whole(row: Row) -> tuple[str | bool, ...]:
        return *machine.key(row), row["codec"], row["series"]

    anew = {whole(row) for row in measured}
    every = [row for row in rows if whole(row) not in anew] + list(measured)
    codecs = list(CODECS)

    def place(row: Row) -> tuple[int, str, int, str]:
        known = codecs.index(row["codec"]) if row["codec"] in codecs else len(codecs)
        return machine.rank(row), str(machine.key(row)), known, row["series"]

    return sorted(every, key=place)  # rows that are alike in that stay in order


def turn(codec: Codec, volume: np.ndarray, threads: int) -> Turn:
    """Encode and decode a volume once; AssertionError where it does not come back."""
    earlier.give_back_at_once()  # as the command does
    volume = from_zero(volume)
    piece = np.ascontiguousarray(volume[:5])  # large enough for everything to be loaded that the volume will need
    codec.decode(codec.encode(piece, threads), piece.shape, threads)
    streams, encoding = timed(lambda: codec.encode(volume, threads))
    decoded, decoding = timed(lambda: codec.decode(streams, volume.shape, threads))
    assert decoded.dtype == volume.dtype and np.array_equal(decoded, volume), f"{codec.name} is not lossless"
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "encode_mb_s": volume.nbytes / 1e6 / encoding,
        "decode_mb_s": volume.nbytes / 1e6 / decoding,
        "peak_mb": peak_kib * 1024 / 1e6,
        "bpv": 8 * sum(map(len, streams)) / volume.size,
    }


def groups(rows: Sequence[Row], series: str = SERIES) -> list[list[Row]]:
    """Rows of a series by machine, those that may do most first."""
    found: dict[tuple[str | bool, ...], list[Row]] = {}
    for row in rows:
        if row["series"] == series:
            found.setdefault(machine.key(row), []).append(row)
    return sorted(found.values(), key=lambda group: machine.rank(group[0]))


def summary(rows: Sequence[Row]) -> str:
    """The tables: one for each machine, under what it is and the command that measured it."""
    parts = []
    for group in groups(rows):
        lines = [[_title(row), row["encode_mb_s"], row["decode_mb_s"], row["peak_mb"], row["bpv"]] for row in group]
        table = report.table(["", "encoding MB/s", "decoding MB/s", "peak memory MB", "bits per voxel"], lines)
        parts.append(f"{machine.heading(group[0])}: `{command(group[0])}`\n\n{table}")
    return "\n\n".join(parts)


def command(row: Mapping[str, str]) -> str:
    """What makes rows like this one."""
    given = {"--threads": (row["threads"], THREADS), "--rounds": (row["rounds"], ROUNDS)}
    options = " ".join(f"{name} {value}" for name, (value, usual) in given.items() if value != str(usual))
    return " ".join(filter(None, (row["caps"], "make speed", f"ARGS='{options}'" if options else "")))


def _title(row: Mapping[str, str]) -> str:
    return CODECS[row["codec"]].title if row["codec"] in CODECS else row["codec"]


def _in_a_process(codec: str, series: str, threads: int) -> Turn:
    command = [sys.executable, "-m", "benchmarks.speed", "--turn", codec, "--series", series, "--threads", str(threads)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=corpus.ROOT)
    result: Turn = json.loads(done.stdout)
    return result


def _median(turns: Sequence[Turn]) -> dict[str, str]:
    """Medians over the rounds, with as many digits as they deserve."""
    digits = {"encode_mb_s": 2, "decode_mb_s": 2, "peak_mb": 0, "bpv": 3}
    return {key: f"{median(one[key] for one in turns):.{places}f}" for key, places in digits.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--series", default=SERIES, metavar="NAME")
    parser.add_argument(
        "--codecs", nargs="+", metavar="CODEC", choices=CODECS, default=QUICK, help=f"some of: {', '.join(CODECS)}"
    )
    parser.add_argument("--threads", type=int, default=THREADS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--report", action="store_true", help="measure nothing: the tables, from speed.csv alone")
    parser.add_argument("--turn", help=argparse.SUPPRESS)  # one turn, its result as JSON
    return parser


if __name__ == "__main__":
    main()
