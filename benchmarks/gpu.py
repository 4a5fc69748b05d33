"""Speeds on a GPU: MB/s of encoding and decoding a tall CT, and how far they are from what the card could do.

    python -m benchmarks.gpu                            # 256 slices of 512², all models, three rounds -> gpu.csv
    python -m benchmarks.gpu --models fast --rounds 5
    python -m benchmarks.gpu --models paper --neighbourhood pyramid:13,9,5,1

The volume is a corpus series, repeated forwards and backwards along z until it is tall enough. Of each step, the best
round counts, after a first one in which kernels are compiled. Encoding is measured as a whole, and for the device's
share alone (`predict`), since the CPU does much of the rest. Both directions are also measured for four volumes at
once, which share a wavefront, as in a batch. Each row has the least operations and bytes that the device needs, and
their seconds at the rates that this card reaches, measured in the same run: by an int8 matrix product and by a copy.
MB are 10^6 bytes of 16-bit voxels.

With `--neighbourhood`, the released `paper` reads that neighbourhood instead of its own. There is one step per
neighbour, whatever its value, so the speeds are those of a model trained with it. The sizes are not.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np

import volcomp
from neighbourhoods import farthest_first
from volcomp import models
from volcomp.gpu.device import missing
from volcomp.models import CHOICES, Model
from volcomp.options import DecodeOptions
from volcomp.pipelines.paper.pipeline import PAPER
from volcomp.pipelines.row.pipeline import ROW
from volcomp.training import corpus

from . import report, trial
from .command import timed

CSV = Path(__file__).with_name("gpu.csv")
COLUMNS = (
    "card", "model", "step", "volumes", "shape", "seconds", "mb_s", "products_per_voxel", "bytes_per_voxel",
    "ceiling_seconds", "share",
)  # fmt: skip
SIDE = 8192  # of the matrices whose product is timed
COPIED = 1 << 30  # bytes
TOGETHER = 4  # volumes at once


@dataclass(frozen=True)
class Ceilings:
    """Measure the rates of the card: int8 multiply-adds, and bytes read or written, per second."""

    products: float
    bytes: float


@dataclass(frozen=True)
class Needs:
    """What no implementation of a model can do without for a voxel, however it is arranged.

    products: the network's and its head's. Gates, inputs and the linear stage take other units of the card.
    bytes: the state that goes from voxel to voxel, and what goes to and from the entropy coder; neighbours are read
    from caches.
    """

    products: int
    bytes: int


def needs(model: Model) -> Needs:
    """Of a model."""
    if model.pipeline == "paper":
        paper = PAPER.load(model)
        again = len(paper.offsets) - 1  # at the first step there is nothing to multiply
        # Two halves; rank, place, predicted.
        return Needs(2 * paper.recurrent.size * again + paper.head.size, 4 + 8 + 4)
    weights = ROW.load(model)
    h, n = weights.hidden, weights.weights.shape[0]
    state = 2 * (h + 2 * h) + 3 * weights.shared  # hidden int8, cells int16, there and back; passed on
    return Needs(4 * h * n + 2 * n, state + 2 + 4 + 6)  # a grey level, a residual; mean, class and context


def reading(shape: str) -> Model:
    """`paper` before the neighbourhood of that name."""
    from volcomp.training.paper import neighbourhood_of

    paper = models.chosen("paper")
    offsets = np.array(farthest_first(neighbourhood_of(shape)), np.int8)
    changed = replace(PAPER.load(paper), name=shape, neighbourhood=offsets)
    return paper.trial(changed, changed.digest(), f"paper {shape}")


def tall(volume: np.ndarray, depth: int) -> np.ndarray:
    """Return `depth` slices: the volume's from first to last, then from last to first, and so on."""
    there = [*range(len(volume))]
    order = (there + there[-2:0:-1]) * -(-depth // max(1, 2 * len(there) - 2))
    return np.ascontiguousarray(volume[order[:depth]] if len(there) > 1 else volume.repeat(depth, axis=0))


def ceilings(device: str, side: int = SIDE, copied: int = COPIED, rounds: int = 5) -> Ceilings:
    """Measured now."""
    import torch

    left, right = (torch.ones((side, side), dtype=torch.int8, device=device) for _ in range(2))
    source = torch.zeros(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    right = right.t()
    product = _best(lambda: torch._int_mm(left, right), device, rounds)
    copy = _best(lambda: target.copy_(source), device, rounds)
    return Ceilings(side**3 / product, 2 * copied / copy)


def _best(work: Callable[[], Any], device: str, rounds: int) -> float:
    """The least seconds that the device took."""
    import torch

    def whole() -> None:
        work()
        if device == "cuda":
            torch.cuda.synchronize()

    whole()
    return min(timed(whole)[1] for _ in range(rounds))


class Measured(NamedTuple):
    """Seconds that a step took for so many volumes at once."""

    step: str
    volumes: int
    seconds: float


def measure(
    volume: np.ndarray, model: Model, rounds: int, device: str = "cuda", together: int = TOGETHER
) -> list[Measured]:
    """`encode`, the `predict` that is a part of it, and `decode` of one volume; both directions of `together` volumes.
    AssertionError where a voxel is not what it was."""
    wavefront = importlib.import_module(f"volcomp.gpu.{model.pipeline}.wavefront")
    seconds: dict[tuple[str, int], list[float]] = {}
    predict_slabs, predictions = wavefront.predict_slabs, []

    def timed_predict(*arguments: Any) -> Any:
        found, took = timed(lambda: predict_slabs(*arguments))
        predictions.append(took)
        return found

    def encode(_: int = 0) -> bytes:
        return volcomp.compress(volume, model, device=device, verify=False)

    def check(data: bytes) -> None:
        back = trial.decompress(data, model, DecodeOptions(device=device))
        assert np.array_equal(back, volume), f"{model.name} is not lossless"

    with mock.patch.object(wavefront, "predict_slabs", timed_predict), ThreadPoolExecutor(together) as pool:
        for _ in range(rounds + 1):
            predictions.clear()
            data, encoding = timed(encode)
            took = {("encode", 1): encoding, ("predict", 1): sum(predictions)}
            _, took["decode", 1] = timed(partial(check, data))
            if together > 1:
                _, took["encode", together] = timed(lambda: [*pool.map(encode, range(together))])
                _, took["decode", together] = timed(partial(lambda data: [*pool.map(check, [data] * together)], data))
            for step, one in took.items():
                seconds.setdefault(step, []).append(one)
    return [Measured(*step, min(took[1:])) for step, took in seconds.items()]


def rows(
    card: str, model: Model, volume: np.ndarray, measured: Sequence[Measured], most: Ceilings
) -> list[dict[str, str]]:
    """Lines of the CSV file."""
    need = needs(model)
    lines = []
    for step, volumes, took in measured:
        voxels = volumes * volume.size
        least = voxels * max(need.products / most.products, need.bytes / most.bytes)
        lines.append(
            {
                "card": card,
                "model": model.choice or model.name,
                "step": step,
                "volumes": str(volumes),
                "shape": "x".join(map(str, volume.shape)),
                "seconds": f"{took:.3f}",
                "mb_s": f"{2 * voxels / 1e6 / took:.1f}",
                "products_per_voxel": str(need.products),
                "bytes_per_voxel": str(need.bytes),
                "ceiling_seconds": f"{least:.4f}",
                "share": f"{least / took:.4f}",
            }
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the CSV file; 1 where there is no GPU."""
    options = _parser().parse_args(arguments)
    if reason := missing():
        print(f"nothing to measure: {reason}", file=sys.stderr)
        return 1
    import torch

    card = torch.cuda.get_device_name()
    most = ceilings("cuda")
    print(f"{card}: {most.products / 1e12:.0f} tera-products of int8 and {most.bytes / 1e9:.0f} GB a second")
    volume = tall(corpus.volumes(options.series)[0], options.slices)
    measured: list[dict[str, str]] = []
    for choice in options.models:
        of_paper = choice == "paper"
        model = reading(options.neighbourhood) if of_paper and options.neighbourhood else models.chosen(choice)
        together = 1 if of_paper else TOGETHER  # its volumes do not walk together
        lines = rows(card, model, volume, measure(volume, model, options.rounds, together=together), most)
        print(report.table(COLUMNS, [[row[column] for column in COLUMNS] for row in lines]))
        measured += lines
    anew = {(row["card"], row["model"]) for row in measured}
    kept = [row for row in report.read_rows(CSV) if (row["card"], row["model"]) not in anew]
    report.write_rows(CSV, COLUMNS, kept + measured)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--series", default="ct_fuzun_a", metavar="NAME")
    parser.add_argument("--slices", type=int, default=256, metavar="N")
    parser.add_argument("--models", nargs="+", choices=CHOICES, default=list(CHOICES))
    parser.add_argument("--neighbourhood", default="", metavar="SHAPE", help="of `paper`, as pyramid:13,9,5,1")
    parser.add_argument("--rounds", type=int, default=3)
    return parser


if __name__ == "__main__":
    sys.exit(main())
