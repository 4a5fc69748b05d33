"""The work left for the CPU when a GPU predicts the slabs, and the upper limit of speed that follows.

    python -m benchmarks.host                       # a slab of a chest CT, three rounds -> host.csv
    python -m benchmarks.host --series ct_chestpe_ge16 --model base

No GPU is needed: the CPU predicts the slab once, and its outputs are passed to the entropy coder front by front, as by
a GPU that needs no time. The best of the rounds counts. MB are 10^6 bytes of 16-bit voxels; a thread
serves each slab.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from numba import njit

from volcomp import models
from volcomp.codec.encode import SLAB_HEIGHT
from volcomp.constants import EFFORT
from volcomp.encoder import linear_fit, normal_equations
from volcomp.pipelines.row.pipeline import ROW
from volcomp.pipelines.row.slab import lay_out
from volcomp.pipelines.row.wavefront import RowInput, predict_slab
from volcomp.runtime.rendezvous import ByCalls, Consumer, Rendezvous, release, wait
from volcomp.runtime.team import Team
from volcomp.stages import histogram_packing, payload, peak
from volcomp.stages.ans import Tables
from volcomp.stages.lstm import cpu
from volcomp.training import corpus
from volcomp.wire.cursor import Cursor

from . import report
from .command import timed

CSV = Path(__file__).with_name("host.csv")
COLUMNS = ("series", "model", "step", "slabs", "value", "unit")
FRONTS = 2000  # that are handed over with next to nothing in them
SLABS = (1, 8, 32)
Row = dict[str, str]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the CSV file."""
    options = _parser().parse_args(arguments)
    volume = corpus.volumes(options.series)[0][:SLAB_HEIGHT]
    given, fits = _begun(volume, options.model, options.rounds)
    measured = [*fits, *_coded(given, options.model, options.rounds)]
    rows = [{"series": options.series, "model": options.model} | row for row in measured]
    rows += [{"series": "", "model": ""} | row for row in _handed_over(options.rounds)]
    print(report.table(COLUMNS[2:], [[row[column] for column in COLUMNS[2:]] for row in rows]))
    anew = {(row["series"], row["model"]) for row in rows}
    kept = [row for row in report.read_rows(CSV) if (row["series"], row["model"]) not in anew]
    report.write_rows(CSV, COLUMNS, kept + rows)
    report.write_machine(CSV, [])


def _row(step: str, slabs: int, value: float, unit: str) -> Row:
    return {"step": step, "slabs": str(slabs), "value": f"{value:.1f}", "unit": unit}


def _best(work: Callable[[], Any], rounds: int) -> float:
    """Return the seconds of the fastest round after a first one, in which loops are compiled."""
    return min([timed(work)[1] for _ in range(rounds + 1)][1:])


def _begun(volume: np.ndarray, model: str, rounds: int) -> tuple[RowInput, list[Row]]:
    """Prepare a slab, and time the fit of its linear stage: as a whole, and without the sums that a GPU computes."""
    found = histogram_packing.find(volume)
    levels = found.forward(volume)
    sums: list[float] = []  # seconds

    def counted(name: str) -> Callable[..., Any]:
        method = getattr(normal_equations.CpuEquations, name)

        def call(*arguments: Any) -> Any:
            result, took = timed(lambda: method(*arguments))
            sums.append(took)
            return result

        return call

    parts = ("__init__", "products", "miss", "errors", "reweigh", "weigh", "spread")
    with ExitStack() as stack:
        for name in parts:
            stack.enter_context(mock.patch.object(normal_equations.CpuEquations, name, counted(name)))
        times = []
        for _ in range(rounds + 1):
            sums.clear()
            fitted, took = timed(lambda: linear_fit.fit_by_effort(levels, models.chosen(model).search.runs, EFFORT))
            times.append((took, took - sum(sums)))
    whole, rest = (volume.size * 2e-6 / min(seconds_of) for seconds_of in zip(*times[1:], strict=True))
    candidate = peak.candidate(levels, found.limit)
    excluded = candidate if ROW.load(models.chosen(model)).learns else None
    given = RowInput(lay_out(levels.shape, fitted), levels, found.limit, fitted, candidate, excluded)
    return given, [_row("linear stage", 1, whole, "MB/s"), _row("linear stage but for sums", 1, rest, "MB/s")]


def _coded(given: RowInput, model: str, rounds: int) -> list[Row]:
    """Time how symbols are encoded and decoded: of one slab, and of eight slabs by as many threads."""
    weights, saving = ROW.load(models.chosen(model)), models.chosen(model).search.minimum_saving
    tables = Tables(weights.tables())
    walked = predict_slab(given, cpu.CpuLstm(weights), Team(), lambda done: None)
    size = 2e-6 * walked.voxel.size

    def write() -> bytes:
        return payload.write(tables, walked, given.limit, given.candidate, given.excluded is not None, saving)

    def take(slabs: int) -> None:
        pieces, arrays = _as_handed(walked, slabs)
        longest = int(walked.sizes.max())
        readers = [payload.SymbolReader(tables, Cursor(data, ""), given.limit, longest) for _ in range(slabs)]
        voxel = np.zeros(slabs * longest, np.int32)
        between = Rendezvous(pieces, slabs + 1)
        with ThreadPoolExecutor(slabs) as pool:
            served = [
                pool.submit(reader.serve, consumer, voxel, *arrays)
                for reader, consumer in zip(readers, between.consumers, strict=True)
            ]
            end = 0
            for n in walked.sizes.tolist():
                begin, end = end, end + n
                for array, source in zip(arrays, (walked.mean, walked.classes, walked.context), strict=True):
                    if source is not None:
                        array[: slabs * n].reshape(slabs, n)[:] = source[begin:end]
                between.request()
                assert np.array_equal(voxel[:n], walked.voxel[begin:end])
            assert all(one.result() for one in served)
        for reader in readers:
            reader.finish()
        between.end()
        between.free()

    data = write()
    return [
        _row("symbols written", 1, size / _best(write, rounds), "MB/s"),
        *(_row("symbols taken", n, n * size / _best(partial(take, n), rounds), "MB/s") for n in (1, 8)),
    ]


def _as_handed(walked: payload.Predictions, slabs: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the pieces of `slabs` copies of this slab, int64 [f, s, 2], and arrays for the outputs of a front."""
    begins = np.multiply.outer(walked.sizes, np.arange(slabs))
    pieces = np.stack([begins, begins + walked.sizes[:, None]], axis=2)
    room = slabs * int(walked.sizes.max())
    return pieces, [np.zeros(room, kind) for kind in (np.int32, np.uint8, np.uint8)]


class _Nothing(ByCalls):
    """Serves fronts without any work."""

    def pop(self, said: np.ndarray) -> np.ndarray:
        return said


def _handed_over(rounds: int) -> list[Row]:
    """Microseconds from asking for a front to having it, when it holds a voxel of each slab: by compiled threads, and
    by threads that come back to Python for it."""
    rows = []
    for step, by_calls in (("", False), (" by calls", True)):
        for slabs in SLABS:
            seconds = _best(partial(_hand_over, slabs, by_calls), rounds) / FRONTS
            rows.append(_row(f"a front handed over{step}", slabs, 1e6 * seconds, "µs"))
    return rows


def _hand_over(slabs: int, by_calls: bool) -> None:
    begins = np.broadcast_to(np.arange(slabs), (FRONTS, slabs))
    between = Rendezvous(np.stack([begins, begins + 1], axis=2), slabs + 1)
    voxel, said = np.zeros((2, slabs), np.int32)
    with ThreadPoolExecutor(slabs) as pool:
        for consumer in between.consumers:
            pool.submit(*((_Nothing().serve, consumer, voxel, said) if by_calls else (_copy, consumer, voxel, said)))
        for n in range(FRONTS):
            said[:] = n
            between.request()
            assert voxel[-1] == n
    between.free()


@njit(nogil=True, cache=True)
def _copy(consumer: Consumer, voxel: np.ndarray, said: np.ndarray) -> None:
    """Serve fronts without any work, compiled; see `_Nothing`."""
    for begin, end in consumer.pieces:
        wait(consumer.requested, consumer.patience)
        voxel[begin:end] = said[begin:end]
        release(consumer.served)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--series", default="ct_fuzun_a", metavar="NAME")
    parser.add_argument("--model", choices=("fast", "base"), default="base")
    parser.add_argument("--rounds", type=int, default=3)
    return parser


if __name__ == "__main__":
    main()
