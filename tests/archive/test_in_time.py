"""Series in time: files with several time points, and series of files with several images at each position."""

import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.codec.test_series import textured
from tests.conformance.decoder_archive import Archive
from tests.formats.volumes import nifti, picture
from tests.helpers import ONE, compress, contents, damage, image, noise
from volcomp.archive.append import append
from volcomp.archive.describe import as_text, describe
from volcomp.archive.opening import manifest_of
from volcomp.archive.restore import restore, verify
from volcomp.cli.summary import summary
from volcomp.codec import series as codec_series
from volcomp.container.sections import FORMAT_VERSION, SERIES_VERSION, SLAB, VOLUME_HEADER, Reader, SectionId, Writer
from volcomp.container.volume import Order, Times, read_volume, volume_numbers
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.formats.registry import read_image
from volcomp.formats.series import time_points, volumes
from volcomp.options import EncodeOptions

TURBO = EncodeOptions("turbo", 1, threads=1)
SHAPE = (5, 4, 12, 10)  # t, z, y, x


def archive(tmp_path: Path, *, name: str = "x.vcz", **options: object) -> Path:
    compress([tmp_path / "in"], tmp_path / name, force=True, **{"model": "turbo", "effort": 1, **options})
    return tmp_path / name


def stack(folder: Path, voxels: np.ndarray, series: str = "1.2.3", **elements: object) -> Path:
    """Write an array (t, z, y, x) as a file for each slice, whose names are in no order of space or time."""
    for t, point in enumerate(voxels):
        for z, pixels in enumerate(point):
            facts = {"TemporalPositionIdentifier": t + 1, "InstanceNumber": 1 + t * len(point) + z, **elements}
            image(folder / f"{(7 * z + 3 * t) % 10}-{z}-{t}.dcm", pixels, z=2.5 * z, series=series, **facts)
    return folder


def kept_as(path: Path) -> tuple[int | None, list[tuple[Times | None, int | None]]]:
    """The version of an archive, and of each volume its time points and its key."""
    with path.open("rb") as file:
        reader = Reader(file)
        found = [read_volume(reader, number) for number in volume_numbers(reader)]
        return reader.version, [(volume.times, volume.key) for volume in found]


def comes_back(tmp_path: Path, made: Path) -> None:
    """Every file, by both decoders."""
    verify(made, options=ONE)
    restore(made, tmp_path / "out", options=ONE, force=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "in")


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


def kinds() -> dict[str, tuple[str, bytes, np.ndarray]]:
    """A name, a file and its array for each kind of file with several time points."""
    words, bytes_ = textured(SHAPE), textured(SHAPE, 90, 9).astype("u1")
    signed, wide = (words.astype("i4") - 400).astype("i2"), words.astype("u4") * 70_000
    floats = words * np.float32(0.3)
    colours = np.stack([bytes_, bytes_ + 1, bytes_ // 2], -1)
    rgb = nifti(np.zeros(SHAPE, "u1"), type=128, bits=24)[:352] + colours.tobytes()
    return {
        "words": ("a.nii", nifti(words, kind="u2"), words),
        "bytes": ("a.nii", nifti(bytes_, kind="u1"), bytes_),
        "big-endian": ("a.nii", nifti(signed, ">"), signed),
        "gzipped": ("a.nii.gz", gzip.compress(nifti(words, kind="u2"), mtime=0), words),
        "32 bits": ("a.nii", nifti(wide, kind="u4"), wide),
        "floating-point": ("a.nii", nifti(floats, kind="f4"), floats),
        "colours": ("a.nii", rgb, colours),
    }


@pytest.mark.parametrize("order", [Order.APART, Order.AFTER, Order.TURNED], ids=lambda order: order.name)
@pytest.mark.parametrize("kind", kinds())
def test_files_with_time_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, order: Order) -> None:
    """In every order that an encoder may choose; as files and as arrays."""
    name, data, voxels = kinds()[kind]
    write(tmp_path / "in" / name, data)
    monkeypatch.setattr(codec_series, "order", lambda *_: order)
    made = archive(tmp_path)
    version, found = kept_as(made)
    assert version == SERIES_VERSION and found[0] == (Times(SHAPE[0], order), found[0][1])
    assert len(found) % SHAPE[0] == 0 if order == Order.APART else len(found) < SHAPE[0]
    comes_back(tmp_path, made)
    if kind != "gzipped":  # the conformance decoder knows no streams of other codecs
        (item,) = Archive(made.read_bytes()).items.values()
        assert item.data == data
    with volcomp.open(made, threads=1) as opened:
        assert (opened.shape, opened.dtype, opened.files) == (voxels.shape, voxels.dtype, [name])
        assert_indexed(opened, voxels)
        assert [sum(lengths) for lengths in opened.chunks] == list(voxels.shape)
        assert sum(opened.slab_bytes) < opened.file_size
        assert opened.volumes[name].spacing == (3.0, 0.75, 0.5)


def assert_indexed(opened: volcomp.Archive, voxels: np.ndarray) -> None:
    every, back, two = slice(None), slice(None, None, -1), slice(1, 3)
    masked = np.arange(len(voxels)) % 2 == 0
    for index in (
        ..., 3, (3, 2), (every, 1), (back, two), (-1, -1, 0, 0), (two, ..., back), (None, 1, None, back), ([0, 3], 1),
        masked, slice(0, 0), (every, slice(2, 2)), (slice(4, None, -3), slice(None, None, -2)), (1, every, two, [0, 2]),
    ):  # fmt: skip
        found, wanted = opened[index], voxels[index]
        assert np.array_equal(found, wanted) and np.shape(found) == wanted.shape, index
        assert opened[index].dtype == voxels.dtype
    for bad in ((9,), (0, 9), (0, 0, 0, 0, 0, 0)):
        with pytest.raises(IndexError):
            opened[bad]
    assert np.array_equal(np.asarray(opened), voxels) and len(opened) == len(voxels)
    assert [point.shape for point in opened] == [voxels.shape[1:]] * len(voxels)


@pytest.mark.parametrize("order", [Order.APART, Order.BESIDE], ids=lambda order: order.name)
def test_a_series_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Order) -> None:
    """Slices at one position become time points; some of them are equal."""
    voxels = textured(SHAPE)
    voxels[1:4, 0] = 7
    stack(tmp_path / "in", voxels, RescaleSlope="2", RescaleIntercept="-5")
    monkeypatch.setattr(codec_series, "order", lambda *_: order)
    made = archive(tmp_path)
    version, found = kept_as(made)
    assert version == SERIES_VERSION and found[0][0] == Times(SHAPE[0], order)
    assert len(found) == (SHAPE[0] if order == Order.APART else 1)
    comes_back(tmp_path, made)
    items = Archive(made.read_bytes()).items
    assert {name.decode(): item.data for name, item in items.items()} == contents(tmp_path / "in")
    with volcomp.open(made, threads=1) as opened:
        assert opened.shape == SHAPE and opened.spacing == (2.5, 0.5, 0.5)
        assert_indexed(opened, voxels)
        assert np.array_equal(opened.rescaled(), voxels.astype(np.int32) * 2 - 5)
        assert np.array_equal(opened.rescaled((2, slice(1, 3))), voxels[2, 1:3].astype(np.int32) * 2 - 5)
        assert [header.InstanceNumber for header in opened.headers] == [*range(1, 21)]
        assert opened.affine[2, 2] == 2.5
        again = volcomp.open(made).volumes[opened.number]
        assert np.array_equal(again[3], voxels[3])


def test_planes_of_a_series_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours: time points of each plane refer to those of the same plane."""
    grey = textured((4, 3, 10, 9), 90, 5).astype("u1")
    colours = np.stack([grey, grey + 3, grey // 2], -1)
    for t, z in np.ndindex(4, 3):
        facts = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
        image(tmp_path / "in" / f"{t}-{z}.dcm", grey[t, z], z=z, raw=colours[t, z].tobytes(), AcquisitionNumber=t,
              **facts)  # fmt: skip
    monkeypatch.setattr(codec_series, "order", lambda *_: Order.APART)
    made = archive(tmp_path)
    _, found = kept_as(made)
    assert len(found) == 12 and all(key is None or key % 3 == number % 3 for number, (_, key) in enumerate(found))
    assert any(key is not None for _, key in found)
    comes_back(tmp_path, made)
    with volcomp.open(made, threads=1) as opened:
        assert np.array_equal(opened[...], colours) and opened.shape == (4, 3, 10, 9, 3)


def test_an_enhanced_image(tmp_path: Path) -> None:
    """Frames at the same positions again and again are time points; in another order they are not."""
    voxels = textured((3, 4, 24, 20))

    def groups(positions: list[int]) -> list[object]:
        return [plane(float(z)) for z in positions]

    orders = {"times": [0, 1, 2, 3] * 3, "other": [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]}
    for number, (name, positions) in enumerate(orders.items()):
        path, frames = tmp_path / "in" / f"{name}.dcm", voxels.reshape(12, 24, 20) + number
        image(path, frames, series=f"1.2.{number}", PerFrameFunctionalGroupsSequence=groups(positions))
        found = read_image(path, name)
        assert found and found.times == (3 if name == "times" else 1)
    made = archive(tmp_path)
    comes_back(tmp_path, made)
    with volcomp.open(made, threads=1) as opened:
        assert opened.volumes["times.dcm"].shape == (3, 4, 24, 20) and opened.volumes["other.dcm"].shape == (12, 24, 20)
        assert np.array_equal(opened.volumes["times.dcm"][1:, 2], voxels[1:, 2])


def plane(z: float) -> object:
    import pydicom

    position, group = pydicom.Dataset(), pydicom.Dataset()
    position.ImagePositionPatient = [0, 0, z]
    group.PlanePositionSequence = [position]
    return group


def test_the_encoder_chooses(tmp_path: Path) -> None:
    """Alike time points refer or lie side by side; noise, and few small slices, stay as they are."""
    alike, other = textured((6, 4, 40, 40)), noise((6, 4, 40, 40, 1), "u2", 0, 60_000)[..., 0]
    random = np.random.default_rng(1).integers(0, 60_000, (6, 4, 40, 40)).astype("u2")
    for name, voxels, expected in (
        ("alike", alike, {Order.APART, Order.TURNED}),
        ("ramp", other, {Order.AFTER}),
        ("random", random, {Order.AFTER}),
        ("small", alike[:, :2, :6, :6], {Order.AFTER, Order.TURNED}),
    ):
        write(tmp_path / "in" / "a.nii", nifti(voxels, kind="u2"))
        _, found = kept_as(archive(tmp_path))
        assert found[0][0] and found[0][0].order in expected, name
    write(tmp_path / "in" / "a.nii", nifti(alike, kind="u2"))
    size = archive(tmp_path).stat().st_size
    flat = archive_of_one(tmp_path, nifti(alike.reshape(24, 40, 40), kind="u2"))
    assert size < 0.7 * flat


def archive_of_one(tmp_path: Path, data: bytes) -> int:
    write(tmp_path / "in" / "a.nii", data)
    return archive(tmp_path, name="flat.vcz").stat().st_size


def test_files_apart_refer_where_that_pays(tmp_path: Path) -> None:
    """Noise of neighbours in time would be added; one key of the same kind is better than two of different ones."""
    random = np.random.default_rng(3)
    textures = random.integers(0, 900, (4, 6, 40, 40))
    voxels = (textures[[0, 1, 2, 3, 0, 1, 2, 3]] + random.integers(0, 5, (8, 6, 40, 40))).astype("u2")
    stack(tmp_path / "in", voxels)
    version, found = kept_as(archive(tmp_path))
    keys = [key for _, key in found]
    assert (version, len(found)) == (SERIES_VERSION, 8) and keys.count(None) == 4
    assert all(key is None or key % 4 == t % 4 for t, key in enumerate(keys))


def images_of(folder: Path) -> list[int]:
    """The time points of each volume that files would become."""
    found = [read_image(path, path.name) for path in sorted(folder.iterdir())]
    return [time_points(one) for one in volumes(image for image in found if image)]


def test_what_is_a_series_in_time(tmp_path: Path) -> None:
    voxels = noise((3, 4, 8, 8), "u2", 0, 900)
    assert images_of(stack(tmp_path / "a", voxels)) == [3]
    assert images_of(stack(tmp_path / "b", voxels[:, :1])) == [1]  # one position
    assert images_of(stack(tmp_path / "c", voxels[:1])) == [1]
    folder = stack(tmp_path / "d", voxels)
    next(folder.iterdir()).unlink()  # an image is missing
    assert images_of(folder) == [1]
    folder = stack(tmp_path / "e", voxels)
    for z, t in ((0, 0), (1, 2)):  # at two positions different ones are
        next(folder.glob(f"*-{z}-{t}.dcm")).unlink()
    for z in (2, 3):
        next(folder.glob(f"*-{z}-1.dcm")).unlink()
    assert images_of(folder) == [1]
    folder = stack(tmp_path / "f", voxels)
    image(next(folder.glob("*-3-2.dcm")), voxels[2, 3], z=7.5, series="1.2.3", ImageType=["DERIVED", "PHASE"])
    assert images_of(folder) == [1]
    bare = list(stack(tmp_path / "g", voxels).iterdir())
    for path in bare:
        image(path, voxels[0, 0], series="1.2.3", ImagePositionPatient=None)
    assert images_of(tmp_path / "g") == [1]


def test_damage_hurts_what_refers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = textured(SHAPE)
    stack(tmp_path / "in", voxels)
    monkeypatch.setattr(codec_series, "order", lambda *_: Order.APART)
    made = archive(tmp_path)
    _, found = kept_as(made)
    keys = [key for _, key in found]
    key = keys.index(None)
    assert keys.count(None) == 1 and keys.count(key) == 4
    other = next(t for t in range(5) if t != key)
    whole = made.read_bytes()
    damage(made, SectionId(SLAB, other, 0))
    with pytest.raises(DamagedError):
        verify(made, options=ONE)
    done = restore(made, tmp_path / "some", options=ONE, salvage=True)
    assert len(done.lost) == 4 and all(f"-{other}.dcm" in sentence for sentence in done.lost)
    assert {name: contents(tmp_path / "in")[name] for name in contents(tmp_path / "some")} == contents(
        tmp_path / "some"
    )
    with volcomp.open(made, threads=1) as opened:
        assert np.array_equal(opened[key], voxels[key])
        with pytest.raises(DamagedError, match=f"volume {other}"):
            opened[other]
    made.write_bytes(whole)
    damage(made, SectionId(SLAB, key, 0))
    done = restore_all(made, tmp_path)
    assert done == 20


def restore_all(made: Path, tmp_path: Path) -> int:
    """How many files are lost, if all are."""
    with pytest.raises(DamagedError, match="no file could be restored"):
        restore(made, tmp_path / "none", options=ONE, salvage=True)
    with made.open("rb") as file:
        return len(manifest_of(Reader(file)).files)


@pytest.mark.parametrize("order", [Order.APART, Order.BESIDE], ids=lambda order: order.name)
def test_slices_are_those_of_all_time_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Order) -> None:
    stack(tmp_path / "in", textured(SHAPE))
    monkeypatch.setattr(codec_series, "order", lambda *_: order)
    made = archive(tmp_path)
    restore(made, tmp_path / "out", options=ONE, slices=slice(1, 3))
    everything = contents(tmp_path / "in")
    assert contents(tmp_path / "out") == {n: d for n, d in everything.items() if n.split("-")[1] in "12"}
    with pytest.raises(UnsupportedError):
        restore(made, tmp_path / "no", options=ONE, slices=slice(4, 9))


@pytest.mark.parametrize("order", [Order.APART, Order.AFTER, Order.TURNED], ids=lambda order: order.name)
def test_slices_of_one_file_are_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Order) -> None:
    write(tmp_path / "in" / "a.nii", nifti(textured(SHAPE), kind="u2"))
    monkeypatch.setattr(codec_series, "order", lambda *_: order)
    made = archive(tmp_path)
    restore(made, tmp_path / "out", options=ONE, slices=slice(2, 3))
    assert contents(tmp_path / "out") == contents(tmp_path / "in")


def test_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of files, of their voxels under other headers, and of some of them, share what is there."""
    voxels = textured(SHAPE)
    monkeypatch.setattr(codec_series, "order", lambda planes, now, options: Order.APART)
    stack(tmp_path / "in" / "a", voxels)
    stack(tmp_path / "in" / "b", voxels)
    stack(tmp_path / "in" / "c", voxels, series="1.9", PatientName="anonymous")
    stack(tmp_path / "in" / "d", voxels[:3], series="1.10", PatientName="anonymous")
    for name, text in (("e", "a head"), ("f", "another")):
        write(tmp_path / "in" / f"{name}.nii", nifti(voxels + 5, kind="u2", descrip=text.encode()))
    made = archive(tmp_path)
    assert len(kept_as(made)[1]) == 10
    comes_back(tmp_path, made)
    with volcomp.open(made, threads=1) as opened:
        assert {*opened.volumes} >= {"a", "b", "c", "e.nii", "f.nii"}
        for name, volume in opened.volumes.items():
            shape = SHAPE if name != "d" else (3, *SHAPE[1:])
            more = 5 if name in ("e.nii", "f.nii") else 0
            assert volume.shape == shape or name == "d"
            assert np.array_equal(volume[:3], (voxels + more)[:3])


def test_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To an archive of version 4, which becomes one of 5 that stays so."""
    write(tmp_path / "in" / "a.nii", nifti(picture((6, 12, 10), "i2")))
    made = archive(tmp_path)
    assert kept_as(made)[0] == FORMAT_VERSION
    monkeypatch.setattr(codec_series, "order", lambda *_: Order.APART)
    write(tmp_path / "in" / "b.nii", nifti(textured(SHAPE), kind="u2"))
    append(made, [tmp_path / "in" / "b.nii"], TURBO)
    version, found = kept_as(made)
    assert version == SERIES_VERSION and len(found) == 6 and {key for _, key in found[1:]} > {None}
    assert all(key is None or key > 0 for _, key in found)
    write(tmp_path / "in" / "c.nii", nifti(picture((7, 12, 10), "i2")))
    append(made, [tmp_path / "in" / "c.nii"], TURBO)
    assert kept_as(made)[0] == SERIES_VERSION
    comes_back(tmp_path, made)


def test_it_is_described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack(tmp_path / "in" / "a", textured(SHAPE))
    write(tmp_path / "in" / "b.nii", nifti(textured(SHAPE, seed=2), kind="u2"))
    monkeypatch.setattr(codec_series, "order", lambda *_: Order.APART)
    found = describe(archive(tmp_path))
    assert [volume["files"] for volume in found["volumes"]].count(4) == 5
    assert sum(volume["files"] for volume in found["volumes"]) == found["files"] == 21
    assert [volume["times"] for volume in found["volumes"]].count(5) == 2
    assert "5 time points in volumes from this one on" in as_text(found)
    assert sum("5 time points, 5 volumes, 4×12×10 u2" in line for line in summary(found)) == 2


def test_it_streams_where_the_output_cannot_seek(tmp_path: Path) -> None:
    write(tmp_path / "in" / "a.nii", nifti(textured((6, 4, 40, 40)), kind="u2"))

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    from volcomp.archive.pack import compress as pack

    pack([tmp_path / "in"], pipe, TURBO)  # type: ignore[arg-type]
    (tmp_path / "x.vcz").write_bytes(pipe.data)
    assert kept_as(tmp_path / "x.vcz")[0] == SERIES_VERSION
    comes_back(tmp_path, tmp_path / "x.vcz")


@pytest.mark.parametrize(
    "times, match",
    [
        (b"\7\3", "20 slices of 7 time points"),
        (b"\0\3", "header of volume 0 is damaged"),
        (b"\5\4", "header of volume 0 is damaged"),
        (b"\5\0", "another number of slices|fewer slices|header of volume 1 is missing"),
    ],
)
def test_headers_that_no_encoder_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: bytes, match: str
) -> None:
    """Slices that do not divide, no time points, an unknown order, volumes that there are not."""
    write(tmp_path / "in" / "a.nii", nifti(textured(SHAPE), kind="u2"))
    monkeypatch.setattr(codec_series, "order", lambda *_: Order.TURNED)
    made = archive(tmp_path)
    with made.open("rb") as file, (tmp_path / "forged.vcz").open("wb") as output:
        reader, writer = Reader(file), Writer(output, SERIES_VERSION)
        for section in reader.places:
            payload = reader.read(section)
            if section.tag == VOLUME_HEADER:
                assert payload[:3] == b"\x08\x05\x03"
                payload = payload[:1] + times + payload[3:]
            writer.add(section, payload)
        writer.finish()
    # One that is readable but wrong is no matter for a volume by itself: the digest of the file tells.
    for action in (verify, restored_to(tmp_path / "no")):
        with pytest.raises(DamagedError, match=match if times != b"\5\0" else None):
            action(tmp_path / "forged.vcz", options=ONE)


def restored_to(folder: Path) -> Callable[..., object]:
    return lambda path, options: restore(path, folder, options=options)


def test_time_stays_bounded_whatever_the_header_says(tmp_path: Path) -> None:
    """A NIfTI header may state as many time points as slices."""
    data = bytearray(nifti(textured((40, 2, 8, 8)), kind="u2"))
    struct.pack_into("<8h", data, 40, 4, 8, 8, 2, 40, 1, 1, 1)
    write(tmp_path / "in" / "a.nii", bytes(data))
    made = archive(tmp_path)
    comes_back(tmp_path, made)
    with volcomp.open(made, threads=1) as opened:
        assert opened.shape == (40, 2, 8, 8)
