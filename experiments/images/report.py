"""The tables of a run, from its CSV files alone: into results/NAME/report.md, and between the marks of README.md."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from benchmarks.report import read_rows, table

from ..report import write
from ..statistics import Row
from . import delta, metrics
from .config import ImagesConfig
from .published import PUBLISHED
from .registry import REGION, SYSTEMS
from .work import ALONE

ANCHOR = "jpeg2000"  # what BD-rates are to


def publish(config: ImagesConfig, folder: Path) -> None:
    """Write all tables."""
    write(config.name, tables(config, folder), folder)


def tables(config: ImagesConfig, folder: Path) -> dict[str, str]:
    """All tables by name."""
    curves = read_rows(folder / "curves.csv")
    return {
        "published": published(config, curves, read_rows(folder / "training.csv")),
        "rates": rates(config, curves),
        "yardsticks": yardsticks(config, curves),
        "regions": regions(config, curves),
        "denoised": denoised(config, curves),
        "lossless": lossless(read_rows(folder / "lossless.csv")),
        "training": training(read_rows(folder / "training.csv")),
    }


def points_of(curves: Sequence[Row], system: str, split: str) -> list[Row]:
    """The points of a system on a split, by rate."""
    found = [row for row in curves if row["system"] == system and row["split"] == split]
    return sorted(found, key=lambda row: float(row["bpp"]))


def chosen(config: ImagesConfig, curves: Sequence[Row], system: str) -> Row | None:
    """The test row of the point whose rate on the valid images is nearest to the target."""
    valid = points_of(curves, system, "valid")
    if not valid:
        return None
    point = min(valid, key=lambda row: abs(math.log(float(row["bpp"]) / config.target)))["point"]
    return next((row for row in points_of(curves, system, "test") if row["point"] == point), None)


def at_rate(curves: Sequence[Row], system: str, rate: float, key: str = "mse") -> float | None:
    """An error on the test images at exactly a rate, by linear interpolation of logarithms between two points; None
    where no points lie on both sides."""
    points = [(math.log(float(row["bpp"])), math.log(float(row[key]))) for row in points_of(curves, system, "test")
              if float(row[key]) > 0]  # fmt: skip
    goal = math.log(rate)
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 <= goal <= x1:
            share = (goal - x0) / (x1 - x0) if x1 > x0 else 0.0
            return math.exp(y0 + share * (y1 - y0))
    return None


def bd_rate(curves: Sequence[Row], system: str) -> float:
    """Bjøntegaard's difference of rates to ANCHOR, in per cent; NaN where the curves share no PSNR."""
    both = [
        [
            (float(r["bpp"]), float(r["psnr"]))
            for r in points_of(curves, name, "test")
            if math.isfinite(float(r["psnr"]))
        ]
        for name in (system, ANCHOR)
    ]
    if min(map(len, both)) < 2:
        return math.nan
    (mine, errors), (theirs, their_errors) = ([list(column) for column in zip(*curve, strict=True)] for curve in both)
    return metrics.bd_rate(mine, errors, theirs, their_errors)


def _mse(value: float | None) -> str:
    return "–" if value is None else f"{value:.6f}"


def rates(config: ImagesConfig, curves: Sequence[Row]) -> str:
    """All systems at the target rate, least error first."""
    lines = []
    for system in config.points:
        row, exact = chosen(config, curves, system), at_rate(curves, system, config.target)
        if row is None:
            continue
        bd = bd_rate(curves, system)
        lines.append((exact if exact is not None else math.inf, float(row["mse"]), [
            SYSTEMS[system].title, _mse(exact), "–" if math.isnan(bd) else f"{bd:+.0f} %", f"{float(row['bpp']):.3f}",
            f"{float(row['ratio']):.1f}", f"{100 * float(row['saving']):.1f} %", _mse(float(row["mse"])),
            f"{float(row['psnr']):.2f}",
        ]))  # fmt: skip
    lines.sort(key=lambda line: line[:2])
    head = ["", f"MSE at {config.target:g} bpp", "BD-rate to JPEG 2000", "nearest point: bpp", "CR", "saving", "MSE",
            "PSNR, dB"]  # fmt: skip
    return table(head, [line[2] for line in lines])


def yardsticks(config: ImagesConfig, curves: Sequence[Row]) -> str:
    """What else the publications measure, at the same points."""
    lines = []
    for system in config.points:
        row = chosen(config, curves, system)
        if row is not None:
            numbers = [f"{float(row[key]):.3f}" for key in ("bpp", "ssim", "ms_ssim", "iou", "divergence")]
            lines.append([
                SYSTEMS[system].title, *numbers, f"{float(row['largest']):.0f}", f"{float(row['psnr_as_printed']):.2f}",
                f"{1000 * float(row['encode_s']):.0f}", f"{1000 * float(row['decode_s']):.0f}",
            ])  # fmt: skip
    head = ["", "bpp", "SSIM", "MS-SSIM", "IoU", "KL, bits", "largest error", "“PSNR” as printed", "encoding, ms",
            "decoding, ms"]  # fmt: skip
    return table(head, lines)


def denoised(config: ImagesConfig, curves: Sequence[Row]) -> str:
    """Systems that are given another image than the original, beside RWNet at the points that all of them have: their
    errors to both images."""
    systems = ["rwnet", *(name for name in config.points if SYSTEMS[name].given)]
    found = {name: {row["point"]: row for row in points_of(curves, name, "test")} for name in systems}
    shared = [point for point in found["rwnet"] if all(point in rows for rows in found.values())]
    lines = []
    for point in shared:
        for name in systems:
            row = found[name][point]
            numbers = [_mse(float(row["mse"])), _mse(float(row["mse_given"]))]
            lines.append([SYSTEMS[name].title, point, f"{float(row['bpp']):.4f}", *numbers])
    return table(["", "step", "bpp", "MSE to the original", "MSE to what the network was given"], lines)


def regions(config: ImagesConfig, curves: Sequence[Row]) -> str:
    """Files with a region without loss, and the same codec without one in files of the same size."""
    lines = []
    for system in (name for name in config.points if name.startswith(REGION)):
        plain = system.removeprefix(REGION)
        for row in points_of(curves, system, "test"):
            found = [at_rate(curves, plain, float(row["bpp"]), key) for key in ("mse_inside", "mse_outside", "mse")]
            errors = [_mse(float(row[key])) for key in ("mse_outside", "mse")]
            lines.append([SYSTEMS[plain].title, f"{float(row['bpp']):.3f}", *errors, *map(_mse, found)])
    head = ["outside", "bpp", "MSE outside", "MSE of all", "no region: MSE inside", "outside", "of all"]
    return table(head, lines)


def published(config: ImagesConfig, curves: Sequence[Row], trained: Sequence[Row]) -> str:
    """A row for each published system: its figure, ours on its own terms, ours in real bytes."""
    lines = []
    for system, one in PUBLISHED.items():
        points = points_of(curves, system, "test")
        row = chosen(config, curves, system)
        if not points or row is None:
            continue
        finest = min(points, key=lambda row: float(row["mse"]))
        if one.bits:
            rate = one.bits(config.side) / config.side**2
            own = f"{one.terms}: {rate:.3f} bpp, {8 / rate:.0f}:1, MSE {float(finest['mse']):.6f}"
        else:
            loss = next((float(r["loss"]) for r in trained if r["network"] == system), math.nan)
            own = f"{one.terms}: {loss:.4f} in training; {float(finest['cross_entropy']):.4f} on the test images, "
            own += f"of which {float(finest['floor']):.4f} is the floor; MSE {float(finest['mse']):.6f}"
        real = f"{float(row['bpp']):.3f} bpp, {float(row['ratio']):.1f}:1, MSE {float(row['mse']):.6f}"
        lines.append([SYSTEMS[system].title, one.figure, own, real])
    return table(["", "published", "here, on its own terms", "here, whole files"], lines)


def lossless(rows: Sequence[Row]) -> str:
    """Bits per pixel without loss, of every system with every coder of differences."""
    found = {(row["system"], row["coder"]): row for row in rows}
    lines = []
    for system in dict.fromkeys(row["system"] for row in rows):
        title = "no system" if system == ALONE else SYSTEMS[system].title
        first = next(row for row in rows if row["system"] == system)
        cells = [f"{float(found[system, c]['bpp']):.3f}" if (system, c) in found else "–" for c in delta.CODERS]
        best = min(float(row["bpp"]) for row in rows if row["system"] == system)
        lines.append((system != ALONE, best, [title, f"{float(first['lossy_bpp']):.3f}", *cells]))
    lines.sort(key=lambda line: line[:2])
    head = ["bits per pixel", "the system alone", *(coder.title for coder in delta.CODERS.values())]
    return table(head, [line[2] for line in lines])


def training(rows: Sequence[Row]) -> str:
    """How long each network was trained."""
    lines = [[r["network"], r["epochs"], f"{float(r['seconds']):.0f}", f"{float(r['loss']):.5f}"] for r in rows]
    return table(["network", "epochs", "seconds of one core", "loss in the last epoch"], lines)
