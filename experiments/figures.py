"""The figures of a run as PNG, from its CSV files alone."""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import matplotlib
import numpy as np

matplotlib.use("agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

from benchmarks.report import read_rows

from . import rivals
from .report import left_free, speed
from .statistics import Row, by_series, interval


def draw(folder: Path) -> None:
    """Draw all figures that there are rows for."""
    sizes = read_rows(folder / "sizes.csv")
    drawn = {
        "neighbourhoods": neighbourhoods(sizes),
        "epochs": epochs(read_rows(folder / "epochs.csv")),
        "size_speed": size_speed(sizes),
        "views": views(read_rows(folder / "views.csv")),
    }
    for name, figure in drawn.items():
        if figure is not None:
            figure.savefig(folder / f"{name}.png", dpi=110, metadata={"Software": None})
            pyplot.close(figure)


def neighbourhoods(sizes: list[Row]) -> Figure | None:
    """Bits per voxel by neighbourhood, with and without the voxels to the left (as in Nagoor et al. 2022, figure 6)."""
    shapes = dict.fromkeys(row["shape"] for row in sizes if row["method"] == "paper" and row["modality"] == "CT")
    whole = [shape for shape in shapes if not shape.endswith("/left-free")]
    if not whole:
        return None
    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    for label, offset, names in (
        ("with the voxels to the left", -0.15, whole),
        ("left-free", 0.15, [left_free(shape) for shape in whole]),
    ):
        found = [list(by_series(sizes, "paper", name, "CT").values()) for name in names]
        places = [k + offset for k, values in enumerate(found) if values]
        means = [interval(values) for values in found if values]
        bars = np.array([[m.mean - m.low for m in means], [m.high - m.mean for m in means]])
        axes.errorbar(places, [m.mean for m in means], bars.reshape(2, -1), fmt="o", capsize=3, label=label)
    axes.set_xticks(range(len(whole)), whole, rotation=40, ha="right", fontsize=8)
    axes.set(ylabel="bits per voxel, mean of the CT series")
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def epochs(rows: list[Row]) -> Figure | None:
    """Bits per voxel over the epochs (as in figure 7)."""
    if not rows:
        return None
    figure, axes = pyplot.subplots(figsize=(7.5, 4.5), layout="constrained")
    for shape in dict.fromkeys(row["shape"] for row in rows):
        found: dict[int, list[float]] = {}
        for row in rows:
            if row["shape"] == shape:
                found.setdefault(int(row["epoch"]), []).append(float(row["bpv"]))
        axes.plot(sorted(found), [mean(found[epoch]) for epoch in sorted(found)], "o-", label=shape)
    axes.set(xlabel="epochs", ylabel="bits per voxel, mean of the CT series")
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def size_speed(sizes: list[Row]) -> Figure | None:
    """Size against the speed of decoding."""
    timed = [row for row in sizes if row["decode_s"] and row["modality"] == "CT"]
    points = dict.fromkeys((row["method"], row["shape"]) for row in timed)
    if not points:
        return None
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for method, shape in points:
        colour = "tab:blue" if method == "paper" else "tab:red" if method in ("fast", "base") else "tab:gray"
        rate, bpv = float(speed(sizes, method, shape, "decode_s")), by_series(sizes, method, shape, "CT")
        axes.plot(rate, mean(bpv.values()), "o", color=colour)
        title = shape or (rivals.CODECS[method].title if method in rivals.CODECS else method)
        axes.annotate(title, (rate, mean(bpv.values())), (4, 3), textcoords="offset points", fontsize=6)
    axes.set(xscale="log", xlabel="decoding, MB/s, one thread", ylabel="bits per voxel, mean of the CT series")
    axes.grid(alpha=0.3)
    return figure


def views(rows: list[Row]) -> Figure | None:
    """Three orthogonal views of a volume, and of what the model misses there."""
    planes = list(dict.fromkeys(row["plane"] for row in rows))
    if not planes:
        return None
    figure, axes = pyplot.subplots(2, len(planes), figsize=(9, 5), layout="constrained", squeeze=False)
    for column, plane in enumerate(planes):
        mine = [row for row in rows if row["plane"] == plane]
        shape = (int(mine[-1]["row"]) + 1, int(mine[-1]["column"]) + 1)
        for line, (field, colours) in enumerate((("voxel", "gray"), ("residual", "coolwarm"))):
            image = np.array([int(row[field]) for row in mine]).reshape(shape)
            bound = float(np.quantile(np.abs(image), 0.99)) if field == "residual" else None
            limits = {"vmin": -bound, "vmax": bound} if bound else {}
            shown = axes[line][column].imshow(image, cmap=colours, aspect="auto", **limits)
            axes[line][column].set_title(f"{plane}, {field}", fontsize=9)
            axes[line][column].axis("off")
        figure.colorbar(shown, ax=axes[1][column], shrink=0.8)
    return figure
