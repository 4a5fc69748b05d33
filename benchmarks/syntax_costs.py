"""What it costs that streams of other codecs are taken apart and made again: processor seconds by transfer syntax.

    python -m benchmarks.syntax_costs                     # measures what syntax_costs.csv lacks
    python -m benchmarks.syntax_costs --redo "JPEG 2000"
    python -m benchmarks.syntax_costs --report            # measures nothing: the table, from syntax_costs.csv alone

One series under every lossless transfer syntax, written as in `benchmarks.syntaxes`, is archived, verification
included, and restored, on one thread, with the smallest model: what a syntax costs beside `none` is the share of its
streams. Medians of rounds. One before them, which is not counted, loads and compiles.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import volcomp
from volcomp.training.corpus import ROOT

from . import machine, report
from .command import same_files
from .ratio import NotLossless
from .rivals import versioned
from .syntaxes import SYNTAXES, write

CSV = Path(__file__).with_name("syntax_costs.csv")
COLUMNS = (
    "series", "syntax", "model", "files", "coded", "bytes", "archive", "encode_s", "decode_s", "rounds", "verified",
    "processor", "instruction_set", "threads", "versions",
)  # fmt: skip
TARGET = ROOT / "docs" / "decisions" / "archive.md"
SERIES, MODEL, ROUNDS = "ct_head_ge_tilt", "turbo", 3

Row = dict[str, str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, then the table."""
    options = _parser().parse_args(arguments)
    rows = {row["syntax"]: row for row in report.read_rows(CSV)}
    for syntax in [] if options.report else SYNTAXES:
        if syntax in rows and syntax not in options.redo:
            continue
        print(syntax, end=" ", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            rows[syntax] = row = measure(Path(folder), syntax, options.rounds)
        print(f"{row['encode_s']} s, {row['decode_s']} s", file=sys.stderr)
        report.write_rows(CSV, COLUMNS, [rows[name] for name in SYNTAXES if name in rows])
    report.publish("syntax_costs", summary(list(rows.values())), TARGET)


def measure(folder: Path, syntax: str, rounds: int) -> Row:
    """Return the row of a syntax. Raises NotLossless where files do not come back."""
    write(SERIES, syntax, folder / "files")
    turns, sizes = [], dict[str, str]()
    for turn in range(rounds + 1):
        seconds, sizes = _once(folder / "files", folder / "x.vcz", folder / f"out{turn}")
        turns.append(seconds)
    encoding, decoding = (median(seconds[way] for seconds in turns[1:]) for way in (0, 1))
    return {
        "series": SERIES,
        "syntax": syntax,
        "model": MODEL,
        **sizes,
        "encode_s": f"{encoding:.2f}",
        "decode_s": f"{decoding:.2f}",
        "rounds": str(rounds),
        "verified": "yes",
        "processor": machine.processor(),
        "instruction_set": machine.instruction_set(),
        "threads": "1",
        "versions": ", ".join(map(versioned, ("volcomp", "numba", "numpy", "imagecodecs", "pydicom"))),
    }


def _once(source: Path, packed: Path, restored: Path) -> tuple[tuple[float, float], Row]:
    """Archive and restore a folder: processor seconds of both, and sizes."""
    options: dict[str, Any] = {"threads": 1, "device": "cpu"}
    begin = time.process_time()
    done = volcomp.compress_files(source, packed, MODEL, force=True, **options)
    between = time.process_time()
    volcomp.decompress_files(packed, restored, **options)
    end = time.process_time()
    if not same_files(source, restored):
        raise NotLossless(f"volcomp {MODEL} does not give back the files of {SERIES}")
    coded = sum(entry.get("kept") == "volume" for entry in volcomp.list_files(packed))
    sizes = {"files": done.files, "coded": coded, "bytes": done.raw_bytes, "archive": packed.stat().st_size}
    return (between - begin, end - between), {name: str(value) for name, value in sizes.items()}


def summary(rows: Sequence[Row]) -> str:
    """Return the table, in the order of SYNTAXES, with rounds and release; nothing where there are no rows."""
    if not rows:
        return ""
    of = {row["syntax"]: row for row in rows}
    lines = [
        [name, f"{float(of[name]['encode_s']):.1f}", f"{float(of[name]['decode_s']):.1f}", of[name]["rounds"]]
        for name in SYNTAXES
        if name in of
    ]
    releases = " and ".join(sorted({row["versions"].split(", ")[0] for row in rows}))
    return f"Of `{SERIES}`, {releases}:\n\n{report.table(['', 'compress, verify', 'decompress', 'rounds'], lines)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.syntax_costs", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--redo", nargs="*", default=[], metavar="SYNTAX", choices=SYNTAXES)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--report", action="store_true", help="measure nothing: the table, from syntax_costs.csv alone")
    return parser


if __name__ == "__main__":
    main()
