"""Parts of archives by name, streams, links and leftovers."""

import fcntl
import io
import os
import shutil
import stat
import subprocess
import threading
from functools import partial
from pathlib import Path

import pytest

from tests.archive.studies import GOLDEN, THREAD, names_of
from tests.helpers import ONE, compress, contents, damage, image, noise, series
from volcomp import DamagedError, TargetError, UnsupportedError
from volcomp.archive import attempt, pack, stack
from volcomp.archive.append import append
from volcomp.archive.contents import as_lines
from volcomp.archive.contents import contents as listed
from volcomp.archive.describe import as_text, describe
from volcomp.archive.restore import read_one, restore, verify
from volcomp.archive.scratch import remove_tree
from volcomp.codec import decode as decoding
from volcomp.container.sections import BLOB, SLAB, SectionId


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["same"], {"same"}),
        (["./b/"], {"b/0.dcm", "b/1.dcm", "b/2.dcm"}),
        (["note[1].txt"], {"note[1].txt"}),  # a name before it is a pattern
        (["note*"], {"note[1].txt"}),
        (["*/?.dcm"], {"b/0.dcm", "b/1.dcm", "b/2.dcm"}),
        (["link", "b/1.dcm"], {"link", "b/1.dcm"}),
        (["a/IM000[12]*"], {"a/IM0001.dcm", "a/IM0002.dcm"}),
    ],
)
def test_files_by_name_folder_and_pattern(study: Path, tmp_path: Path, names: list[str], expected: set[str]) -> None:
    done = restore(study / "ct.vcz", tmp_path / "out", ONE, names=names)
    assert names_of(tmp_path / "out") == expected and done.target == tmp_path / "out"
    for name in expected:
        if name != "link":  # whose file was not asked for
            assert (tmp_path / "out" / name).read_bytes() == (study / "ct" / name).read_bytes()
        now, then = (tmp_path / "out" / name).lstat(), (study / "ct" / name).lstat()
        assert now.st_mtime_ns == then.st_mtime_ns and now.st_mode == then.st_mode


def test_an_empty_folder_by_name(study: Path, tmp_path: Path) -> None:
    restore(study / "ct.vcz", tmp_path / "out", ONE, names=["hollow"])
    assert os.listdir(tmp_path / "out") == ["hollow"]


def test_files_by_series_also_of_voxels_that_another_series_has(study: Path, tmp_path: Path) -> None:
    restore(study / "ct.vcz", tmp_path / "out", ONE, series=["9.8.7"])
    assert names_of(tmp_path / "out") == {"b/0.dcm", "b/1.dcm", "b/2.dcm"}
    series(tmp_path / "in" / "1", 3, series="1.1")
    series(tmp_path / "in" / "2", 3, series="1.12")  # contains the other
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "1", ONE, series=["1.1"])
    restore(tmp_path / "x.vcz", tmp_path / "2", ONE, series=["1.12"])
    assert {name[0] for name in names_of(tmp_path / "1")} == {"1"}
    assert {name[0] for name in names_of(tmp_path / "2")} == {"2"}


def test_names_that_are_not_there_are_named(study: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"ct\.vcz: it holds no 'nope', '\*\.png', volume or series 5; "):
        restore(study / "ct.vcz", tmp_path / "out", ONE, names=["same", "nope", "*.png"], series=["5"])
    assert os.listdir(tmp_path) == []


def test_only_the_slabs_that_are_needed_are_decoded(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode, asked = decoding.decode_slabs, []
    monkeypatch.setattr(decoding, "decode_slabs", lambda header, payloads, *arguments, **options: (
        asked.append(list(payloads)) or decode(header, payloads, *arguments, **options)))  # fmt: skip
    restore(study / "ct.vcz", tmp_path / "1", ONE, names=["a/IM0001.dcm"])  # the last slice
    restore(study / "ct.vcz", tmp_path / "2", ONE, names=["same"])
    assert asked == [[1]]


def test_an_extraction_joins_other_files(study: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    restore(study / "ct.vcz", tmp_path, ONE, names=["same"])
    restore(study / "ct.vcz", tmp_path, ONE, names=["link"])
    (tmp_path / "same").write_text("changed")
    for asked in ["same"], ["*"]:
        with pytest.raises(TargetError, match="same exists; force=True"):
            restore(study / "ct.vcz", tmp_path, ONE, names=asked)
    assert (tmp_path / "same").read_text() == "changed"
    assert sorted(os.listdir(tmp_path)) == ["link", "mine", "same"]
    restore(study / "ct.vcz", tmp_path, ONE, names=["same"], force=True)
    assert (tmp_path / "same").read_bytes() == (study / "ct" / "same").read_bytes()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("mine", path), os.mkdir])
def test_only_regular_files_are_replaced_in_a_folder(study: Path, tmp_path: Path, make) -> None:
    (tmp_path / "mine").write_text("mine")
    make(tmp_path / "same")
    before = (tmp_path / "same").lstat()
    with pytest.raises(TargetError, match=r"same is a .* move it away"):
        restore(study / "ct.vcz", tmp_path, ONE, force=True)
    assert (tmp_path / "same").lstat() == before and (tmp_path / "mine").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["mine", "same"]


def test_the_list_says_how_each_file_is_kept(study: Path) -> None:
    found = {entry["name"]: entry for entry in listed(study / "ct.vcz")["entries"]}
    assert list(found) == sorted(found) and len(found) == 40 + 3 + 4 + 2
    assert found["a/IM0040.dcm"]["kept"] == "volume" and found["a/IM0040.dcm"]["slices"] == [0, 1]
    assert found["note[1].txt"]["kept"] == "whole" and found["note[1].txt"]["why"] == "no image of a known format"
    assert found["same"]["kept"] == "copy" and found["same"]["copy_of"] == "note[1].txt"
    assert found["link"]["target"] == "same" and found["hollow"]["kind"] == "folder"
    assert found["same"]["size"] == 500 and found["same"]["mtime_ns"] == (study / "ct" / "same").stat().st_mtime_ns
    lines = list(as_lines(listed(study / "ct.vcz")))
    assert any(line.endswith("  copy      same = note[1].txt") for line in lines)
    assert any(line.startswith("lrwx") and line.endswith("link -> same") for line in lines)
    assert "2 kept whole: no image of a known format" in as_text(describe(study / "ct.vcz"))


def test_the_list_needs_no_other_section(study: Path, tmp_path: Path) -> None:
    shutil.copy(study / "ct.vcz", tmp_path / "x.vcz")
    for section in SectionId(SLAB, 0, 0), SectionId(BLOB, 0), SectionId(b"KEEP", 0), SectionId(b"VHDR", 0):
        damage(tmp_path / "x.vcz", section)
    assert len(listed(tmp_path / "x.vcz")["entries"]) == 49


def test_the_list_of_an_old_archive() -> None:
    found = listed(GOLDEN)["entries"]
    assert found and all(entry["mtime_ns"] is None and entry["mode"] is None for entry in found)
    assert all(line.startswith("- ") for line in as_lines(listed(GOLDEN)))


def test_permissions_and_links_of_the_output_stay(study: Path, tmp_path: Path) -> None:
    real = tmp_path / "far" / "real.vcz"
    real.parent.mkdir()
    shutil.copy(study / "ct.vcz", real)
    real.chmod(0o600)
    (tmp_path / "x.vcz").symlink_to("far/real.vcz")
    (tmp_path / "note").write_text("note")
    append(tmp_path / "x.vcz", [tmp_path / "note"], THREAD)
    assert (tmp_path / "x.vcz").is_symlink() and stat.S_IMODE(real.stat().st_mode) == 0o600
    assert "note" in {entry["name"] for entry in listed(real)["entries"]}
    compress([tmp_path / "note"], tmp_path / "x.vcz", force=True)
    assert (tmp_path / "x.vcz").is_symlink() and stat.S_IMODE(real.stat().st_mode) == 0o600
    assert [entry["name"] for entry in listed(real)["entries"]] == ["note"]
    (tmp_path / "y.vcz").symlink_to("far/new.vcz")  # a link to nothing yet
    with pytest.raises(TargetError, match=r"y\.vcz exists"):
        compress([tmp_path / "note"], tmp_path / "y.vcz")
    compress([tmp_path / "note"], tmp_path / "y.vcz", force=True)
    assert (tmp_path / "y.vcz").is_symlink() and (tmp_path / "far" / "new.vcz").is_file()


def test_a_pipe_and_a_device_stay(tmp_path: Path) -> None:
    (tmp_path / "in").write_text("")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "null").symlink_to("/dev/null")
    for name, what in ("pipe", "a pipe"), ("null", "a device"):
        with pytest.raises(TargetError, match=f"{name} is {what} and stays"):
            compress([tmp_path / "in"], tmp_path / name, force=True)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode) and (tmp_path / "null").is_symlink()


def test_an_archive_goes_through_pipes(study: Path, tmp_path: Path) -> None:
    stream = io.BytesIO()
    pack.compress([study / "ct"], stream, THREAD)
    assert stream.getvalue() == (study / "ct.vcz").read_bytes()
    os.mkfifo(tmp_path / "pipe")

    def write() -> None:
        (tmp_path / "pipe").write_bytes(stream.getvalue())

    for read in (verify, lambda path, options: restore(path, tmp_path / "out", options)):
        writer = threading.Thread(target=write)
        writer.start()
        assert read(tmp_path / "pipe", ONE).files == 45
        writer.join()
    assert contents(tmp_path / "out") == contents(study / "ct")
    stream.seek(0)
    assert len(listed(stream)["entries"]) == 49


def test_one_file_to_a_stream(study: Path) -> None:
    for name in "a/IM0007.dcm", "same":
        stream = io.BytesIO()
        read_one(study / "ct.vcz", stream, ONE, names=[name])
        assert stream.getvalue() == (study / "ct" / name).read_bytes()
    for names in [], ["b"], ["link"]:
        with pytest.raises(UnsupportedError, match=r"(45|3|0) files were asked for"):
            read_one(study / "ct.vcz", io.BytesIO(), ONE, names=names)


def test_a_stream_gets_nothing_of_a_damaged_file(study: Path, tmp_path: Path) -> None:
    shutil.copy(study / "ct.vcz", tmp_path / "x.vcz")
    damage(tmp_path / "x.vcz", SectionId(SLAB, 0, 1))
    stream = io.BytesIO()
    with pytest.raises(DamagedError):
        read_one(tmp_path / "x.vcz", stream, ONE, names=["a/IM0001.dcm"])
    assert stream.getvalue() == b""


def test_leftovers_of_others_stay(tmp_path: Path) -> None:
    """Only what has the target's name and no living owner is removed."""
    (tmp_path / "in").write_text("")
    stale, foreign = tmp_path / ".x.vcz.01234567.part", tmp_path / ".y.vcz.01234567.part"
    alike, held = tmp_path / ".x.vcz.0123456.part", tmp_path / ".x.vcz.89abcdef.part"
    for path in stale, foreign, alike, held:
        path.write_text("")
    dead, living = tmp_path / ".x.vcz.00000000.part", tmp_path / ".x.vcz.11111111.part"
    for folder in dead, living:
        (folder / "files" / "deep").mkdir(parents=True)
        (folder / "files" / "deep" / "x").write_text("")
        (folder / "lock").write_text("")
    with held.open("rb") as file, (living / "lock").open("rb") as lock:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX)
        compress([tmp_path / "in"], tmp_path / "x.vcz")
        assert held.exists() and (living / "files" / "deep" / "x").exists()
    assert foreign.exists() and alike.exists() and not stale.exists() and not dead.exists()
    compress([tmp_path / "in"], tmp_path / "x.vcz", force=True)
    assert not held.exists() and not living.exists()


def test_two_at_once_do_not_remove_each_others_work(study: Path, tmp_path: Path) -> None:
    errors = []

    def work() -> None:
        try:
            for _ in range(6):
                compress([study / "ct" / "same"], tmp_path / "x.vcz", force=True)
                restore(study / "ct.vcz", tmp_path / "out", ONE, names=["same"], force=True)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and sorted(os.listdir(tmp_path)) == ["out", "x.vcz"]
    verify(tmp_path / "x.vcz", ONE)
    assert os.listdir(tmp_path / "out") == ["same"]


def test_folders_nested_more_deeply_than_calls(tmp_path: Path) -> None:
    deep = tmp_path / "in" / "/".join(["d"] * 1100)
    os.makedirs(tmp_path / "in")
    here = os.getcwd()
    try:
        os.chdir(tmp_path / "in")
        for _ in range(1100):
            os.mkdir("d")
            os.chdir("d")
        Path("note").write_text("note")
        os.chdir(here)
        compress([tmp_path / "in"], tmp_path / "x.vcz")
        restore(tmp_path / "x.vcz", tmp_path / "out", ONE)
        assert (tmp_path / "out" / deep.relative_to(tmp_path / "in") / "note").read_text() == "note"
        restore(tmp_path / "x.vcz", tmp_path / "out", ONE, force=True)
        os.chdir(deep)
        for _ in range(700):  # beyond what one path can name
            os.mkdir("d" * 5)
            os.chdir("d" * 5)
        os.chdir(here)
        with pytest.raises(UnsupportedError, match=r"….* cannot be read: File name too long"):
            compress([tmp_path / "in"], tmp_path / "y.vcz")
        done = pack.compress([tmp_path / "in"], tmp_path / "y.vcz", THREAD, skip_errors=True)
        assert done.files == 1 and len(done.skipped) == 1
    finally:
        os.chdir(here)
        remove_tree(tmp_path / "out")
        subprocess.run(["rm", "-rf", tmp_path / "in"], check=True)  # which needs no such paths


def test_what_cannot_be_read_can_be_skipped(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note").write_text("note")
    os.mkfifo(tmp_path / "in" / "pipe")
    done = pack.compress([tmp_path / "in"], tmp_path / "x.vcz", THREAD, skip_errors=True, times=False)
    assert done.files == 1 and [sentence.split(" is ")[1] for sentence in done.skipped] == [
        "neither a file nor a folder; leave it out"
    ]
    assert [entry["mtime_ns"] for entry in listed(tmp_path / "x.vcz")["entries"]] == [None]


def test_times_are_restored_or_not(study: Path, tmp_path: Path) -> None:
    os.utime(study / "ct" / "hollow", ns=(1, 2))
    compress([study / "ct"], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "with", ONE)
    restore(tmp_path / "x.vcz", tmp_path / "without", ONE, times=False)
    assert (tmp_path / "with" / "hollow").stat().st_mtime_ns == 2
    assert (tmp_path / "without" / "hollow").stat().st_mtime_ns > 1 << 60


def test_an_error_about_a_target_names_the_target(study: Path, tmp_path: Path, monkeypatch) -> None:
    def locked(*arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(arguments[0]))

    monkeypatch.setattr(os, "mkdir", locked)
    with pytest.raises(TargetError, match=r"^[^ ]*/out cannot be written: permission is denied$"):
        restore(study / "ct.vcz", tmp_path / "out", ONE)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("colours", [False, True])
def test_an_image_that_vanishes_can_be_skipped(tmp_path: Path, monkeypatch, large: bool, colours: bool) -> None:
    """Also the one by which a series is judged, and one that is too large to be held in memory."""
    options = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0} if colours else {}
    for z in range(3):
        voxels = noise((6, 6, 3) if colours else (6, 6), "u1", 0, 200, seed=z)
        image(tmp_path / "in" / f"{z}.dcm", voxels.reshape(6, -1), z=z, Columns=6, **options)
    group = pack.volumes

    def grouped_then_gone(images):
        found = group(images)
        (tmp_path / "in" / "1.dcm").unlink()
        return found

    monkeypatch.setattr(pack, "volumes", grouped_then_gone)
    if large:
        monkeypatch.setattr(attempt, "_AHEAD_BYTES", 0)
    done = pack.compress([tmp_path / "in"], tmp_path / "x.vcz", THREAD, skip_errors=True)
    assert done.files == 2 and [sentence.rpartition("/")[2] for sentence in done.skipped] == [
        "1.dcm cannot be read: No such file or directory"
    ]
    restore(tmp_path / "x.vcz", tmp_path / "out", ONE)
    assert contents(tmp_path / "out") == contents(tmp_path / "in")


def test_a_full_temporary_folder_is_named(tmp_path: Path, monkeypatch) -> None:
    """Not the archive, whose disk may have room."""
    colours = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    image(tmp_path / "in" / "a.dcm", noise((64, 192), "u1", 0, 200), Columns=64, **colours)
    monkeypatch.setattr(stack.tempfile, "TemporaryFile", partial(open, "/dev/full", "r+b", buffering=0))
    monkeypatch.setattr(stack.tempfile, "gettempdir", lambda: "/scratch")
    with pytest.raises(TargetError, match=r"^/scratch cannot be written: the disk is full$"):
        pack.compress([tmp_path / "in"], tmp_path / "x.vcz", THREAD)
    assert os.listdir(tmp_path) == ["in"]
