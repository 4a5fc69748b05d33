"""Any file of an open archive, its first bytes without a voxel, one of its frames with the slab of that frame alone."""

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pydicom
import pytest

from tests.archive.everything import encapsulated
from tests.archive.mixed import mixed
from tests.codec.test_series import textured
from tests.formats.volumes import nifti
from tests.helpers import ONE, compress, damage, image, noise
from volcomp.archive.entry import Entry, Stored, Voxels
from volcomp.archive.opening import manifest_of
from volcomp.archive.random_access import RandomAccess
from volcomp.codec import encode
from volcomp.codec import series as codec_series
from volcomp.codec.decode import Slab, decode_volume
from volcomp.container.sections import SLAB, Reader, SectionId
from volcomp.container.volume import Order, Volume
from volcomp.errors import DamagedError, MissingError


class Decoding:
    """Decodes slabs, and notes which."""

    def __init__(self, reader: Reader) -> None:
        self.reader, self.slabs = reader, list[tuple[int, int]]()

    def __call__(self, volume: Volume, numbers: list[int]) -> Generator[Slab]:
        self.slabs += [(volume.number, k) for k in numbers]
        yield from decode_volume(self.reader, volume, numbers, ONE)


@contextmanager
def opened(path: Path) -> Iterator[tuple[RandomAccess, list[tuple[int, int]]]]:
    """An archive, and the list of slabs that are decoded of it."""
    with path.open("rb") as file:
        reader = Reader(file)
        decode = Decoding(reader)
        yield RandomAccess(reader, manifest_of(reader), decode), decode.slabs


def check_head(access: RandomAccess, entry: Entry, data: bytes) -> None:
    """What is known of a file before its voxels are decoded."""
    kept = access.kept(entry)
    if kept is None:
        assert isinstance(entry.place, Stored | None)
        for most in (0, 1, 100, entry.size + 1) if entry.place else ():
            head = access.head(entry, most)
            assert data.startswith(head) and len(head) >= min(most, len(data))
    elif not access.is_inflated(entry):
        assert data.startswith(kept.before) and data.endswith(kept.after)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind, with their archive beside them."""
    place = tmp_path_factory.mktemp("random") / "in"
    mixed(place)
    compress([place], place.parent / "x.vcz", model="turbo", effort=1)
    return place


def test_every_kind_of_file_in_any_order(folder: Path) -> None:
    with opened(folder.parent / "x.vcz") as (access, slabs):
        assert len(access.entries) >= 60
        entries = list(access.entries.values())
        for entry in entries:
            check_head(access, entry, (folder / entry.name).read_bytes())
        assert not slabs, "a head needs no voxels"
        for entry in reversed(entries):
            assert access.read(entry) == (folder / entry.name).read_bytes(), entry.name
        for entry in entries[:2]:
            assert access.again(entry) is access.again(entry) == access.read(entry)
        assert entries[1].size < access.held
        with pytest.raises(MissingError, match="no file"):
            access.entry("no such")


def test_threads(folder: Path) -> None:
    with opened(folder.parent / "x.vcz") as (access, _), ThreadPoolExecutor(8) as pool:
        entries = list(access.entries.values())
        for entry, data in zip(entries, pool.map(access.read, entries), strict=True):
            assert data == (folder / entry.name).read_bytes()


def test_a_frame_needs_its_slab_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encode, "SLAB_HEIGHT", 3)
    voxels = noise((9, 8, 6), "u2", 0, 3000)
    rgb = np.random.default_rng(1).integers(0, 250, (9, 8, 6, 3), np.uint8)
    colours = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    source = tmp_path / "in"
    image(source / "plain.dcm", voxels, series="1.1")
    image(source / "big.dcm", voxels, series="1.2", syntax=pydicom.uid.ExplicitVRBigEndian)
    image(source / "rgb.dcm", rgb[..., 0], series="1.3", raw=rgb.tobytes(), **colours)
    path = image(source / "items.dcm", voxels, series="1.4")
    encapsulated(path, [frame.tobytes() for frame in voxels], table=True, fragments=2)
    compress([source], tmp_path / "x.vcz", model="turbo", effort=1)
    frames = {
        "plain.dcm": [frame.tobytes() for frame in voxels],
        "big.dcm": [frame.astype(">u2").tobytes() for frame in voxels],
        "rgb.dcm": [frame.tobytes() for frame in rgb],
        "items.dcm": [frame.tobytes() for frame in voxels],
    }
    with opened(tmp_path / "x.vcz") as (access, slabs):
        for name, expected in frames.items():
            entry = access.entry(name)
            assert access.slices(entry) == 9
            for n in (8, 0, 4):
                slabs.clear()
                assert access.frame(entry, n) == expected[n], name
                assert {k for _, k in slabs} == {n // 3}
            assert access.is_encapsulated(entry) == (name == "items.dcm")


@pytest.mark.parametrize("order", [Order.APART, Order.AFTER, Order.TURNED], ids=lambda order: order.name)
def test_time_points_in_every_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: Order) -> None:
    """A file of t·z frames, whose slices lie in one volume after another, or are turned in one."""
    voxels = textured((5, 4, 12, 10))
    (tmp_path / "a.nii").write_bytes(nifti(voxels, kind="u2"))
    monkeypatch.setattr(codec_series, "order", lambda *_: order)
    compress([tmp_path / "a.nii"], tmp_path / "x.vcz", model="turbo", effort=1)
    with opened(tmp_path / "x.vcz") as (access, _):
        entry = access.entry("a.nii")
        assert access.read(entry) == (tmp_path / "a.nii").read_bytes()
        for n in (0, 7, 19):
            assert access.frame(entry, n) == voxels[n // 4, n % 4].astype("<u2").tobytes()


def test_slabs_that_refer_to_a_preview(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a.dcm", noise((4, 64, 64), "u2", 0, 3000))
    compress([tmp_path / "in"], tmp_path / "x.vcz", model="turbo", effort=1, preview=16)
    with opened(tmp_path / "x.vcz") as (access, _):
        assert access.read(access.entry("a.dcm")) == (tmp_path / "in" / "a.dcm").read_bytes()


def test_golden_archives_of_older_releases() -> None:
    golden = Path(__file__).parent / "golden"
    for path in sorted(golden.glob("*.vcz")):
        with opened(path) as (access, slabs):
            images = [entry for entry in access.entries.values() if isinstance(entry.place, Voxels)]
            heads = {entry.name: access.kept(entry) for entry in images}
            assert images and not slabs
            for entry in access.entries.values():
                data = access.read(entry)  # its SHA-256 is compared
                kept = heads.get(entry.name)
                assert kept is None or access.is_inflated(entry) or data.startswith(kept.before)


def test_damage_is_told_of_the_file_that_has_it(tmp_path: Path) -> None:
    image(tmp_path / "in" / "a" / "1.dcm", noise((8, 8)), series="1.1")
    image(tmp_path / "in" / "b" / "1.dcm", noise((8, 8), seed=1), series="1.2")
    compress([tmp_path / "in"], tmp_path / "x.vcz", model="turbo", effort=1)
    damage(tmp_path / "x.vcz", SectionId(SLAB, 1, 0))
    with opened(tmp_path / "x.vcz") as (access, _):
        first, second = access.entry("a/1.dcm"), access.entry("b/1.dcm")
        assert access.read(first) == (tmp_path / "in" / "a" / "1.dcm").read_bytes()
        for read in (partial(access.read, second), partial(access.frame, second, 0)):
            with pytest.raises(DamagedError, match="slab 0 of volume 1"):
                read()
