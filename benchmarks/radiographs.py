"""Sizes of radiographs: single images of 8 to 16 bits, by volcomp and by codecs of pictures.

    python -m benchmarks.radiographs                       # measures what radiographs.csv lacks
    python -m benchmarks.radiographs --redo base           # this codec once more
    python -m benchmarks.radiographs --groups cxr256 --images 24

The images are in $VOLCOMP_RADIOGRAPHS, by default beside the corpus in `../shared/corpus2d`, with a splits.csv. Of
volcomp it is the whole file of an array, with header, checksums and index; the others code pixels alone. `png` is the
file as it came. Every result is decoded and compared. Chest X-rays of 256 × 256 pixels are a group of their own: others
publish sizes of theirs.
"""

from __future__ import annotations

import argparse
import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volcomp.formats import registry
from volcomp.training.corpus import ROOT

from . import report
from .ratio import NotLossless
from .rivals import CODECS, from_zero

CSV = Path(__file__).with_name("radiographs.csv")
COLUMNS = ("image", "group", "split", "codec", "pixels", "bytes", "bpp", "verified")
GROUPS = {"cxr256": "chest, 256 × 256", "full": "chest, as published", "native": "8 to 16 bits, DICOM"}
MEASURED = ("jpegls", "jpegxl-e9", "tomoz", "turbo", "fast", "base")
PNG = "png"

Row = dict[str, str]


def home() -> Path:
    """The folder of images; FileNotFoundError with a sentence where there is none."""
    folder = Path(os.environ.get("VOLCOMP_RADIOGRAPHS") or ROOT.parent / "shared" / "corpus2d")
    if not (folder / "splits.csv").is_file():
        raise FileNotFoundError(f"there are no radiographs at {folder}: set VOLCOMP_RADIOGRAPHS to the folder")
    return folder


def images(split: str) -> list[Row]:
    """The rows of splits.csv of a split."""
    with (home() / "splits.csv").open(newline="") as lines:
        return [row for row in csv.DictReader(lines) if row["split"] == split]


def pixels(name: str) -> np.ndarray:
    """The pixels [Y, X] of an image: of a PNG by imagecodecs, of other files as an archive of volcomp codes them."""
    path = home() / name
    if path.suffix == ".png":
        import imagecodecs

        return np.asarray(imagecodecs.png_decode(path.read_bytes()))
    image = registry.read_image(path, path.name)
    if image is None or image.planes != 1 or image.frames != 1:
        raise ValueError(f"{name} is no image of one plane")
    with path.open("rb") as file:
        if image.reading:
            return np.asarray(next(iter(image.reading.read(file)))[0][0])
        file.seek(image.start)
        words = np.frombuffer(file.read(image.pixel_bytes), f"{'>' if image.big_endian else '<'}u{image.bits // 8}")
        return words.reshape(image.rows, image.columns)


def measure(name: str, group: str, split: str, codec: str, voxels: np.ndarray) -> Row:
    """One row of the CSV. Raises NotLossless."""
    if codec == PNG:
        size = (home() / name).stat().st_size
    else:
        volume = from_zero(voxels[None])
        streams = CODECS[codec].encode(volume, 1)
        if not np.array_equal(CODECS[codec].decode(streams, volume.shape, 1), volume):
            raise NotLossless(f"{codec} does not give back {name}")
        size = sum(map(len, streams))
    return {
        "image": name, "group": group, "split": split, "codec": codec, "pixels": str(voxels.size),
        "bytes": str(size), "bpp": f"{8 * size / voxels.size:.4f}", "verified": "yes",
    }  # fmt: skip


def summary(rows: Sequence[Row], split: str) -> str:
    """The table: bits per pixel of all pixels of a group, by codec, of the images that all of these codecs have."""
    rows = [row for row in rows if row["split"] == split]
    titles = {PNG: "PNG, as it came"} | {name: codec.title for name, codec in CODECS.items()}
    present = [codec for codec in (PNG, *MEASURED) if any(row["codec"] == codec for row in rows)]
    sizes = {(row["codec"], row["image"]): (int(row["bytes"]), int(row["pixels"])) for row in rows}
    columns, lines = [""], [[titles[codec]] for codec in present]
    for group, title in GROUPS.items():
        names = {row["image"] for row in rows if row["group"] == group}
        needed = [codec for codec in present if codec != PNG]
        names = {name for name in names if all((codec, name) in sizes for codec in needed)}
        columns += [f"{title} ({len(names)})", "to JPEG XL, effort 9"]

        def bits(codec: str, names: set[str] = names) -> float | None:
            found = [sizes.get((codec, name)) for name in sorted(names)]
            if not found or None in found:
                return None
            return 8 * sum(one[0] for one in found if one) / sum(one[1] for one in found if one)

        other = bits("jpegxl-e9")
        for line, codec in zip(lines, present, strict=True):
            own = bits(codec)
            line.append("" if own is None else f"{own:.3f}")
            line.append("" if own is None or not other else f"{100 * (own / other - 1):+.1f} %")
    return report.table(columns, lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, row by row into the CSV, then the table."""
    options = _parser().parse_args(arguments)
    rows = {(row["image"], row["codec"]): row for row in report.read_rows(CSV)}
    order = (PNG, *MEASURED)
    for group in options.groups:
        found = [row["file"] for row in images(options.split) if row["file"].startswith(group + "/")]
        for name in found[:: max(1, len(found) // options.images)] if options.images else found:
            wanted = [c for c in options.codecs if c in options.redo or (name, c) not in rows]
            wanted = [c for c in wanted if name.endswith(".png") if c == PNG] + [c for c in wanted if c != PNG]
            voxels = pixels(name) if wanted else np.empty(0)
            for codec in wanted:
                rows[name, codec] = measure(name, group, options.split, codec, voxels)
                print(f"{name}: {codec} {rows[name, codec]['bpp']}", file=sys.stderr, flush=True)
                ordered = sorted(rows.values(), key=lambda row: (row["image"], order.index(row["codec"])))
                report.write_rows(CSV, COLUMNS, ordered)
                if codec != PNG:
                    report.write_machine(CSV, CODECS[codec].versions)
    report.publish("radiographs", summary(list(rows.values()), options.split))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.radiographs", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--split", default="test", choices=("valid", "test", "train"))
    parser.add_argument("--groups", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--images", type=int, default=0, help="of a group, about so many, evenly spaced; default: all")
    names: dict[str, Any] = {"nargs": "+", "metavar": "CODEC", "choices": (PNG, *MEASURED)}
    installed = [codec for codec in (PNG, *MEASURED) if codec == PNG or CODECS[codec].installed]
    parser.add_argument("--codecs", **names, default=installed, help=f"only these of: {', '.join((PNG, *MEASURED))}")
    parser.add_argument("--redo", **names, default=(), help="measure these again")
    return parser


if __name__ == "__main__":
    main()
