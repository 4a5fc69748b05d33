"""`make demo`: the main job on a scene made on the spot: compress, restore, compare, and sizes beside others."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from . import phantom
from .command import same_files, timed, volcomp
from .rivals import RIVALS

SHOWN = ("jpegxl-e7", "jpegls", "zstd-19")


def main() -> int:
    """Returns 0 if every byte came back, else 1."""
    with tempfile.TemporaryDirectory(prefix="volcomp-demo-") as folder:
        series, packed, restored = Path(folder, "series"), Path(folder, "series.vcz"), Path(folder, "restored")
        volume, seconds = timed(phantom.scan)
        phantom.write(series, volume)
        print(f"Made a noisy chest CT, {'×'.join(map(str, volume.shape))}, 12 bits, in {seconds:.0f} s.\n")
        _show("compress", series, "-o", packed, shown="volcomp compress series -o series.vcz")
        _show("decompress", packed, "-o", restored, shown="volcomp decompress series.vcz -o restored")
        same = same_files(series, restored)
        print(f"$ diff -r series restored\n{'' if same else 'They differ.'}")
        before = sum(path.stat().st_size for path in series.iterdir())
        print(_table(volume, before, packed.stat().st_size))
    print("\nEvery byte came back." if same else "\nThis must not happen: what came back is not what went in.")
    return 0 if same else 1


def _show(*arguments: str | Path, shown: str) -> None:
    """Run volcomp as somebody at a prompt would see it."""
    print(f"$ {shown}", flush=True)
    print(volcomp(*arguments) + "\n")


def _table(volume: np.ndarray, before: int, after: int) -> str:
    """Sizes, largest first; of the other codecs those that are installed, for the voxels alone."""
    sizes = {"DICOM files as they are": before, "volcomp, whole file": after}
    for codec in RIVALS:
        if codec.name in SHOWN and codec.installed:
            sizes[f"{codec.title}, voxels only"] = sum(map(len, codec.encode(volume, 2)))
    lines = [f"{'':28}{'bytes':>12}{'bits per voxel':>16}{'ratio':>8}"]
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        lines.append(f"{name:28}{size:12,}{8 * size / volume.size:16.3f}{before / size:8.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as failed:  # it has said why
        sys.exit(failed.returncode)
