"""One slice of a large archive takes the memory of one slab, however long the series is."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import volcomp

CODE = r"""
import re, sys, volcomp
from pathlib import Path
import numpy as np
volume = volcomp.open(sys.argv[1], threads=1)
print(int(volume[50].astype(np.int64).sum()))
print(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """96 slices of 256², mostly one value, so that they are quickly coded; and the sum of slice 50."""
    volume = np.zeros((96, 256, 256), np.int16)
    volume[:, 100:140, 100:140] = np.random.default_rng(0).normal(500, 20, (96, 40, 40))
    path = tmp_path_factory.mktemp("large") / "large.vcz"
    path.write_bytes(volcomp.compress(volume, "turbo", effort=1, verify=False, threads=1))
    return path, int(volume[50].astype(np.int64).sum())


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
def test_a_slice_takes_less_than_300_megabytes(large: tuple[Path, int]) -> None:
    for _ in range(2):  # the first one may compile, which takes memory of its own
        done = subprocess.run([sys.executable, "-c", CODE, str(large[0])], capture_output=True, text=True, check=True)
    total, peak = map(int, done.stdout.split())
    assert total == large[1] and peak < 300_000  # kB, with Python, numpy and numba


def test_a_slice_of_many_decodes_one_slab(large: tuple[Path, int], decoded: list[tuple[int, int]]) -> None:
    with volcomp.open(large[0]) as volume:
        assert volume.chunks[0] == (32, 32, 32) and int(volume[50].astype(np.int64).sum()) == large[1]
    assert len(decoded) == 1
