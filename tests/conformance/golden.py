"""The golden files: `python -m tests.conformance.golden` adds those that this version would write and that are not
there yet.

They pin the bytes. A file is named after the release that first wrote it and is never written again; what it must
decode to is in index.json, by SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

import volcomp

FOLDER = Path(__file__).parent / "golden_files"
INDEX = FOLDER / "index.json"
OF_PAPER = ("one", "scan", "extremes", "flat")  # enough for a model that takes 22 steps for every voxel
OF_SLICES = ("fast", "base")  # models that have others for single slices
OF_SERIES = "0.11.0"  # the release that first wrote arrays (t, z, y, x)
OF_FLAT = "0.13.0"  # and the one whose models of single slices, and over previews, encoders take


def of_any_device() -> list[Path]:
    """The files with a volume that a GPU decodes: not those whose slabs all refer to a preview."""
    return [path for path in sorted(FOLDER.glob("*.vcz")) if "preview" not in path.stem]


def mixed(*shape: int) -> np.ndarray:
    """Noise of 24 bits, from a few rounds of a 64-bit mixer (splitmix) in place of a generator that numpy might
    change."""
    state = np.arange(np.prod(shape), dtype=np.uint64)
    for _ in range(3):
        state = (state + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
        state ^= state >> np.uint64(27)
    return (state >> np.uint64(40)).astype(np.int64).reshape(shape)


def series() -> dict[str, np.ndarray]:
    """What the golden files of series hold: texture that stays while its brightness changes, and noise that does not
    stay; and signed values, of which some time points use few."""
    _, _, y, x = np.indices((5, 6, 20, 16))
    time, texture, noise = np.arange(5)[:, None, None, None], mixed(6, 20, 16) % 400, mixed(5, 6, 20, 16)
    steady = 900 + texture * (8 + time) // 8 + 4 * y + noise % 9
    few = np.where(time == 3, (steady // 100) * 100, steady) - 1000
    return {
        "series": steady.astype(np.uint16),
        "steps": np.where((y + x) % 9 == 0, -2000, few)[1:, :2, :12].astype(np.int16),
        "point": steady[:1, :2].astype(np.uint16),
    }


def volumes() -> dict[str, np.ndarray]:
    """What the golden files hold: made of integer arithmetic alone, so that every machine makes the same."""
    noise = mixed(40, 24, 20)
    z, y, x = np.indices(noise.shape)
    ball = (z - 20) ** 2 + 3 * (y - 12) ** 2 + 3 * (x - 10) ** 2 < 330
    scan = np.where(ball, 1040 + 6 * y - 3 * x + noise % 31 + noise % 17, 24 + noise % 12)
    return {
        "one": np.array([[[77]]], np.uint8),
        "scan": scan.astype(np.uint16),
        "signed": np.where((y + x) % 40 < 3, -2000, scan[:, ::-1] - 1024)[:7].astype(np.int16),
        "masked": np.where(noise % 3 == 0, 0, scan)[:5].astype(np.uint16),
        "extremes": np.where(noise % 2 == 0, -128, 127)[:2].astype(np.int8),
        "flat": np.full((3, 9, 50), 65535, np.uint16),
        "comb": np.where(scan < 500, 0, scan & ~1 | (noise % 13 == 0))[8:18].astype(np.uint16),
    }


def slices() -> dict[str, np.ndarray]:
    """What the golden files of single slices hold, large enough for models of their own: structure and noise; and few
    levels with a brightness added afterwards, which have near factors."""
    y, x = np.indices((128, 128))
    noise = mixed(1, 128, 128)
    few = 20 + (y * x) // 700 % 9 + noise % 3 + noise // 3 % 3
    return {
        "slice": (400 + 3 * y - 2 * x + noise % 23 + (y * x) // 97 + np.where(y > 100, noise % 97, 0)).astype(
            np.uint16
        ),
        "drift": (3 * few + y // 9 + x // 14).astype(np.uint8),
    }


def digest(voxels: np.ndarray) -> str:
    """Type, shape and little-endian bytes, hashed."""
    name = f"{voxels.dtype.kind}{voxels.dtype.itemsize} {voxels.shape} ".encode()
    return hashlib.sha256(name + voxels.astype(voxels.dtype.newbyteorder("<")).tobytes()).hexdigest()


def add(index: dict[str, Any], file: str, model: str, name: str, voxels: np.ndarray, **how: int) -> None:
    """Write one that is not there yet."""
    if file not in index:
        (FOLDER / file).write_bytes(volcomp.compress(voxels, model=model, **how))
        index[file] = {"model": model, "volume": name, "sha256": digest(voxels)} | how
        print(f"added {file}")


def main() -> None:
    """Add what is missing."""
    FOLDER.mkdir(exist_ok=True)
    index = json.loads(INDEX.read_text()) if INDEX.exists() else {}
    for model in ("turbo", "fast", "base"):
        for name, voxels in volumes().items():
            add(index, f"{volcomp.__version__}-{model}-{name}.vcz", model, name, voxels)
        # Fitted in floats, so that another machine may write another file: this one pins the decoder alone.
        add(index, f"{volcomp.__version__}-{model}-scan-9.vcz", model, "scan", volumes()["scan"], effort=9)
    for name, voxels in slices().items():
        for model in OF_SLICES:
            add(index, f"{OF_FLAT}-{model}-{name}.vcz", model, name, voxels)
    for name, voxels in series().items():
        for model in ("turbo", "fast", "base"):
            add(index, f"{OF_SERIES}-{model}-{name}.vcz", model, name, voxels)
    # The choice of coefficients is in floats, so these pin the decoder alone. One more, `unseen`, was written when no
    # network saw previews.
    for name, model, ratio in (("slice", "fast", 16), ("scan", "turbo", 8)):
        voxels = (volumes() | slices())[name]
        add(index, f"{OF_FLAT}-{model}-{name}-preview.vcz", model, name, voxels, preview=ratio)
    for name in OF_PAPER:
        add(index, f"{volcomp.__version__}-paper-{name}.vcz", "paper", name, volumes()[name])
    INDEX.write_text(json.dumps(index, indent=1) + "\n")


if __name__ == "__main__":
    main()
