"""Other codecs once more, after one of them changed: their rows and columns of committed results, and nothing else.

    python -m experiments.remeasure jpegls jpeg2000 hevc --config experiments/configs/cpu.toml
    python -m experiments.remeasure jpegls --released

The first replaces rows of results/NAME/sizes.csv and makes tables and figures anew, the second replaces columns of
results/released/sizes.csv. Sizes of the others stay what they were, and so do their times: a speed that comes from
here was measured on the machine of today. One thread, as in a run.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.report import read_rows, write_rows
from volcomp.training import corpus

from . import config as configuration
from . import released, results, trial
from .config import Config
from .data import middle
from .jobs import plan
from .rivals import CODECS, from_zero
from .statistics import Row

HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m experiments.remeasure", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("codecs", nargs="+", choices=CODECS, metavar="CODEC", help=f"some of: {', '.join(CODECS)}")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--config", type=Path, default=HERE / "configs" / "cpu.toml", metavar="TOML")
    what.add_argument("--released", action="store_true", help="the table of the released models instead")
    options = parser.parse_args(arguments)
    if options.released:
        columns(released.RELEASED / "sizes.csv", [name for name in released.RIVALS if name in options.codecs])
        return
    config = configuration.load(options.config)
    folder = HERE / "results" / config.name
    rows(config, folder, options.codecs)
    from . import figures, report

    report.publish(config, folder)
    figures.draw(folder)


def rows(config: Config, folder: Path, codecs: Sequence[str]) -> None:
    """Replace the rows of these codecs in a run's sizes.csv and absent.csv, each where it stood."""
    from .work import Desk, rivals

    chosen = replace(config, rivals=tuple(name for name in config.rivals if name in codecs))
    found: dict[str, list[Row]] = {"sizes": [], "absent": read_rows(folder / "absent.csv")}
    found["absent"] = [row for row in found["absent"] if row["codec"] not in codecs]
    with tempfile.TemporaryDirectory() as cache:
        desk = Desk(chosen, Path(cache), 1, "cpu")
        for job in (job for job in plan(chosen) if job.kind == "rivals"):
            for name, lines in rivals(desk, job, lambda share: None).items():
                found[name] += [{key: str(value) for key, value in line.items()} for line in lines]
    anew = {(row["method"], row["series"]): row for row in found["sizes"]}
    sizes = [anew.get((row["method"], row["series"]), row) for row in read_rows(folder / "sizes.csv")]
    write_rows(folder / "sizes.csv", results.COLUMNS["sizes"], sizes)
    write_rows(folder / "absent.csv", results.COLUMNS["absent"], found["absent"])


def columns(path: Path, codecs: Sequence[str]) -> None:
    """Replace the columns of these codecs in the table of the released models."""
    table = read_rows(path)
    *lines, last = table
    for row in lines:
        volume = middle(max(corpus.volumes(row["series"]), key=np.size), released.CROP)
        for name in codecs:
            row[name] = f"{8 * trial.timed_codec(CODECS[name], from_zero(volume), 1).size / volume.size:.4f}"
    last.update({name: f"{np.mean([float(row[name]) for row in lines]):.4f}" for name in codecs})
    write_rows(path, released.COLUMNS, table)


if __name__ == "__main__":
    main()
