"""The project's figures, drawn again from its committed CSV files: `python -m benchmarks.plots`.

benchmarks/size_speed.png       size against decoding speed, all codecs
volcomp/models/training.png     loss against voxels seen, all released models
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean

from matplotlib import pyplot
from matplotlib.figure import Figure

from . import ratio, report, speed
from .rivals import CODECS, OURS

BELOW = {"base-e9": -12, "jpegxl-e7": -12}  # labels that would lie on others
STEP = 1 << 16  # voxels of a step of training, within 0.2 %
MODELS = Path(__file__).parents[1] / "volcomp" / "models"


def size_speed() -> Figure:
    """Mean size over the valid split against the speed of decoding one CT on two threads."""
    figure, axes = pyplot.subplots(figsize=(7.5, 4.5), layout="constrained")
    sizes: dict[str, list[float]] = {}
    for row in report.read_rows(ratio.CSV):
        if row["split"] == "valid":
            sizes.setdefault(row["codec"], []).append(float(row["bpv"]))
    fastest = speed.groups(report.read_rows(speed.CSV))[0]  # the machine of the first table
    speeds = {row["codec"]: float(row["decode_mb_s"]) for row in fastest}
    speeds["base-e9"] = speeds["base"]  # whatever the encoder did, the decoder does the same
    for name in (codec for codec in CODECS if codec in speeds and codec in sizes):
        x, y = speeds[name], mean(sizes[name])
        axes.plot(x, y, "o", color="tab:red" if CODECS[name] in OURS else "tab:gray")
        beside, title = (5, BELOW.get(name, 5)), CODECS[name].title.strip("*")
        axes.annotate(title, (x, y), beside, textcoords="offset points", fontsize=9)
    axes.set(xscale="log", xlim=(2, 2000), xlabel="decoding, MB/s, two threads")
    axes.set(ylabel="bits per voxel, mean of the valid split")
    axes.grid(alpha=0.3)
    return figure


def training() -> Figure:
    """The logs beside the released models."""
    figure, axes = pyplot.subplots(figsize=(7.5, 4), layout="constrained")
    for log in sorted(MODELS.glob("*.csv")):
        rows = report.read_rows(log)
        seen = [int(row["step"]) * STEP / 1e6 for row in rows]
        axes.plot(seen, [float(row["bits_per_voxel"]) for row in rows], label=log.stem)
    axes.set(xlabel="million voxels seen", ylabel="training loss, bits per voxel")
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


def main() -> None:
    """Draw both."""
    for figure, path in ((size_speed(), ratio.CSV.with_name("size_speed.png")), (training(), MODELS / "training.png")):
        figure.savefig(path, dpi=110, metadata={"Software": None})
        print(path)


if __name__ == "__main__":
    main()
