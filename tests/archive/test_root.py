"""The archived folder itself keeps its time and permissions: what was private stays private."""

import os
import stat
import subprocess
import sys

import pytest

from tests.archive.forge import forged, note
from tests.helpers import ONE, compress, contents, damage, series
from volcomp import DamagedError
from volcomp.archive import restore as restoring
from volcomp.archive.append import append
from volcomp.archive.contents import contents as listed
from volcomp.archive.restore import restore, verify
from volcomp.container.sections import ROOT, Reader, SectionId
from volcomp.options import EncodeOptions

NS = 1_234_567_890_123_456_789
FRESH = b"\x00\x08" + (0o700).to_bytes(8, "little")  # no time, 0700


def facts(path):
    status = path.stat()
    return status.st_mtime_ns, stat.S_IMODE(status.st_mode)


def sections(archive):
    with archive.open("rb") as file:
        return list(Reader(file).places)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    series(folder / "ct", 3)
    (folder / "note").write_text("note")
    folder.chmod(0o700)
    os.utime(folder, ns=(0, NS))
    return folder


@pytest.fixture
def usual(tmp_path):
    """The permissions that a new folder gets."""
    (tmp_path / "usual").mkdir()
    return stat.S_IMODE((tmp_path / "usual").stat().st_mode)


@pytest.mark.parametrize("mode", [0o700, 0o500, 0o750, 0o711])
def test_it_comes_back(folder, tmp_path, mode, usual):
    assert mode != usual
    folder.chmod(mode)
    compress([folder], tmp_path / "x.vcz")
    assert sections(tmp_path / "x.vcz")[0] == SectionId(ROOT)
    restore(tmp_path / "x.vcz", tmp_path / "new" / "out", options=ONE)
    assert facts(tmp_path / "new" / "out") == facts(folder) == (NS, mode)
    assert facts(tmp_path / "new")[1] == usual
    restore(tmp_path / "x.vcz", tmp_path / "some", options=ONE, names=["ct"])
    assert facts(tmp_path / "some") == (NS, mode)
    verify(tmp_path / "x.vcz", options=ONE)
    assert all(entry["name"] for entry in listed(tmp_path / "x.vcz")["entries"])


def test_it_is_closed_while_it_is_filled(folder, tmp_path, monkeypatch):
    compress([folder], tmp_path / "x.vcz")
    seen = []
    genuine = restoring.emit

    def emit(entry, pieces, target):
        if target:
            seen.append(stat.S_IMODE(target.stat().st_mode))
        genuine(entry, pieces, target)

    monkeypatch.setattr(restoring, "emit", emit)
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert seen == [0o700] * 4
    folder.chmod(0o055)
    compress([folder], tmp_path / "x.vcz", force=True)
    restore(tmp_path / "x.vcz", tmp_path / "other", options=ONE)
    assert seen[4:] == [0o755] * 4 and facts(tmp_path / "other") == (NS, 0o055)


def test_it_is_left_alone(folder, tmp_path, usual):
    """A folder that was there, and one whose times are not wanted or were not kept."""
    compress([folder], tmp_path / "x.vcz")
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o751)
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert facts(tmp_path / "out")[1] == 0o751 and facts(tmp_path / "out")[0] != NS
    assert facts(tmp_path / "out" / "note") == facts(folder / "note")
    restore(tmp_path / "x.vcz", tmp_path / "other", options=ONE, times=False)
    assert facts(tmp_path / "other")[1] == usual
    compress([folder], tmp_path / "y.vcz", times=False)
    compress([folder, folder / "note"], tmp_path / "z.vcz")
    for name in ("y", "z"):
        assert SectionId(ROOT) not in sections(tmp_path / f"{name}.vcz")
        restore(tmp_path / f"{name}.vcz", tmp_path / name, options=ONE)
        assert facts(tmp_path / name)[1] == usual
    assert facts(tmp_path / "z" / "in") == (NS, 0o700)


def test_a_folder_that_another_process_made_is_left_alone(folder, tmp_path, monkeypatch):
    compress([folder], tmp_path / "x.vcz")
    genuine = restoring.restore_folder_times

    def restore_folder_times(folders, target):
        genuine(folders, target)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine").write_text("mine")
        (tmp_path / "out").chmod(0o751)

    monkeypatch.setattr(restoring, "restore_folder_times", restore_folder_times)
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE, force=True)
    assert facts(tmp_path / "out")[1] == 0o751
    assert contents(tmp_path / "out") == contents(folder) | {"mine": b"mine"}


def test_an_archive_that_is_added_to_keeps_it(folder, tmp_path):
    compress([folder], tmp_path / "x.vcz")
    (tmp_path / "more" / "in").mkdir(parents=True)
    (tmp_path / "more" / "in" / "new").write_text("new")
    append(tmp_path / "x.vcz", [tmp_path / "more" / "in"], EncodeOptions(threads=1))
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert facts(tmp_path / "out") == (NS, 0o700)
    assert contents(tmp_path / "out") == contents(folder) | {"new": b"new"}


def test_a_damaged_archive(folder, tmp_path):
    """Without its index it is found at its place alone; what is lost is taken for private."""
    folder.chmod(0o750)
    compress([folder], tmp_path / "x.vcz")
    data = (tmp_path / "x.vcz").read_bytes()
    (tmp_path / "cut.vcz").write_bytes(data[:-5])
    restore(tmp_path / "cut.vcz", tmp_path / "cut", options=ONE, salvage=True)
    assert facts(tmp_path / "cut") == (NS, 0o750)
    (tmp_path / "later.vcz").write_bytes(data[:12] + b"\0" + data[12:-5])
    restore(tmp_path / "later.vcz", tmp_path / "later", options=ONE, salvage=True)
    assert facts(tmp_path / "later")[0] != NS
    damage(tmp_path / "x.vcz", SectionId(ROOT))
    with pytest.raises(DamagedError, match="the archived folder itself"):
        restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE, salvage=True)
    assert facts(tmp_path / "out")[1] == 0o700 and contents(tmp_path / "out") == contents(folder)


@pytest.mark.parametrize(
    "payload",
    [b"", FRESH[:-1], FRESH + b"\0", b"\0\x08" + (0o1000).to_bytes(8, "little"), b"\0\x08" + b"\xff" * 8, b"\1\0\0"],
)
def test_what_makes_no_sense_is_damage(tmp_path, payload):
    restore(forged(tmp_path / "x.vcz", [note("a")], root_=FRESH), tmp_path / "out")
    assert facts(tmp_path / "out")[1] == 0o700
    with pytest.raises(DamagedError, match="the archived folder itself"):
        restore(forged(tmp_path / "y.vcz", [note("a")], root_=payload), tmp_path / "other")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="becomes another user")
def test_a_read_only_folder_comes_back_for_those_who_may_not_do_all(tmp_path):
    """Such a folder cannot be moved by others than root; batch moves it once more."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "in").mkdir()
    (work / "in" / "note").write_text("note")
    (work / "in").chmod(0o500)
    os.utime(work / "in", ns=(0, NS))
    compress([work / "in"], work / "x.vcz")
    for path in (work, *work.rglob("*")):
        os.lchown(path, 65534, 65534)
    code = """
import os, sys
from pathlib import Path
from volcomp.archive.restore import restore
from volcomp.batch.work import How, perform
from volcomp.batch.jobs import Job
from volcomp.options import EncodeOptions
os.chdir(sys.argv[1])
os.setgid(65534); os.setuid(65534)
restore(Path("x.vcz"), Path("out"))
os.mkdir("batch")
row = perform(Job("x", Path("x.vcz"), Path("batch/x")), How(Path("batch"), True, EncodeOptions()), 1)
assert not row.error, row
"""
    done = subprocess.run([sys.executable, "-c", code, str(work)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert facts(work / "out") == facts(work / "batch" / "x") == (NS, 0o500)
