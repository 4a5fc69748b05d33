"""A folder of files of every kind comes back with all that `diff -r` and `ls -l` show, and images become smaller."""

import io
import lzma
import os
import stat
import tarfile
from pathlib import Path

import pytest

from tests.archive.mixed import CODED, COMPARED, JPEG, mixed
from tests.helpers import ONE, compress, contents
from volcomp.archive.entry import JPEG_XL, Stored, Voxels
from volcomp.archive.manifest import read_manifest
from volcomp.archive.restore import restore, verify
from volcomp.container.sections import Reader


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder, and what is expected of its files."""
    place = tmp_path_factory.mktemp("mixed") / "in"
    return place, mixed(place)


@pytest.fixture(scope="module")
def archive(folder):
    path = folder[0].parent / "mixed.vcz"
    compress([folder[0]], path, model="turbo")
    return path


def facts(folder: Path) -> dict[str, tuple[int, int]]:
    """Modes and times of all that is in a folder."""
    found = {}
    for here, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            status = os.lstat(os.path.join(here, name))
            mode = 0 if stat.S_ISLNK(status.st_mode) else stat.S_IMODE(status.st_mode)
            found[os.path.relpath(os.path.join(here, name), folder)] = mode, status.st_mtime_ns
    return found


def entries_of(archive):
    with archive.open("rb") as file:
        return {entry.name: entry for entry in read_manifest(Reader(file)).files}


def test_everything_comes_back(folder, archive, tmp_path):
    place, expected = folder
    assert len(expected) >= 60 and sorted(expected) == sorted(entries_of(archive))
    verify(archive, ONE)
    restore(archive, tmp_path / "out", ONE)
    assert contents(tmp_path / "out") == contents(place)
    assert facts(tmp_path / "out") == facts(place)


def test_each_file_is_coded_or_kept_whole_for_the_expected_reason(folder, archive):
    found = {
        name: CODED if isinstance(entry.place, Voxels) else entry.note for name, entry in entries_of(archive).items()
    }
    assert found == folder[1]


def test_jpeg_frames_are_packed(folder, archive):
    pytest.importorskip("imagecodecs")
    names = {name for name, reason in folder[1].items() if reason == JPEG}
    packed = {
        name
        for name, entry in entries_of(archive).items()
        if isinstance(entry.place, Stored) and entry.place.packing == JPEG_XL
    }
    assert packed == names != set()


def test_copies_cost_nothing(archive):
    entries = entries_of(archive)
    assert all(
        entry.place == entries[name.replace("ct again/", "ct/")].place
        for name, entry in entries.items()
        if name.startswith("ct again/")
    )
    renamed = [entry.place for name, entry in entries.items() if name.startswith("ct renamed/")]
    originals = [entry.place for name, entry in entries.items() if name.startswith("ct/")]
    assert {(place.volume, place.first) for place in renamed} == {(place.volume, place.first) for place in originals}


@pytest.mark.parametrize("name", COMPARED)
def test_images_are_smaller_than_under_xz(folder, tmp_path, name):
    """Twelve slices of 48 × 48: tar and xz -9 against the fastest model."""
    compress([folder[0] / name], tmp_path / "x.vcz", model="turbo", times=False)
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as file:
        file.add(folder[0] / name, name)
    other = len(lzma.compress(tar.getvalue(), preset=9))
    size = (tmp_path / "x.vcz").stat().st_size
    print(f"{name}: {size} bytes, xz {other}")
    assert size < other
