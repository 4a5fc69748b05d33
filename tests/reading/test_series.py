"""Arrays (t, z, y, x) and files in time as one lazy array: few slabs are decoded, and all of it is written."""

import io
import pickle
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.codec.test_series import textured
from tests.formats.volumes import nifti
from tests.helpers import compress, image
from volcomp import cli
from volcomp.codec import series as codec_series
from volcomp.codec.decode import Keys
from volcomp.comparison import _planes
from volcomp.container.sections import Reader
from volcomp.container.volume import Order, read_volume
from volcomp.errors import UnsupportedError

VOXELS = textured((4, 70, 10, 9))  # three slabs


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("array") / "x.vcz"
    path.write_bytes(volcomp.compress(VOXELS, "turbo", threads=1))
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose time points are turned: slices of one place are side by side."""
    folder = tmp_path_factory.mktemp("file")
    (folder / "a.nii").write_bytes(nifti(VOXELS, kind="u2"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec_series, "order", lambda *_: Order.TURNED)
        compress([folder / "a.nii"], folder / "x.vcz", model="turbo", effort=1)
    return folder / "x.vcz"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The slabs of keys that are decoded for others, as (volume, slab)."""
    found: list[tuple[int, int]] = []
    before = Keys._decode

    def noted(self: Keys, key: object, k: int) -> np.ndarray:
        found.append((key.number, k))  # type: ignore[attr-defined]
        return before(self, key, k)  # type: ignore[arg-type]

    monkeypatch.setattr(Keys, "_decode", noted)
    return found


def test_a_slice_takes_a_slab_and_at_most_one_of_a_key(array: Path, decoded: list, keys: list) -> None:
    with array.open("rb") as opened:
        stored = [read_volume(Reader(opened), t).key for t in range(4)]
    key = stored.index(None)
    first, second = [t for t in range(4) if stored[t] == key][:2]
    with volcomp.open(array, threads=1) as volume:
        assert volume.shape == VOXELS.shape and list(volume.volumes) == ["volume 0"] and volume.dtype == "<u2"
        assert repr(volume) == "<volcomp.Volume 'volume 0': 4×70×10×9 uint16>"
        assert decoded == keys == []
        assert np.array_equal(volume[first, 40], VOXELS[first, 40])
        assert (decoded, keys) == ([(first, 1)], [(key, 1)])
        assert np.array_equal(volume[second, 40:46, ::2], VOXELS[second, 40:46, ::2])
        assert (decoded, keys) == ([(first, 1), (second, 1)], [(key, 1)])
        assert np.array_equal(volume[first, 41], VOXELS[first, 41]) and len(decoded) == 2
        assert np.array_equal(volume[key, 3], VOXELS[key, 3]) and decoded[2:] == [(key, 0)]
        assert np.array_equal(volume[...], VOXELS)
    with pytest.raises(UnsupportedError, match="closed"):
        volume.volumes["volume 0"][0]


def test_slices_side_by_side_take_one_slab(file: Path, decoded: list, keys: list) -> None:
    with volcomp.open(file, threads=1) as volume:
        assert volume.chunks[:2] == ((4,), (1,) * 70)
        assert np.array_equal(volume[2, 40], VOXELS[2, 40]) and len(decoded) == 1
        assert np.array_equal(volume[:, 40], VOXELS[:, 40]) and len(decoded) <= 2
        assert np.array_equal(volume[1], VOXELS[1]) and np.array_equal(np.asarray(volume), VOXELS)
        assert len(decoded) == len(volume.slab_bytes) == 9 and keys == []


def test_keys_are_held_within_a_bound(array: Path, keys: list) -> None:
    with array.open("rb") as opened:
        reader = Reader(opened)
        volumes = [read_volume(reader, t) for t in range(4)]
        one = next(volume for volume in volumes if volume.key is not None)
        found = Keys(reader, most=VOXELS[0, :23].nbytes).of(one)
        assert found is not None
        for k in (0, 0, 1, 1, 0):
            found(k)
        assert keys == [(one.key, 0), (one.key, 1), (one.key, 0)]
        none = Keys(reader, most=10)
        slabs = none.of(one)
        assert slabs is not None and np.array_equal(slabs(0), VOXELS[one.key, :23]) and none._left == 10


@pytest.mark.parametrize("source", ["array", "file"])
def test_it_is_written(source: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    with volcomp.open(request.getfixturevalue(source), threads=1) as volume:
        assert volume.save(tmp_path / "x.npy", slice(30, 41)) == (4, 11, 10, 9)
        assert np.array_equal(np.load(tmp_path / "x.npy"), VOXELS[:, 30:41])
        if source == "file":  # its place is in a header that is no DICOM header
            return
        for name in ("x.nii", "x.nii.gz"):
            assert volume.save(tmp_path / name) == VOXELS.shape
            found = nibabel.load(tmp_path / name)
            assert np.array_equal(np.asarray(found.dataobj).T, VOXELS) and found.header["sform_code"] == 0
        made = volume.to_nibabel(geometry=False)
        assert made.shape == VOXELS.shape[::-1] and np.array_equal(np.asarray(made.dataobj).T, VOXELS)
        sitk = pytest.importorskip("SimpleITK")
        assert np.array_equal(sitk.GetArrayFromImage(volume.to_sitk(geometry=False)), VOXELS)
        assert volume.save(tmp_path / "x.mha") == VOXELS.shape
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / "x.mha")), VOXELS)
        for name in ("x.tif", "x.ome.zarr"):
            with pytest.raises(UnsupportedError, match="series in time"):
                volume.save(tmp_path / name)
        with pytest.raises(UnsupportedError, match="steps of 2"):
            volume.save(tmp_path / "y.npy", slice(0, 9, 2))
        with pytest.raises(UnsupportedError, match="none of those"):
            volume.save(tmp_path / "y.npy", slice(70, 90))
        assert not (tmp_path / "y.npy").exists()


@pytest.mark.parametrize("source", ["array", "file"])
def test_it_is_written_as_zarr(source: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    with volcomp.open(request.getfixturevalue(source), threads=1) as volume:
        assert volume.save(tmp_path / "x.zarr", slice(2, 40)) == (4, 38, 10, 9)
        assert np.array_equal(zarr.open_array(tmp_path / "x.zarr")[...], VOXELS[:, 2:40])
        with pytest.raises(volcomp.TargetError, match="exists"):
            volume.save(tmp_path / "x.zarr")


def test_its_place_is_written(tmp_path: Path) -> None:
    """Of DICOM files: values, and the affine of the first time point."""
    nibabel = pytest.importorskip("nibabel")
    for t, z in np.ndindex(3, 4):
        image(tmp_path / "in" / f"{t}-{z}.dcm", VOXELS[t, z], z=2.0 * z, TemporalPositionIdentifier=t + 1,
              RescaleSlope="2", RescaleIntercept="1")  # fmt: skip
    compress([tmp_path / "in"], tmp_path / "x.vcz", model="turbo", effort=1)
    with volcomp.open(tmp_path / "x.vcz", threads=1) as volume:
        volume.save(tmp_path / "x.nii", slice(1, 4))
        made = volume.to_nibabel()
    found = nibabel.load(tmp_path / "x.nii")
    assert np.array_equal(np.asarray(found.dataobj).T, VOXELS[:3, 1:4].astype(int) * 2 + 1)
    assert found.header["sform_code"] == 1 and np.allclose(found.affine @ [0, 0, 0, 1], [0, 0, 2, 1])
    assert np.array_equal(np.asarray(made.dataobj).T, VOXELS[:3, :4].astype(int) * 2 + 1)


def test_the_command_writes_an_array(array: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["decompress", str(array), "-o", str(tmp_path / "a.npy"), "--threads", "1"]) == 0
    assert "4×70×10×9 uint16" in capsys.readouterr().out
    assert np.array_equal(np.load(tmp_path / "a.npy"), VOXELS)
    command = ["decompress", str(array), "-o", str(tmp_path / "a.nii.gz"), "--slices", "3:5", "--threads", "1"]
    assert cli.main(command) == 0 and "4×2×10×9 uint16" in capsys.readouterr().out


def test_it_is_shown_and_compared(file: Path, array: Path) -> None:
    pytest.importorskip("PIL")
    from volcomp.reading.view import look

    for path in (file, array):
        with volcomp.open(path, threads=1) as opened:
            volume = opened.volumes[0]
            seen = look(volume)
            assert seen.panels[0][0] == "slice 35 of 70, time point 2 of 4"
            assert np.array_equal(seen.panels[0][1], VOXELS[2, 35]) and seen.slabs[0][:2] == (0, 70)
            (plane,) = _planes(volume)
            assert np.array_equal(plane, (VOXELS.reshape(280, 10, 9) - VOXELS.min()).astype("u2"))


def test_it_is_pickled(array: Path, file: Path) -> None:
    for path in (array, file):
        with volcomp.open(path, threads=1) as opened:
            again = pickle.loads(pickle.dumps(opened.volumes[0]))
            assert np.array_equal(again[1, 2], VOXELS[1, 2]) and again.shape == VOXELS.shape
            assert again.__dask_tokenize__() == opened.__dask_tokenize__()


def test_arrays_that_differ_have_other_tokens(array: Path) -> None:
    """Also where their first time points are equal."""
    other = VOXELS.copy()
    other[3, 0, 0, 0] += 1
    changed = volcomp.open(io.BytesIO(volcomp.compress(other, "turbo", threads=1)), threads=1)
    assert changed.__dask_tokenize__() != volcomp.open(array).__dask_tokenize__()


def test_threads_read_one_at_once(array: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with volcomp.open(array, cache_bytes=0) as volume, ThreadPoolExecutor(4) as pool:
        places = [(t, z) for t in range(4) for z in (3, 60)]
        for place, found in zip(places, pool.map(volume.__getitem__, places), strict=True):
            assert np.array_equal(found, VOXELS[place])


def test_decompress_returns_the_time_points_of_files_in_their_order(file: Path) -> None:
    some = slice(20, 45, 2)
    assert np.array_equal(volcomp.decompress(file, threads=1), VOXELS)
    assert np.array_equal(volcomp.decompress(file, some, threads=1), VOXELS[:, some])
    assert np.array_equal(volcomp.decompress(file, some, times=2, threads=1), VOXELS[2, some])
    assert np.array_equal(volcomp.decompress(file, times=slice(3, 0, -1), volume=0, threads=1), VOXELS[3:0:-1])
