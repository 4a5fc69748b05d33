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
        here = Path(folder)
        volume, seconds = timed(phantom.scan)
        phantom.write(here / "series", volume)
        print(f"Made a noisy chest CT, {'×'.join(map(str, volume.shape))}, 12 bits, in {seconds:.0f} s.\n")
        _run("compress", "series", "-o", "series.vcz", cwd=here)
        _run("decompress", "series.vcz", "-o", "restored", cwd=here)
        same = same_files(here / "series", here / "restored")
        print(f"$ diff -r series restored\n{'' if same else 'They differ.'}")
        before = sum(path.stat().st_size for path in (here / "series").iterdir())
        print(_table(volume, before, (here / "series.vcz").stat().st_size))
    print("\nEvery byte came back." if same else "\nThis must not happen: what came back is not what went in.")
    return 0 if same else 1


def _run(*arguments: str, cwd: Path) -> None:
    """Run volcomp, and show it as somebody at a prompt would see it."""
    print(f"$ volcomp {' '.join(arguments)}", flush=True)
    print(volcomp(*arguments, cwd=cwd) + "\n")


def _table(volume: np.ndarray, before: int, after: int) -> str:
    """Sizes, largest first; of the other codecs those that are installed, for the voxels alone."""
    sizes = {"DICOM files as they are": before, "volcomp, whole file": after}
    for codec in RIVALS:
        if codec.name in SHOWN and codec.installed:
            sizes[f"{codec.title}, voxels only"] = sum(map(len, codec.encode(volume, 2)))
    lines = [f"{'':36}{'bytes':>12}{'bits per voxel':>16}{'ratio':>8}"]
    for name, size in sorted(sizes.items(), key=lambda item: -item[1]):
        lines.append(f"{name:36}{size:12,}{8 * size / volume.size:16.3f}{before / size:8.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as failed:  # it has said why
        sys.exit(failed.returncode)
