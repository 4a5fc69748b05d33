"""Numbers whose lower bits lie beside the planes of a volume, and `decompress` of archives of files."""

import threading
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.formats.volumes import meta, nifti, npy, picture, tiff
from tests.helpers import compress
from volcomp.codec import encode
from volcomp.reading.apart import Apart


def _noisy(kind: str, zeros: bool, shape: tuple[int, ...] = (20, 64, 64), seed: int = 0) -> np.ndarray:
    """Numbers of which more than 65,536 differ, and their lower bits are noise."""
    noise = np.random.default_rng(seed).random(shape)
    if kind[0] in "ui":
        voxels = (picture(shape, "f8", seed) * 1e6 + 1e6 * noise).astype(kind)
    else:
        voxels = picture(shape, "f8", seed).astype(kind) + noise.astype(kind)
    if zeros:  # numbers that have levels of their own
        voxels[:, :20] = 0
    return voxels


@pytest.mark.parametrize("zeros", [False, True], ids=["all apart", "some told"])
@pytest.mark.parametrize("kind", ["f4", "f8", "i4", "u8"])
def test_numbers_of_which_a_part_lies_beside_the_volume(
    tmp_path: Path, kind: str, zeros: bool, monkeypatch: pytest.MonkeyPatch, decoded: list
) -> None:
    """They were taken for their upper bits, then refused. All bits are compared, in any order of slices."""
    voxels = _noisy(kind, zeros)
    monkeypatch.setattr(encode, "SLAB_HEIGHT", 8)
    (tmp_path / "x.nii").write_bytes(nifti(voxels))
    compress([tmp_path / "x.nii"], tmp_path / "x.vcz", model="turbo")
    decoded.clear()
    volume = volcomp.open(tmp_path / "x.vcz", threads=1)
    apart = volume.volumes.only()._samples[0]
    assert isinstance(apart, Apart) and apart.alike != zeros and volume.dtype == np.dtype(kind)
    for z in (13, 2, 19, 8):
        assert np.array_equal(volume[z].view("u1"), voxels[z].view("u1"))
    slabs = len(volume.chunks[0])
    assert slabs == 3 and sorted(decoded) == [(0, k) for k in range(slabs)]  # each once
    with volcomp.open(tmp_path / "x.vcz", threads=1, cache_bytes=0) as again:
        decoded.clear()
        assert np.array_equal(again[19].view("u1"), voxels[19].view("u1"))
        assert decoded == ([(0, 0), (0, 1), (0, 2)] if zeros else [(0, 2)])
        assert np.array_equal(np.asarray(again), voxels) and np.array_equal(again[::-7], voxels[::-7])
    assert np.array_equal(volcomp.decompress(tmp_path / "x.vcz", threads=1).view("u1"), voxels.view("u1"))
    assert np.array_equal(volcomp.decompress(tmp_path / "x.vcz", slice(None, None, -7), threads=1), voxels[::-7])


def test_threads_read_numbers_apart_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = _noisy("f4", True)
    monkeypatch.setattr(encode, "SLAB_HEIGHT", 5)
    (tmp_path / "x.npy").write_bytes(npy(voxels))
    compress([tmp_path / "x.npy"], tmp_path / "x.vcz", model="turbo")
    volume = volcomp.open(tmp_path / "x.vcz", threads=1, cache_bytes=0)
    wrong: list[int] = []
    ended: list[int] = []

    def read(order: list[int]) -> None:
        wrong.extend(z for z in order if not np.array_equal(volume[z], voxels[z]))
        ended.append(order[0])

    orders = [[17, 3, 11], [3, 17, 6], [11, 0, 19]]
    threads = [threading.Thread(target=read, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and sorted(ended) == [3, 11, 17]


@pytest.mark.parametrize("name", ["components.mha", "complex.nii", "gaps.tif"])
def test_several_numbers_of_a_voxel_with_a_part_apart(tmp_path: Path, name: str) -> None:
    if name == "components.mha":
        voxels = np.stack([_noisy("f4", seed == 1, (12, 48, 48), seed) for seed in range(3)], -1)
        data = meta(voxels, channels=3)
    elif name == "complex.nii":
        voxels = _noisy("f4", True, (12, 48, 48)) + 1j * _noisy("f4", False, (12, 48, 48), 1)
        data = nifti(voxels.astype("c8"))
        voxels = voxels.astype("c8").view("f4").reshape(*voxels.shape, 2)
    else:
        voxels = _noisy("f4", False)
        data = tiff(voxels, gap=10)
    (tmp_path / name).write_bytes(data)
    compress([tmp_path / name], tmp_path / "x.vcz", model="turbo")
    volume = volcomp.open(tmp_path / "x.vcz", threads=1)
    assert isinstance(volume.volumes.only()._samples[0], Apart)
    assert np.array_equal(volume[5], voxels[5]) and np.array_equal(np.asarray(volume), voxels)


def test_equal_levels_of_other_numbers_are_not_one_array_to_dask(tmp_path: Path) -> None:
    voxels = np.round(picture((6, 24, 20), "f8")).astype("f4")
    tokens = set()
    for factor in (1, 0.5):
        (tmp_path / "x.nii").write_bytes(nifti(voxels * np.float32(factor)))
        compress([tmp_path / "x.nii"], tmp_path / "x.vcz", force=True)
        with volcomp.open(tmp_path / "x.vcz") as volume:
            assert np.array_equal(np.asarray(volume), voxels * factor)
            tokens.add(str(volume.__dask_tokenize__()))
    assert len(tokens) == 2


def test_an_array_of_levels_is_no_array_of_numbers(tmp_path: Path) -> None:
    """`decompress` returned the levels of a table."""
    voxels = np.round(picture((6, 24, 20), "f8")).astype("f4") / 8
    (tmp_path / "x.nii").write_bytes(nifti(voxels))
    (tmp_path / "y.nii").write_bytes(nifti(voxels[::-1].astype("i2")))
    for names in (["x.nii"], ["x.nii", "y.nii"]):
        compress([tmp_path / name for name in names], tmp_path / "x.vcz", force=True)
    assert np.array_equal(volcomp.decompress(tmp_path / "x.vcz", volume=0, threads=1), voxels)
    assert np.array_equal(volcomp.decompress(tmp_path / "x.vcz", slice(2, 3), volume=0, threads=1), voxels[2:3])
    assert np.array_equal(volcomp.decompress((tmp_path / "x.vcz").read_bytes(), volume=1), voxels[::-1].astype("i2"))
    with pytest.raises(volcomp.UnsupportedError, match="the file holds volumes 0 to 1; say which with volume="):
        volcomp.decompress(tmp_path / "x.vcz")
    with pytest.raises(volcomp.UnsupportedError, match=r"x\.nii are made of .*salvage=True\) restores the file"):
        volcomp.decompress(tmp_path / "x.vcz", volume=0, salvage=True)
