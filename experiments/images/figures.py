"""The figures of a run as PNG, from its CSV files alone; and sheets of images, which stay in the cache."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

import matplotlib
import numpy as np

matplotlib.use("agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.report import read_rows
from volcomp.dtypes import UInt8s

from ..statistics import Row
from . import metrics, standards
from .data import Image
from .registry import REGION, SYSTEMS
from .report import points_of


def draw(folder: Path) -> None:
    """Draw all figures that there are rows for."""
    curves = read_rows(folder / "curves.csv")
    for name, key, label in (
        ("rate_distortion", "psnr", "PSNR of the mean MSE, dB"),
        ("rate_ms_ssim", "ms_ssim", "MS-SSIM, mean"),
    ):
        figure = rate_distortion(curves, key, label)
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
            pyplot.close(figure)


def rate_distortion(curves: Sequence[Row], key: str, label: str) -> Figure | None:
    """A yardstick over the rate of all systems, on the test images; volcomp is black."""
    systems = list(dict.fromkeys(row["system"] for row in curves))
    if not systems:
        return None
    figure, axes = pyplot.subplots(figsize=(11, 6.5), layout="constrained")
    drawn: Counter[str] = Counter()
    for system in systems:
        points = points_of(curves, system, "test")
        kind, line, marker = _style(system)
        axes.plot(
            [float(row["bpp"]) for row in points], [float(row[key]) for row in points], line, marker=marker,
            color="black" if kind == "lossy" else pyplot.get_cmap("tab10")(drawn[kind] % 10), markersize=4,
            linewidth=2.2 if kind == "lossy" else 1.2, label=plain(system),
        )  # fmt: skip
        drawn[kind] += 1
    axes.set(xscale="log", xlabel="bits per pixel of whole files, mean of the test images", ylabel=label)
    figure.legend(fontsize=7, loc="outside right upper")
    axes.grid(alpha=0.3, which="both")
    return figure


def plain(system: str) -> str:
    """Return a system's title without marks of Markdown."""
    return SYSTEMS[system].title.replace("**", "")


def _style(system: str) -> tuple[str, str, str]:
    """Return the kind of a system, each of which has all colours, and the line and the marker of this kind."""
    if system == "lossy":
        return system, "-", "o"
    if system in standards.NAMES:
        return "standard", "--", "s"
    if system.startswith(REGION):
        return "region", ":", "D"
    if SYSTEMS[system].given:
        return "denoised", ":", "x"
    return ("network", "-", "^") if SYSTEMS[system].nets else ("transform", "-.", "v")


def sheet(path: Path, image: Image, shown: Sequence[tuple[str, float, UInt8s]]) -> None:
    """Draw an image, and what systems give back of it above its error; each has a title and its bits per pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = 8
    rows = 2 * -(-(len(shown) + 1) // columns)
    figure, axes = pyplot.subplots(
        rows, columns, figsize=(2 * columns, 2.2 * rows), layout="constrained", squeeze=False
    )
    for axis in axes.flat:
        axis.axis("off")
    axes[0][0].imshow(image.pixels, cmap="gray", vmin=0, vmax=255)
    axes[0][0].set_title("original", fontsize=6)
    for k, (title, bpp, back) in enumerate(shown, 1):
        upper, lower = axes[2 * (k // columns)][k % columns], axes[2 * (k // columns) + 1][k % columns]
        upper.imshow(back, cmap="gray", vmin=0, vmax=255)
        upper.set_title(f"{fill(title, 34)}\n{bpp:.3f} bpp, MSE {metrics.mse(image.pixels, back):.5f}", fontsize=6)
        lower.imshow(back.astype(np.int64) - image.pixels, cmap="coolwarm", vmin=-32, vmax=32)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    pyplot.close(figure)
