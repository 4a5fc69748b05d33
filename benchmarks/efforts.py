"""What an effort costs and gains: size, speeds and memory of every model at efforts 1 to 5, on a CT and an MR.

    python -m benchmarks.efforts                                  # all models, two threads, three rounds -> efforts.csv
    python -m benchmarks.efforts --models fast --efforts 1 5 --series mr_pd_ge_signa
    python -m benchmarks.efforts --report                         # the table, from efforts.csv alone

Measured as in `benchmarks.speed`, models and efforts in turn; rows of several machines stay beside each other as there.
The table is that of the machine that may do most.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import machine, report, speed
from .rivals import MODELS

CSV = Path(__file__).with_name("efforts.csv")
SERIES = {"ct_fuzun_a": "CT", "mr_prostate_skyra_t2tra_0000": "MR"}
EFFORTS = range(1, 6)
Row = dict[str, str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure series by series, each whole before it is kept; then the table."""
    options = _parser().parse_args(arguments)
    names = [f"{model}-e{effort}" for model in MODELS if model in options.models for effort in options.efforts]
    for series in () if options.report else options.series:
        measured = speed.measure(names, series, options.threads, options.rounds)
        rows = speed.merged(report.read_rows(CSV), measured)
        report.write_rows(CSV, speed.COLUMNS, sorted(rows, key=_place))
    report.publish("efforts", summary(report.read_rows(CSV)))


def summary(rows: Sequence[Row]) -> str:
    """The table: for every model and effort and for each series, its size and how fast it is made."""
    series = [name for name in SERIES if any(row["series"] == name for row in rows)]
    if not series:
        return ""
    first = [speed.groups(rows, name)[0] for name in series]
    found = {(row["codec"], row["series"]): row for group in first for row in group}
    lines = []
    for codec in dict.fromkeys(codec for codec, _ in found):
        model, effort = codec.split("-e")
        cells = [found.get((codec, name)) for name in series]
        pairs = [[row["encode_mb_s"], row["bpv"]] if row else ["", ""] for row in cells]
        lines.append([f"{model}, effort {effort}", *(cell for pair in pairs for cell in pair)])
    heads = [head for name in series for head in (f"{SERIES[name]}: encoding MB/s", "bits per voxel")]
    return f"{machine.heading(first[0][0])}:\n\n{report.table(['', *heads], lines)}"


def _place(row: Mapping[str, str]) -> tuple[int, str, str, str, int]:
    """By machine, series, model and effort."""
    model, effort = row["codec"].split("-e")
    return machine.rank(row), str(machine.key(row)), row["series"], model, int(effort)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.efforts", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--series", nargs="+", default=list(SERIES), metavar="NAME")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--efforts", nargs="+", type=int, choices=range(1, 10), default=list(EFFORTS), metavar="1-9")
    parser.add_argument("--threads", type=int, default=speed.THREADS)
    parser.add_argument("--rounds", type=int, default=speed.ROUNDS)
    parser.add_argument("--report", action="store_true", help="measure nothing: the table, from efforts.csv alone")
    return parser


if __name__ == "__main__":
    main()
