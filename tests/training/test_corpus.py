"""Real series, through the command line's own path; skipped where the corpus is absent."""

import filecmp
from pathlib import Path

import numpy as np
import pytest

import volcomp
from volcomp import cli
from volcomp.training import corpus

pytestmark = pytest.mark.corpus

# Small ones of each kind: signed with headers in implicit VR, a time series, 4-D as a list, a compressed syntax.
SERIES = ["mr_prostate_skyra_dwi_0001", "mr_dti_canon", "mr_cine_ge_hdx_scd101_z", "mr_t1tfl_prisma_2mm"]


@pytest.fixture(scope="module", autouse=True)
def _needs_the_corpus() -> None:
    pytest.importorskip("tomoz")
    try:
        corpus.home()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def same(one: Path, other: Path) -> bool:
    """`diff -r` finds nothing."""
    found = filecmp.dircmp(one, other)
    if found.left_only or found.right_only or found.funny_files:
        return False
    _, different, errors = filecmp.cmpfiles(one, other, found.common_files, shallow=False)
    return not different and not errors and all(same(one / name, other / name) for name in found.common_dirs)


@pytest.mark.parametrize("name", SERIES)
def test_a_series_comes_back(name: str, tmp_path: Path) -> None:
    folder, archive = corpus.unpack(name), tmp_path / "series.vcz"
    assert cli.main(["compress", str(folder), "-o", str(archive), "--model", "fast"]) == 0
    assert cli.main(["decompress", str(archive), "-o", str(tmp_path / "back")]) == 0
    assert same(folder, tmp_path / "back")


@pytest.mark.parametrize("model", ["fast", "base"])
def test_arrays_of_a_series_come_back(model: str) -> None:
    (volume,) = corpus.volumes("mr_dti_canon")
    data = volcomp.compress(volume, model=model)
    assert np.array_equal(volcomp.decompress(data), volume)
    assert np.array_equal(volcomp.decompress(data, slices=slice(5, 9)), volume[5:9])
    assert volcomp.inspect(data).volumes[0].bits_per_voxel < 5
