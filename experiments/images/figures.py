"""The figures of a run as PNG, from its CSV files alone; and sheets of images, which stay in the cache."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
from .registry import SYSTEMS
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
    """A yardstick over the rate of all systems, on the test images; standards are dashed."""
    systems = list(dict.fromkeys(row["system"] for row in curves))
    if not systems:
        return None
    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    colours = pyplot.get_cmap("tab20")
    for k, system in enumerate(systems):
        points = points_of(curves, system, "test")
        line = "--" if system in standards.NAMES else "-"
        axes.plot(
            [float(row["bpp"]) for row in points], [float(row[key]) for row in points], line, marker=".",
            color=colours(k % 20), label=SYSTEMS[system].title,
        )  # fmt: skip
    axes.set(xscale="log", xlabel="bits per pixel of whole files, mean of the test images", ylabel=label)
    axes.legend(fontsize=7, ncols=2)
    axes.grid(alpha=0.3)
    return figure


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
        upper.set_title(f"{title}\n{bpp:.3f} bpp, MSE {metrics.mse(image.pixels, back):.5f}", fontsize=6)
        lower.imshow(back.astype(np.int64) - image.pixels, cmap="coolwarm", vmin=-32, vmax=32)
    figure.savefig(path, dpi=130, metadata={"Software": None})
    pyplot.close(figure)
