"""Volumes of an archive as lazy arrays: numpy's values, no slab more than is needed, and sentences for errors."""

import gzip
import io
import multiprocessing
import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import volcomp
from tests.archive.mixed import CODED, mixed
from tests.formats.volumes import meta, mgh, nifti, npy, nrrd, picture
from tests.helpers import compress, damage, image, noise, series
from tests.reading.conftest import words_of
from volcomp.archive.entry import Voxels
from volcomp.codec import decode
from volcomp.container.sections import SLAB, SectionId


@pytest.fixture(scope="module")
def words(ct: Path) -> np.ndarray:
    """The voxels of `ct`."""
    return words_of(ct.parent / "ct")


def test_a_volume_says_what_it_is_without_decoding(ct: Path, words: np.ndarray, decoded: list) -> None:
    with volcomp.open(ct) as volume:
        assert (volume.shape, volume.dtype, volume.ndim) == (words.shape, words.dtype, 3)
        assert (volume.size, volume.nbytes, len(volume)) == (words.size, words.nbytes, 50)
        assert volume.spacing == (2.5, 0.5, 0.5)
        assert volume.chunks == ((12, 13, 12, 13), (12,), (12,))
        assert (volume.name, volume.series, volume.modality) == ("ct", "1.2.3.4", "CT")
        assert volume.files[0] == "IM0050.dcm" and len(volume.files) == 50
        assert [header.InstanceNumber for header in volume.headers] == list(range(1, 51))
        assert repr(volume) == "<volcomp.Volume 'ct': 50×12×12 int16>"
    assert decoded == []


def test_one_slice_decodes_one_slab_once(ct: Path, words: np.ndarray, decoded: list) -> None:
    with volcomp.open(str(ct)) as volume:
        assert np.array_equal(volume[26], words[26])
        assert np.array_equal(volume[30, 3:5], words[30, 3:5])
        assert decoded == [(0, 2)]
        assert np.array_equal(volume[24:40:2], words[24:40:2])
        assert decoded == [(0, 2), (0, 1), (0, 3)]


def test_what_is_decoded_is_held_within_a_bound(ct: Path, words: np.ndarray, decoded: list) -> None:
    slab = words[:13].nbytes
    with volcomp.open(ct, cache_bytes=2 * slab) as volume:
        for z in (0, 13, 26, 13, 0):
            assert np.array_equal(volume[z], words[z])
    assert decoded == [(0, 0), (0, 1), (0, 2), (0, 0)]
    decoded.clear()
    with volcomp.open(ct, cache_bytes=0) as volume:
        assert np.array_equal(volume[0], volume[0])
    assert decoded == [(0, 0), (0, 0)]


@pytest.fixture(scope="module")
def volume(ct: Path) -> volcomp.Archive:
    """`ct`, open."""
    return volcomp.open(ct)


@settings(max_examples=60)
@given(index=hnp.basic_indices((50, 12, 12), allow_newaxis=True, allow_ellipsis=True))
def test_basic_indexes_are_those_of_numpy(volume: volcomp.Archive, words: np.ndarray, index: object) -> None:
    found, expected = volume[index], words[index]  # type: ignore[index]
    assert type(found) is type(expected) and found.shape == expected.shape and np.array_equal(found, expected)


@settings(max_examples=60)
@given(st.slices(50), st.slices(12), st.one_of(st.integers(-12, 11), st.slices(12)))
def test_slices_with_steps_are_those_of_numpy(
    volume: volcomp.Archive, words: np.ndarray, z: slice, y: slice, x: object
) -> None:
    assert np.array_equal(volume[z, y, x], words[z, y, x])  # type: ignore[index]


@pytest.mark.parametrize(
    "index",
    [[3, 1, 2], ([-1, 5], slice(2, 4)), (slice(2, 5), [1, 1]), np.arange(50) % 7 == 0, ([0, 4], [1, 2], [3, 3])],
)
def test_advanced_indexes_are_those_of_numpy(volume: volcomp.Archive, words: np.ndarray, index: object) -> None:
    assert np.array_equal(volume[index], words[index])  # type: ignore[index]


def test_a_mask_is_that_of_numpy(volume: volcomp.Archive, words: np.ndarray) -> None:
    assert np.array_equal(volume[words > 900], words[words > 900])


@pytest.mark.parametrize("index", [50, -51, (0, 12), (0, 0, 0, 0), (..., ...), "no", 1.5, [50], [-51]])
def test_errors_of_indexes_are_those_of_numpy(ct: Path, words: np.ndarray, index: object) -> None:
    lazy = volcomp.open(ct).volumes["ct"]
    with pytest.raises(IndexError) as expected:
        words[index]  # type: ignore[index]
    with pytest.raises(IndexError) as found:
        lazy[index]
    if not isinstance(index, list):
        assert str(found.value) == str(expected.value)


def test_numpy_takes_it_as_an_array(volume: volcomp.Archive, words: np.ndarray) -> None:
    assert np.array_equal(np.asarray(volume), words)
    assert np.asarray(volume, np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="copy"):
        np.asarray(volume, copy=False)
    assert [plane.mean() for plane in volume] == [plane.mean() for plane in words]


def test_dask_takes_it_in_slabs(volume: volcomp.Archive, words: np.ndarray) -> None:
    array = pytest.importorskip("dask.array")
    lazy = array.from_array(volume, chunks=volume.chunks)
    assert lazy.chunks == volume.chunks and lazy.dtype == words.dtype
    assert np.array_equal(lazy[5:30:4].compute(), words[5:30:4])
    assert np.array_equal(lazy[[30, 2]].compute(), words[[30, 2]])
    assert array.from_array(volume).name == array.from_array(volume).name


def test_threads_decode_a_slab_once(ct: Path, words: np.ndarray, decoded: list) -> None:
    with volcomp.open(ct, threads=1) as volume:
        barrier, wrong = threading.Barrier(8), []

        def read(number: int) -> None:
            barrier.wait()
            for z in range(number, 50, 5):
                if not np.array_equal(volume[z], words[z]):
                    wrong.append(z)

        threads = [threading.Thread(target=read, args=(i % 5,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == [] and sorted(decoded) == [(0, 0), (0, 1), (0, 2), (0, 3)]


def test_damage_of_a_slab_spares_the_others(ct: Path, words: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "x.vcz"
    path.write_bytes(ct.read_bytes())
    damage(path, SectionId(SLAB, 0, 1), 40)
    with volcomp.open(path, threads=1) as volume:
        assert np.array_equal(volume[0], words[0])
        for _ in range(2):
            with pytest.raises(volcomp.DamagedError, match=r"x\.vcz: slab 1 of volume 0 is damaged"):
                volume[12]
        with pytest.raises(volcomp.DamagedError):
            np.asarray(volume)
        assert np.array_equal(volume[25], words[25])


def test_a_thread_that_waits_decodes_itself_what_another_one_gave_up(
    ct: Path, words: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first reader is interrupted while the second one waits for it."""
    genuine, begun, going = decode.decode_volume, threading.Event(), threading.Event()

    def interrupted(reader, volume, slabs, options, **others):
        if not begun.is_set():
            begun.set()
            going.wait(900)
            raise KeyboardInterrupt
        yield from genuine(reader, volume, slabs, options, **others)

    monkeypatch.setattr(decode, "decode_volume", interrupted)
    with volcomp.open(ct, threads=1) as volume:
        results: list[object] = []

        def read() -> None:
            try:
                results.append(volume[0])
            except KeyboardInterrupt:
                results.append("interrupted")

        threads = [threading.Thread(target=read) for _ in range(2)]
        threads[0].start()
        begun.wait(900)
        threads[1].start()
        going.set()
        for thread in threads:
            thread.join()
    assert "interrupted" in [one for one in results if isinstance(one, str)]
    assert [np.array_equal(one, words[0]) for one in results if isinstance(one, np.ndarray)] == [True]


def test_a_closed_archive_says_so(ct: Path) -> None:
    with volcomp.open(ct) as volume:
        inner = volume.volumes["ct"]
        assert not volume.closed
    assert volume.closed and repr(inner) == "<volcomp.Volume 'ct', closed>" and "closed" in repr(volume)
    with pytest.raises(volcomp.UnsupportedError, match=r"ct\.vcz is closed; open it again"):
        inner[0]
    volume.close()


def test_a_volume_outlives_the_name_of_its_archive(ct: Path, words: np.ndarray) -> None:
    assert np.array_equal(volcomp.open(ct).volumes["ct"][3], words[3])


def test_bytes_and_files_are_sources_too(ct: Path, words: np.ndarray) -> None:
    with volcomp.open(ct.read_bytes()) as volume:
        assert np.array_equal(volume[3], words[3])
    with ct.open("rb") as file:
        with volcomp.open(file) as volume:
            assert np.array_equal(volume[3], words[3])
        assert not file.closed
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(volcomp.open(io.BytesIO(ct.read_bytes())))


def test_other_processes_open_the_path_again(ct: Path, words: np.ndarray) -> None:
    archive = volcomp.open(ct, threads=1)
    for one in (archive, archive.volumes["ct"]):
        again = pickle.loads(pickle.dumps(one))
        assert type(again) is type(one) and np.array_equal(again[3], words[3])


def _sums(volume: volcomp.Volume, numbers: range, results: "multiprocessing.Queue[list[int]]") -> None:
    results.put([int(volume[z].sum()) for _ in range(20) for z in numbers])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_forked_workers_read_what_was_opened_before(ct: Path, words: np.ndarray) -> None:
    """They share the file, whose position in the system would be that of whoever read last."""
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    volume = volcomp.open(ct, threads=1, cache_bytes=0).volumes["ct"]
    int(volume[0].sum())  # which loads the code
    workers = [context.Process(target=_sums, args=(volume, range(k, 50, 17), results)) for k in range(3)]
    for worker in workers:
        worker.start()
    found = sorted(results.get(timeout=900) for _ in workers)
    for worker in workers:
        worker.join()
    assert found == sorted([int(words[z].sum()) for _ in range(20) for z in range(k, 50, 17)] for k in range(3))


def test_arrays_are_volumes(tmp_path: Path) -> None:
    array = noise((30, 9, 8), "u2", 0, 999)
    (tmp_path / "x.vcz").write_bytes(volcomp.compress(array, threads=1))
    volume = volcomp.open(tmp_path / "x.vcz")
    assert volume.name == "volume 0" and volume.files == [] and np.array_equal(volume[::-2, 3], array[::-2, 3])
    assert volume.spacing == (None, None, None) and np.array_equal(volume.rescaled(), array)
    with pytest.raises(volcomp.UnsupportedError, match="has no DICOM headers"):
        _ = volume.affine
    plane = volcomp.open(volcomp.compress(array[0], threads=1))
    assert plane.shape == (9, 8) and plane.ndim == 2 and plane.chunks == ((9,), (8,))
    assert np.array_equal(plane[2:, ::-1], array[0, 2:, ::-1]) and np.array_equal(np.asarray(plane), array[0])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three volumes, the first two of equal voxels, the last two of one series in one folder."""
    folder = tmp_path_factory.mktemp("study")
    series(folder / "study" / "a", 4, 8, series="1.1", SeriesDescription="first")
    series(folder / "study" / "b", 4, 8, series="1.2")
    for i in range(3):
        image(folder / "study" / "b" / f"other{i}", noise((9, 9), seed=i), z=i, series="1.2")
    compress([folder / "study"], folder / "study.vcz")
    return folder / "study.vcz"


def test_several_volumes_are_found_by_name_series_and_number(study: Path) -> None:
    archive = volcomp.open(study)
    assert list(archive.volumes) == ["a", "b (1)", "b (2)"]
    assert [volume.number for volume in archive] == [0, 0, 1]  # the same voxels under two headers
    assert len(archive) == len(archive.volumes) == 3
    assert [volume.name for volume in archive] == ["a", "b (1)", "b (2)"]
    assert archive["a"].series == "1.1" and archive.volumes["1.1"] is archive["a"] is archive[0]
    assert archive["b (1)"].series == "1.2"
    assert archive["a"].description == "first" and archive[1].shape == (3, 9, 9)
    assert "a" in archive.volumes and "c" not in archive.volumes and "1.3" not in archive.volumes
    assert "3 volumes: 'a', 'b (1)', 'b (2)'" in repr(archive)
    with pytest.raises(volcomp.UnsupportedError, match=r"2 volumes of series 1.2: take one of 'b \(1\)', 'b \(2\)'"):
        archive["1.2"]
    for key in ("c", 7):
        with pytest.raises(volcomp.UnsupportedError, match=rf"no volume {key!r}; it has 3 volumes: 'a', 'b \(1\)'"):
            archive[key]


def test_several_volumes_are_no_array(study: Path) -> None:
    archive = volcomp.open(study)
    for access in (lambda: archive.shape, lambda: np.asarray(archive), lambda: archive[1:3]):
        with pytest.raises(volcomp.UnsupportedError, match="3 volumes: 'a', 'b"):
            access()
    assert not hasattr(archive, "shape") and not hasattr(archive, "no_such_thing")


def test_an_archive_without_volumes(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("nothing")
    compress([tmp_path / "note.txt"], tmp_path / "x.vcz")
    archive = volcomp.open(tmp_path / "x.vcz")
    assert len(archive) == 0 and list(archive) == []
    with pytest.raises(volcomp.UnsupportedError, match="has no volume"):
        archive[0]


KINDS = ["i2", "f4", "f8", "u4", "c8"]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("kind", KINDS)
def test_volumes_of_files_have_the_numbers_of_these(tmp_path: Path, kind: str, packed: bool) -> None:
    """Not the levels that a codec makes of them."""
    voxels = np.round(picture((10, 24, 20), "f8")).astype(kind)
    name = "x.nii.gz" if packed else "x.nii"
    data = nifti(voxels)
    (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
    compress([tmp_path / name], tmp_path / "x.vcz")
    volume = volcomp.open(tmp_path / "x.vcz", threads=1)
    found = np.asarray(volume)
    if kind == "c8":
        found = found.view(kind)[..., 0]
    elif kind != "i2":
        assert volume.dtype == voxels.dtype
    assert found.shape == voxels.shape and np.array_equal(found, voxels)
    assert np.array_equal(np.asarray(volume[4]), np.asarray(volume)[4])


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize(("suffix", "kind", "values"), [
    (suffix, kind, values)
    for suffix in (".nii", ".npy", ".nrrd", ".mha", ".mgh")
    for kind, values in (
        ("i2", (-30_000, 30_000)), ("u2", (0, 65_535)), ("i1", (-100, 100)), ("u1", (0, 255)), ("i2", (-300, 500))
    )
    if suffix != ".mgh" or kind in ("u1", "i2")  # which MGH has
])  # fmt: skip
def test_words_have_the_sign_that_their_header_states(
    tmp_path: Path, suffix: str, kind: str, values: tuple[int, int], packed: bool
) -> None:
    """It was that of which fewer values are spanned."""
    base = picture((6, 24, 20), "f8")
    base = (base - base.min()) / np.ptp(base)
    voxels = np.round(values[0] + (values[1] - values[0]) * base).astype(kind)
    data = {".nii": nifti, ".npy": npy, ".nrrd": nrrd, ".mha": meta, ".mgh": mgh}[suffix](
        voxels.astype(">i2") if (suffix, kind) == (".mgh", "i2") else voxels
    )
    name = "x" + suffix + ".gz" * packed
    (tmp_path / name).write_bytes(gzip.compress(data) if packed else data)
    compress([tmp_path / name], tmp_path / "x.vcz")
    volume = volcomp.open(tmp_path / "x.vcz", threads=1)
    assert volume.dtype == np.dtype(kind) and np.array_equal(np.asarray(volume), voxels)
    assert np.array_equal(volume.rescaled(1), voxels[1])
    with pytest.raises(volcomp.UnsupportedError, match="is no DICOM file"):
        volume.headers  # noqa: B018


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, set[str]]:
    """Images in all the forms that volumes are made of: the folder, its archive, the names of those that are coded."""
    folder = tmp_path_factory.mktemp("mixed")
    expected = mixed(folder / "all")
    compress([folder / "all"], folder / "all.vcz", verify=False)
    return folder / "all", folder / "all.vcz", {name for name, how in expected.items() if how == CODED}


# Pydicom needs other packages, or elements that these lack; it takes the overlay away, and spreads the chrominances.
OTHERWISE = (
    "compressed/", "deflated frames/", "jpeg", "odd/a few bytes short", "odd/fragments", "odd/frames short",
    "odd/bits", "odd/floating-point", "odd/items", "odd/magic is zeros", "odd/no photometric", "odd/overlay",
    "odd/table", "odd/twelve bits", "odd/ybr 422",
)  # fmt: skip


@pytest.mark.filterwarnings("ignore:The pixel data is", "ignore:The number of bytes of pixel data")
def test_the_voxels_of_every_image_are_those_that_pydicom_reads(everything: tuple[Path, Path, set[str]]) -> None:
    """Of the syntaxes that pydicom decodes by itself. Colours are compared as they are stored."""
    folder, path, _ = everything
    archive = volcomp.open(path, threads=1)
    compared = set()
    for volume in archive:
        for entry in volume._images:
            dataset = pydicom.dcmread(folder / entry.name, force=True)
            if entry.name.startswith(OTHERWISE):
                continue
            expected = pydicom.pixels.pixel_array(dataset, raw=True)
            assert isinstance(entry.place, Voxels)
            found = volume[entry.place.first : entry.place.end]
            found = found if expected.ndim == found.ndim else found[0]
            assert found.shape == expected.shape, entry.name
            assert np.array_equal(found.view(expected.dtype.newbyteorder("=")), expected), entry.name
            compared.add(entry.name.split("/")[0] if "odd" not in entry.name else entry.name)
    assert {"ct", "colour", "wide", "big-endian", "rle", "deflated", "odd/planar", "odd/ybr", "odd/long"} <= compared
    assert len(compared) > 20


def test_every_image_that_is_coded_lies_in_a_volume_or_has_the_voxels_of_one_that_does(
    everything: tuple[Path, Path, set[str]],
) -> None:
    archive = volcomp.open(everything[1], threads=1)
    found = {name for volume in archive for name in volume.files}
    kept = {one["name"]: (one.get("volume"), one.get("slices")) for one in volcomp.list_files(everything[1])}
    places = [kept[name] for name in found]
    others = [name for name in everything[2] - found if kept[name][0] is not None]
    assert found <= everything[2] and len(others) < 5 and all(kept[name] in places for name in others)


def test_every_volume_answers_all_questions(everything: tuple[Path, Path, set[str]], tmp_path: Path) -> None:
    """But the one of streams with samples of several types, which no array holds."""
    refused = []
    for number, volume in enumerate(volcomp.open(everything[1], threads=1)):
        try:
            assert volume.rescaled(0).dtype == volume.rescaled_dtype
        except volcomp.UnsupportedError:
            refused.append(volume.name)
            continue
        assert len(volume.headers) == len(volume.files)
        assert volume.save(tmp_path / f"{number}.npy") == volume.shape
    assert len(refused) <= 2 and all(name.startswith("compressed") for name in refused)


def test_an_overlay_is_in_the_voxels_and_not_in_the_values(everything: tuple[Path, Path, set[str]]) -> None:
    volume = volcomp.open(everything[1], threads=1)["odd/overlay"]
    words = np.frombuffer(pydicom.dcmread(everything[0] / "odd" / "overlay").PixelData, "<u2").reshape(1, 12, 10)
    assert np.array_equal(volume, words) and words.max() > 4095
    assert np.array_equal(volume.rescaled(), words & 4095) and volume.rescaled_dtype == np.int16


def test_colours_and_wide_words_have_their_own_shape_and_type(everything: tuple[Path, Path, set[str]]) -> None:
    archive = volcomp.open(everything[1], threads=1)
    assert archive["colour"].shape == (12, 48, 48, 3) and archive["colour"].dtype == np.uint8
    assert archive["colour"].chunks == ((12,), (48,), (48,), (3,))
    assert archive["wide"].shape == (12, 48, 48) and archive["wide"].dtype == np.uint32
    assert archive["wide"][3, 4, 5] > 60_000
    assert archive["colour"][2:4, 5, ..., 1].shape == (2, 48)
    assert archive["odd/overlay"].dtype == np.uint16


def test_slices_that_are_none_are_refused_by_one_sentence(ct: Path, tmp_path: Path) -> None:
    data = volcomp.compress(noise((3, 4, 5)), threads=1)
    for wrong in (5, "1:2", range(2), slice("a"), slice(None, None, 0), slice(1.5)):
        with pytest.raises(volcomp.UnsupportedError, match="slices="):
            volcomp.decompress(data, wrong)  # type: ignore[arg-type]
        with pytest.raises(volcomp.UnsupportedError, match="slices="):
            volcomp.decompress_files(ct, tmp_path / "out", wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("convert", ["to_sitk", "to_nibabel"])
def test_floats_of_16_bits_are_refused_by_libraries_that_lack_them(tmp_path: Path, convert: str) -> None:
    np.save(tmp_path / "x.npy", np.round(picture((6, 40, 36), "f8")).astype("f2"))
    compress([tmp_path / "x.npy"], tmp_path / "x.vcz")
    volume = volcomp.open(tmp_path / "x.vcz", threads=1)
    assert volume.dtype == np.float16
    with pytest.raises(volcomp.UnsupportedError, match="floating-point numbers of 16 bits"):
        getattr(volume, convert)(geometry=False)
