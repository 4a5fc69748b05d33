"""Distortion of images coded with loss, at equal bytes: volcomp's lossy layer beside other codecs.

    python -m benchmarks.images FOLDER                     # measures what images.csv lacks
    python -m benchmarks.images FOLDER --redo volcomp      # this codec once more
    python -m benchmarks.images FOLDER --split valid --limit 8 --print

FOLDER has the images as PNG in 8-bit grey, in folders `train`, `valid` and `test`; the CSV names each by a digest of
its pixels. A budget is the bytes of the pixels over a ratio, and all bytes of a stream count. Each rival is searched
for the quality and settings with which this image has the least error within the budget: JPEG 2000 as a bare
codestream, 9/7, of 5, 6 or 7 resolutions; JPEG XL as a bare codestream, effort 7; AVIF of one channel by libaom, speed
6, tuned for PSNR; WebP, method 6, three equal channels, since it has no grey. Errors are those of the pixels that come
back.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import numpy as np

from volcomp import lossy

from . import report
from .rivals import versioned

CSV = Path(__file__).with_name("images.csv")
COLUMNS = ("image", "split", "codec", "ratio", "budget", "bytes", "mse", "psnr", "encode_s", "decode_s")
RATIOS = (8, 16, 32)
STEPS = 12  # of a search for the quality

Image = np.ndarray  # uint8 [y, x]


class Setting(NamedTuple):
    """A codec with settings.

    encode        makes a stream of an image and a quality
    decode        makes the image again
    worst, best   qualities; whole numbers if `whole`
    """

    encode: Callable[[Image, float], bytes]
    decode: Callable[[bytes], Image]
    worst: float
    best: float
    whole: bool = False


def _codecs() -> Any:
    import imagecodecs

    return imagecodecs


def _jpeg_2000() -> Iterator[Setting]:
    for resolutions in (5, 6, 7):

        def encode(image: Image, quality: float, resolutions: int = resolutions) -> bytes:
            options = {"codecformat": "j2k", "reversible": False, "mct": False, "resolutions": resolutions}
            return bytes(_codecs().jpeg2k_encode(image, level=quality, **options))

        yield Setting(encode, lambda data: np.asarray(_codecs().jpeg2k_decode(data)), 15, 75)


def _jpeg_xl() -> Iterator[Setting]:
    def encode(image: Image, quality: float) -> bytes:
        return bytes(_codecs().jpegxl_encode(image, distance=-quality, effort=7, usecontainer=False))

    yield Setting(encode, lambda data: np.squeeze(_codecs().jpegxl_decode(data)), -25, -0.05)


def _avif() -> Iterator[Setting]:
    from PIL import Image as pillow

    def encode(image: Image, quality: float) -> bytes:
        out = io.BytesIO()
        options: dict[str, Any] = {"subsampling": "4:0:0", "speed": 6, "codec": "aom", "advanced": {"tune": "psnr"}}
        pillow.fromarray(image).save(out, "AVIF", quality=int(quality), **options)
        return out.getvalue()

    yield Setting(encode, lambda data: np.asarray(pillow.open(io.BytesIO(data)).convert("L")), 0, 100, whole=True)


def _webp() -> Iterator[Setting]:
    def encode(image: Image, quality: float) -> bytes:
        three = np.repeat(image[..., None], 3, axis=2)
        return bytes(_codecs().webp_encode(three, level=quality, lossless=False, method=6))

    yield Setting(encode, lambda data: np.asarray(_codecs().webp_decode(data))[..., 1], 0, 100)


RIVALS = {"jpeg2000": _jpeg_2000, "jpegxl": _jpeg_xl, "avif": _avif, "webp": _webp}
CODECS = ("volcomp", *RIVALS)
PACKAGES = {"volcomp": "volcomp", "avif": "pillow"}  # else imagecodecs


class Result(NamedTuple):
    """What came of an image: bytes, the mean squared error with values in 0 … 1, and seconds."""

    size: int
    mse: float
    encoding: float
    decoding: float


def error(image: Image, other: Image) -> float:
    """Return the mean squared error of values in 0 … 1."""
    return float(((image.astype(np.float64) - other) ** 2).mean()) / 255**2


def ours(image: Image, budget: int) -> Result:
    """Measure volcomp's lossy layer."""
    began = time.perf_counter()
    payload = lossy.encode(image, budget)
    between = time.perf_counter()
    back = lossy.decode(payload)
    return Result(len(payload), error(image, back), between - began, time.perf_counter() - between)


def rival(codec: str, image: Image, budget: int) -> Result | None:
    """Measure the best setting of a rival within a budget; None where none is small enough. Seconds are those of the
    stream that is kept, without the search."""
    found = [result for setting in RIVALS[codec]() if (result := _searched(setting, image, budget))]
    return min(found, key=lambda result: result.mse) if found else None


def _searched(setting: Setting, image: Image, budget: int) -> Result | None:
    low, high, best = setting.worst, setting.best, None
    for _ in range(STEPS):
        quality = (low + high) / 2
        if setting.whole:
            quality = round(quality)
        began = time.perf_counter()
        data = setting.encode(image, quality)
        between = time.perf_counter()
        if len(data) <= budget:
            mse = error(image, setting.decode(data))
            result = Result(len(data), mse, between - began, time.perf_counter() - between)
            best = result if best is None or mse < best.mse else best
            low = quality + setting.whole
        else:
            high = quality - setting.whole
        if low > high:
            break
    return best


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, row by row into the CSV, then the table."""
    options = _parser().parse_args(arguments)
    rows = {} if options.print else {_key(row): row for row in report.read_rows(CSV)}
    for codec in options.codecs:
        for path in sorted((options.folder / options.split).glob("*.png"))[: options.limit]:
            image = _read(path)
            name = hashlib.sha256(image.tobytes()).hexdigest()[:16]
            for ratio in RATIOS:
                if (name, codec, str(ratio)) in rows and codec not in options.redo:
                    continue
                budget = image.nbytes // ratio
                result = ours(image, budget) if codec == "volcomp" else rival(codec, image, budget)
                if result is not None:
                    row = _row(name, options.split, codec, ratio, budget, result)
                    rows[_key(row)] = row
            print(f"{codec}: {path.name}", flush=True, file=sys.stderr)
            if not options.print:
                report.write_rows(CSV, COLUMNS, sorted(rows.values(), key=_order))
        if not options.print:
            report.write_machine(CSV, [versioned(PACKAGES.get(codec, "imagecodecs"))])
    report.publish("images", summary(list(rows.values())))


def summary(rows: Sequence[dict[str, str]]) -> str:
    """Make the table: for each codec and ratio the mean bytes, the mean error and its PSNR."""
    lines = []
    for codec in [c for c in CODECS if any(row["codec"] == c for row in rows)]:
        cells = [codec]
        for ratio in RATIOS:
            own = [row for row in rows if row["codec"] == codec and row["ratio"] == str(ratio)]
            if not own:
                cells += ["", ""]
                continue
            mse = mean(float(row["mse"]) for row in own)
            size = mean(int(row["bytes"]) for row in own)
            cells += [f"{size:.0f}", f"{1e6 * mse:.1f} ({-10 * np.log10(mse):.2f} dB)"]
        lines.append(cells)
    columns = ["codec", *(text for ratio in RATIOS for text in (f"{ratio}:1, bytes", "10⁶ · MSE"))]
    return report.table(columns, lines)


def _row(name: str, split: str, codec: str, ratio: int, budget: int, result: Result) -> dict[str, str]:
    psnr = f"{-10 * np.log10(result.mse):.3f}" if result.mse else "inf"
    where = {"image": name, "split": split, "codec": codec, "ratio": str(ratio), "budget": str(budget)}
    times = {"encode_s": f"{result.encoding:.3f}", "decode_s": f"{result.decoding:.3f}"}
    return where | {"bytes": str(result.size), "mse": f"{result.mse:.5e}", "psnr": psnr} | times


def _key(row: dict[str, str]) -> tuple[str, str, str]:
    return row["image"], row["codec"], row["ratio"]


def _order(row: Mapping[str, str]) -> tuple[str, str, int, int]:
    return row["split"], row["image"], int(row["ratio"]), CODECS.index(row["codec"])


def _read(path: Path) -> Image:
    from PIL import Image as pillow

    image = np.array(pillow.open(path))
    if image.ndim != 2 or image.dtype != np.uint8:
        raise SystemExit(f"{path} is not grey with 8 bits")
    return image


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.images", description=__doc__)
    parser.add_argument("folder", type=Path, help="of the images")
    parser.add_argument("--split", default="test", help="folder in it (test)")
    parser.add_argument("--codecs", nargs="+", choices=CODECS, default=list(CODECS), help="codecs (all)")
    parser.add_argument("--redo", nargs="+", choices=CODECS, default=[], help="measure these again")
    parser.add_argument("--limit", type=int, help="images (all)")
    parser.add_argument("--print", action="store_true", help="print the table alone; write nothing")
    return parser


if __name__ == "__main__":
    main()
