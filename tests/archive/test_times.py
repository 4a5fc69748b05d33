"""Times of modification and permissions come back, where they are kept and wanted."""

import os
import stat

import pytest

from tests.archive.forge import forged, note
from tests.helpers import ONE, compress, contents, series
from volcomp import DamagedError
from volcomp.archive import tree
from volcomp.archive.entry import Entry, Kind
from volcomp.archive.opening import manifest_of
from volcomp.archive.restore import restore
from volcomp.container.sections import Reader

NS = 1_234_567_890_123_456_789


@pytest.fixture
def folder(tmp_path):
    """Images, texts, nested folders, a link, a link to nothing; each with its own time and permissions."""
    folder = tmp_path / "in"
    series(folder / "ct", 3)
    (folder / "a" / "b" / "c").mkdir(parents=True)
    (folder / "a" / "note").write_text("note")
    (folder / "a" / "program").write_text("#!/bin/sh")
    (folder / "link").symlink_to("a/note")
    (folder / "a" / "gone").symlink_to("nowhere")
    (folder / "a" / "program").chmod(0o755)
    (folder / "a" / "note").chmod(0o640)
    (folder / "ct" / "IM0001.dcm").chmod(0o400)
    (folder / "a" / "b").chmod(0o750)
    for i, path in enumerate(sorted(folder.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, NS - i * 1_000_000_007), follow_symlinks=False)
    return folder


def facts(folder):
    """Time and permissions of all that is in a folder; links have none of their own."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        mode = None if stat.S_ISLNK(status.st_mode) else stat.S_IMODE(status.st_mode)
        found[str(path.relative_to(folder))] = (status.st_mtime_ns, mode)
    return found


def test_times_and_permissions_come_back(folder, tmp_path):
    """To the nanosecond: of files, of folders after their contents, of links and not of what they lead to."""
    compress([folder], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert facts(tmp_path / "out") == facts(folder)
    assert contents(tmp_path / "out") == contents(folder)


def test_times_come_back_over_files_that_exist(folder, tmp_path):
    compress([folder], tmp_path / "x.vcz")
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "note").write_text("old")
    restore(tmp_path / "x.vcz", tmp_path / "out", force=True, options=ONE)
    assert facts(tmp_path / "out") == facts(folder)


@pytest.mark.parametrize("when", ["compress", "restore"])
def test_times_may_be_left_out(folder, tmp_path, when):
    compress([folder], tmp_path / "x.vcz", times=when != "compress")
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE, times=when != "restore")
    assert contents(tmp_path / "out") == contents(folder)
    ours, theirs = facts(tmp_path / "out"), facts(folder)
    assert all(ours[name][0] > theirs[name][0] + 1e9 for name in theirs)
    assert ours["a/program"][1] == ours["a/note"][1] != 0o755
    with (tmp_path / "x.vcz").open("rb") as file:
        kept = {(entry.mtime is None, entry.mode is None) for entry in manifest_of(Reader(file)).entries}
    assert kept == {(True, True) if when == "compress" else (False, False)}


def test_parts_of_an_archive_have_their_times(folder, tmp_path):
    compress([folder], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE, wanted=lambda entry: entry.name in ("a/note", "link"))
    ours, theirs = facts(tmp_path / "out"), facts(folder)
    assert ours.keys() == {"a", "a/note", "link"}
    assert (ours["a/note"], ours["link"]) == (theirs["a/note"], theirs["link"])


def test_special_permissions_are_not_kept(tmp_path):
    """A program that runs as its owner does so where its owner says it, not where it is restored."""
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    (folder / "program").write_text("#!/bin/sh")
    (folder / "program").chmod(0o6755)
    (folder / "sub").chmod(0o3775)
    compress([folder], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert facts(tmp_path / "out")["program"][1] == 0o755 and facts(tmp_path / "out")["sub"][1] == 0o775
    for mode in (0o4755, 0o1000):
        forgery = forged(tmp_path / "y.vcz", [note("a", mode=mode)])
        with pytest.raises(DamagedError):
            restore(forgery, tmp_path / "forged")


def read_only(folder):
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "note").write_text("note")
    (folder / "a" / "b" / "note").chmod(0o444)
    (folder / "a" / "b").chmod(0o555)
    (folder / "a").chmod(0o500)


def test_read_only_folders_come_back(tmp_path):
    """And a restoration that fails leaves nothing behind, although they are in it."""
    folder = tmp_path / "in"
    read_only(folder)
    compress([folder], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert facts(tmp_path / "out") == facts(folder)
    data = (tmp_path / "x.vcz").read_bytes()
    at = data.index(b"BLOB") + 12
    (tmp_path / "y.vcz").write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(DamagedError):
        restore(tmp_path / "y.vcz", tmp_path / "other", options=ONE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DamagedError):
        restore(tmp_path / "y.vcz", tmp_path / "empty", options=ONE)
    assert sorted(os.listdir(tmp_path)) == sorted([*before, "empty"]) and os.listdir(tmp_path / "empty") == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="becomes another user")
def test_read_only_folders_come_back_for_those_who_may_not_do_all(tmp_path):
    """Root passes over permissions; others do not."""
    import subprocess
    import sys

    work = tmp_path / "work"
    work.mkdir()
    read_only(work / "in")
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
restore(Path("x.vcz"), Path("new/deep"))
assert not os.access(Path("out/a"), os.W_OK)
os.makedirs("batch/x")
Path("batch/x/mine").write_text("there already")
row = perform(Job("x", Path("x.vcz"), Path("batch/x")), How(Path("batch"), True, EncodeOptions()), 1)
assert not row.error, row
"""
    done = subprocess.run([sys.executable, "-c", code, str(work)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert facts(work / "out") == facts(work / "in") == facts(work / "new" / "deep")
    batch = facts(work / "batch" / "x")
    assert batch.pop("mine") and batch == facts(work / "in")


@pytest.mark.parametrize("ns", [-1, -(10**18) - 1, 1, 2_400_000_000 * 10**9 + 7, 0])
def test_times_before_1970_and_far_ahead(tmp_path, ns):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "note"
    path.write_text("note")
    os.utime(path, ns=(0, ns))
    kept = path.stat().st_mtime_ns
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert (tmp_path / "out" / "note").stat().st_mtime_ns == kept == ns


def test_times_that_exceed_64_bits_are_not_kept(tmp_path, monkeypatch):
    """In nanoseconds: before 1677 and after 2262."""
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "note"
    path.write_text("note")
    genuine = type(path).stat

    class Stat:
        def __init__(self, found, ns):
            self.st_mode, self.st_mtime_ns = found.st_mode, ns

    for ns, expected in (
        ((1 << 63) - 1, (1 << 63) - 1),
        (1 << 63, None),
        (-(1 << 63), -(1 << 63)),
        (-(1 << 63) - 1, None),
        (10**25, None),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(
                type(path),
                "stat",
                lambda p, follow_symlinks=True, ns=ns: Stat(genuine(p, follow_symlinks=follow_symlinks), ns),
            )
            items = tree.collect([tmp_path / "in"]).items
        assert [item.mtime for item in items] == [expected]


def test_times_that_a_file_system_cannot_have_are_passed_over(tmp_path, monkeypatch):
    """The bytes come back all the same."""

    def refuse(*arguments, **options):
        raise PermissionError(1, "not here")

    archive = forged(
        tmp_path / "x.vcz",
        [
            note("a", mtime=(1 << 63) - 1, mode=0),
            Entry("sub", Kind.FOLDER, mtime=-(1 << 63), mode=0o700),
            note("b", mtime=5),
        ],
    )
    restore(archive, tmp_path / "out")
    assert (tmp_path / "out" / "b").stat().st_mtime_ns == 5
    monkeypatch.setattr(os, "chmod", refuse)
    monkeypatch.setattr(os, "utime", refuse)
    restore(archive, tmp_path / "other")
    assert contents(tmp_path / "other") == contents(tmp_path / "out")
