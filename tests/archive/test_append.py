"""Adding to archives."""

import fcntl
import os
import shutil
from pathlib import Path

import pytest

from tests.archive.studies import GOLDEN, THREAD, names_of
from tests.helpers import ONE, compress, contents, damage, image, noise, series
from volcomp import DamagedError, TargetError, UnsupportedError
from volcomp.archive.append import append
from volcomp.archive.opening import manifest_of, opened
from volcomp.archive.protect import protect, repair
from volcomp.archive.restore import restore, verify
from volcomp.container.sections import FORMAT_VERSION, SLAB, Reader, SectionId
from volcomp.options import EncodeOptions


@pytest.mark.parametrize("old", ["new format", "old format"])
def test_what_is_added_follows_what_was_there(study: Path, tmp_path: Path, old: str) -> None:
    archive = tmp_path / "x.vcz"
    shutil.copy(GOLDEN if old == "old format" else study / "ct.vcz", archive)
    restore(archive, tmp_path / "before", ONE)
    with archive.open("rb") as file:
        reader = Reader(file)
        sections = {section: reader.read(section) for section in reader.places if section.tag != b"MANI"}
    for z in range(3):
        image(tmp_path / "more" / f"{z}.dcm", noise((5, 5), seed=z), z=z, series="3.3")
    (tmp_path / "more" / "text").write_text("text " * 100)
    (tmp_path / "more" / "hollow").mkdir()
    done = append(archive, [tmp_path / "more"], THREAD)
    assert (done.files, done.voxels) == (4, 75)
    with archive.open("rb") as file:
        reader = Reader(file)
        assert reader.version == FORMAT_VERSION and not any(section.tag == b"MANI" for section in reader.places)
        assert all(reader.read(section) == payload for section, payload in sections.items())
    verify(archive, ONE)
    restore(archive, tmp_path / "after", ONE)
    assert contents(tmp_path / "after") == {
        **contents(tmp_path / "before"), "more": None,
        **{f"more/{name}": data for name, data in contents(tmp_path / "more").items()},
    }  # fmt: skip
    restore(archive, tmp_path / "part", ONE, series=["3.3"])
    assert names_of(tmp_path / "part") == {f"more/{z}.dcm" for z in range(3)}


def test_copies_cost_their_name_only(study: Path, tmp_path: Path) -> None:
    """Of images, also among new ones of their series, of small files and of large ones, that are in the archive."""
    big = bytes(range(256)) * 8192
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "big").write_bytes(big)
    series(tmp_path / "in" / "s", 4)
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    size = (tmp_path / "x.vcz").stat().st_size
    shutil.copytree(tmp_path / "in", tmp_path / "more")
    image(tmp_path / "more" / "s" / "new.dcm", noise((8, 8), seed=7), z=99)
    done = append(tmp_path / "x.vcz", [tmp_path / "more"], THREAD)
    assert (done.files, done.voxels) == (6, 64)  # the voxels of the new image alone
    assert done.packed_bytes == (tmp_path / "x.vcz").stat().st_size - size < 1100
    verify(tmp_path / "x.vcz", ONE)
    restore(tmp_path / "x.vcz", tmp_path / "out", ONE)
    assert contents(tmp_path / "out" / "more") == contents(tmp_path / "more")


def test_the_contents_of_the_archived_folder_join_it(tmp_path: Path) -> None:
    series(tmp_path / "ct", 2)
    compress([tmp_path / "ct"], tmp_path / "x.vcz")
    (tmp_path / "ct" / "IM0001.dcm").unlink()
    (tmp_path / "ct" / "IM0002.dcm").unlink()
    (tmp_path / "ct" / "late").write_text("late")
    append(tmp_path / "x.vcz", [tmp_path / "ct"], THREAD)
    with opened(tmp_path / "x.vcz") as reader:
        assert [entry.name for entry in manifest_of(reader).files] == ["IM0002.dcm", "IM0001.dcm", "late"]


def test_what_is_there_is_never_replaced(study: Path, tmp_path: Path) -> None:
    archive = tmp_path / "x.vcz"
    shutil.copy(study / "ct.vcz", archive)
    data = archive.read_bytes()
    for name, sentence in (
        ("same", "holds same already"),
        ("hollow", "holds hollow already"),  # a file where a folder is
        ("b", "holds b already"),
    ):
        (tmp_path / name).write_text("new")
        with pytest.raises(UnsupportedError, match=sentence):
            append(archive, [tmp_path / name], THREAD)
        (tmp_path / name).unlink()
    (tmp_path / "same").mkdir()  # a folder where a file is
    (tmp_path / "same" / "x").write_text("")
    with pytest.raises(UnsupportedError, match="holds same and 1 more"):
        append(archive, [tmp_path / "same"], THREAD)
    with pytest.raises(UnsupportedError, match=r"holds .* and 42 more|holds .* and 4\d more"):
        append(archive, [study / "ct"], THREAD)
    with pytest.raises(UnsupportedError, match="is itself among the files"):
        append(archive, [tmp_path], THREAD)
    assert archive.read_bytes() == data and sorted(os.listdir(tmp_path)) == ["same", "x.vcz"]


def test_a_damaged_archive_is_not_added_to(study: Path, tmp_path: Path) -> None:
    archive = tmp_path / "x.vcz"
    shutil.copy(study / "ct.vcz", archive)
    damage(archive, SectionId(SLAB, 0, 1))
    data = archive.read_bytes()
    (tmp_path / "note").write_text("note")
    with pytest.raises(DamagedError, match=r"x\.vcz: slab 1 of volume 0"):
        append(archive, [tmp_path / "note"], THREAD)
    assert archive.read_bytes() == data and sorted(os.listdir(tmp_path)) == ["note", "x.vcz"]


def test_parity_is_made_anew_and_never_lost(study: Path, tmp_path: Path) -> None:
    archive = tmp_path / "x.vcz"
    shutil.copy(study / "ct.vcz", archive)
    protect(archive, 0.02)
    data = archive.read_bytes()
    (tmp_path / "note").write_text("note")
    with pytest.raises(UnsupportedError, match=r"has parity, which the new archive would lose"):
        append(archive, [tmp_path / "note"], THREAD)
    assert archive.read_bytes() == data
    done = append(archive, [tmp_path / "note"], EncodeOptions(threads=1, parity=0.02))
    assert done.packed_bytes == archive.stat().st_size - len(data)
    whole = archive.read_bytes()
    archive.write_bytes(whole[:100] + b"rotten" + whole[106:])
    repair(archive)
    assert archive.read_bytes() == whole and verify(archive, ONE).files == 46


def test_two_processes_do_not_add_to_one_archive_at_once(study: Path, tmp_path: Path) -> None:
    archive = tmp_path / "x.vcz"
    shutil.copy(study / "ct.vcz", archive)
    (tmp_path / "note").write_text("note")
    with archive.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TargetError, match="being changed by another process"):
            append(archive, [tmp_path / "note"], THREAD)
    append(archive, [tmp_path / "note"], THREAD)
