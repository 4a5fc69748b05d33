"""Speeds: MB/s of encoding and decoding and the memory they take, volcomp and the other codecs side by side.

    python -m benchmarks.speed                          # a chest CT of 98 slices, two threads, three rounds
    python -m benchmarks.speed --codecs base fast tomoz --rounds 5

All codecs take turns, one at a time, round after round, so that whatever else slows the machine slows them alike; the
median of the rounds counts. Each turn is a process of its own, which loads the volume, does a small piece of it
untimed (compilers and model files are paid for there), then times encoding and decoding and compares. MB are 10^6 bytes
of 16-bit voxels; the memory is the peak of the whole process, Python and the volume itself included.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np

from volcomp.training import corpus

from . import report
from .command import timed
from .rivals import CODECS, Codec, from_zero

CSV = Path(__file__).with_name("speed.csv")
COLUMNS = ("codec", "series", "threads", "rounds", "encode_mb_s", "decode_mb_s", "peak_mb", "bpv")

QUICK = [name for name in CODECS if name != "base-e9"]  # which decodes as base does, and encodes for minutes
Turn = dict[str, float]  # encode_mb_s, decode_mb_s, peak_mb, bpv


def main(arguments: Sequence[str] | None = None) -> None:
    """All codecs in turn, each in a process of its own; then the CSV and the table."""
    options = _parser().parse_args(arguments)
    if options.turn:
        print(json.dumps(turn(CODECS[options.turn], corpus.volumes(options.series)[0], options.threads)))
        return
    turns: dict[str, list[Turn]] = {codec: [] for codec in CODECS if codec in options.codecs}
    for number in range(options.rounds):
        for codec in turns:
            print(f"round {number + 1} of {options.rounds}: {codec}", file=sys.stderr)
            turns[codec].append(_in_a_process(codec, options.series, options.threads))
    fixed = {"series": options.series, "threads": str(options.threads), "rounds": str(options.rounds)}
    rows = [{"codec": codec} | fixed | _median(results) for codec, results in turns.items()]
    report.write_rows(CSV, COLUMNS, rows)
    report.write_machine(CSV, [line for codec in turns for line in CODECS[codec].versions])
    report.publish("speed", summary(rows))


def turn(codec: Codec, volume: np.ndarray, threads: int) -> Turn:
    """Encode and decode a volume once; AssertionError where it does not come back."""
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


def summary(rows: Sequence[dict[str, str]]) -> str:
    """The table for the README."""
    lines = [
        [CODECS[row["codec"]].title, row["encode_mb_s"], row["decode_mb_s"], row["peak_mb"], row["bpv"]] for row in rows
    ]
    return report.table(["", "encoding MB/s", "decoding MB/s", "peak memory MB", "bits per voxel"], lines)


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
    parser.add_argument("--series", default="ct_fuzun_a", metavar="NAME")
    parser.add_argument(
        "--codecs", nargs="+", metavar="CODEC", choices=CODECS, default=QUICK, help=f"some of: {', '.join(CODECS)}"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--turn", choices=CODECS, help=argparse.SUPPRESS)  # one turn, its result as JSON
    return parser


if __name__ == "__main__":
    main()
