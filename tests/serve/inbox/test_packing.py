"""A series that is quiet becomes an archive, verified, before its originals go; what goes wrong loses nothing."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

import volcomp
from tests.helpers import noise
from tests.serve.inbox.conftest import NEVER, Served
from tests.serve.inbox.test_receive import files_of, landed
from tests.serve.makers import instance, packed, study, uid
from volcomp.archive import scratch
from volcomp.errors import UnsupportedError
from volcomp.serve.inbox.packing import Job, Packer, pack
from volcomp.serve.store.query import Level, Query

Opener = Callable[..., Served]


def instances_packed(count: int) -> Callable[[dict], bool]:
    return lambda state: state["packed"]["instances"] == count and state["waiting"] == 0 and not state["packing"]


def hand_in(one: Served, folder: Path) -> list[bytes]:
    """Hand in all files of a folder; return them."""
    assert [one.receive(path) for path in files_of(folder)] == [0] * len(files_of(folder))
    return [path.read_bytes() for path in files_of(folder)]


def test_a_quiet_series_is_packed(tmp_path: Path, served: Opener) -> None:
    study(tmp_path / "in", "Alpha", series=2)
    one = served(quiet=0.3)
    sent = hand_in(one, tmp_path / "in")
    state = one.until(instances_packed(8))
    assert state["packed"]["archives"] == 2 and state["packed"]["raw_bytes"] == sum(map(len, sent))
    archives = sorted((tmp_path / "root" / uid("Alpha")).iterdir())
    assert [path.name for path in archives] == sorted(f"{uid('Alpha', s)}.vcz" for s in (0, 1))
    assert state["packed"]["packed_bytes"] == sum(path.stat().st_size for path in archives)
    found = one.store.instances(uid("Alpha"))
    assert [one.store.file(f) for f in found] == sent and {f.archive for f in found} == set(archives)
    assert landed(one) == [] and files_of(one.settings.landing) == []
    for path in archives:
        volcomp.verify(path, threads=1)
    assert one.receive(files_of(tmp_path / "in")[0]) == 0 and landed(one) == []  # it is there already


def test_a_series_that_is_not_quiet_waits(tmp_path: Path, served: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    one = served(quiet=60.0)
    one.inbox._stop.set()  # this test looks by itself
    one.inbox._thread.join()  # type: ignore[union-attr]
    one.inbox._stop.clear()
    one.inbox._alone()
    now = [0.0]
    monkeypatch.setattr("volcomp.serve.inbox.folder_inbox.monotonic", lambda: now[0])

    def looked(seconds: float) -> int:
        now[0] += seconds
        one.inbox._look()
        return int(one.inbox.state()["packed"]["instances"])

    study(tmp_path / "in", "Alpha", slices=3)
    first, second, third = files_of(tmp_path / "in")
    assert one.receive(first) == 0 and looked(0) == 0 and looked(59) == 0
    assert one.receive(second) == 0 and looked(2) == 0 and looked(59) == 0 and looked(2) == 2
    assert one.receive(third) == 0 and looked(1) == 2 and looked(61) == 3
    os.close(one.inbox._lockfile)


def test_a_series_that_grows_gets_a_second_archive(tmp_path: Path, served: Opener) -> None:
    study(tmp_path / "in", "Alpha", slices=5)
    files = files_of(tmp_path / "in")
    one = served(quiet=0.2)
    for path in files[:3]:
        assert one.receive(path) == 0
    one.until(instances_packed(3))
    first = tmp_path / "root" / uid("Alpha") / f"{uid('Alpha', 0)}.vcz"
    before = first.read_bytes()
    for path in files[3:]:
        assert one.receive(path) == 0
    one.until(instances_packed(5))
    assert first.read_bytes() == before and first.with_name(f"{uid('Alpha', 0)}-2.vcz").exists()
    assert [one.store.file(f) for f in one.store.instances(uid("Alpha"))] == [path.read_bytes() for path in files]
    (found,) = one.store.search(Query(Level.SERIES)).results
    assert found["00201209"]["Value"] == [5]


def test_nothing_is_overwritten(tmp_path: Path, served: Opener) -> None:
    target = tmp_path / "root" / uid("Alpha") / f"{uid('Alpha', 0)}.vcz"
    target.parent.mkdir(parents=True)
    target.write_bytes(b"somebody's")
    one = served(quiet=0.2)
    study(tmp_path / "in", "Alpha")
    hand_in(one, tmp_path / "in")
    one.until(instances_packed(4))
    assert target.read_bytes() == b"somebody's" and target.with_name(f"{uid('Alpha', 0)}-2.vcz").exists()


def test_a_process_of_its_own(tmp_path: Path, served: Opener) -> None:
    one = served(None, quiet=0.2)
    study(tmp_path / "in", "Alpha")
    sent = hand_in(one, tmp_path / "in")
    one.until(instances_packed(4))
    assert [one.store.file(f) for f in one.store.instances(uid("Alpha"))] == sent and landed(one) == []


def test_what_cannot_be_coded_is_kept_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try fails, as where its process is killed for its memory; then nothing is guessed about the files."""
    study(tmp_path / "in", "Alpha")
    files = tuple(files_of(tmp_path / "in"))
    packer, tries = Packer(), []

    def perform(job: Job, *, whole: bool) -> None:
        tries.append(whole)
        if not whole:
            job.archive.write_bytes(b"half")
            raise UnsupportedError("the process that packed it ended with code -9")
        pack(job, whole=whole)

    monkeypatch.setattr(packer, "_perform", perform)
    from tests.serve.makers import QUICK

    packer(Job(files, tmp_path / "x.vcz", QUICK))
    assert tries == [False, True]
    assert {entry["kept"] for entry in volcomp.list_files(tmp_path / "x.vcz")} == {"whole"}
    volcomp.decompress_files(tmp_path / "x.vcz", tmp_path / "out")
    assert {path.read_bytes() for path in files} == {path.read_bytes() for path in files_of(tmp_path / "out")}


def test_errors_are_told_and_tried_again(tmp_path: Path, served: Opener) -> None:
    tries, go_on = [], threading.Event()

    def failing(job: Job) -> None:
        tries.append(len(job.files))
        if len(tries) < 3:
            job.archive.write_bytes(b"half")
            raise UnsupportedError("not today")
        go_on.wait()
        pack(job)

    one = served(failing, quiet=0.05)
    study(tmp_path / "in", "Alpha")
    sent = hand_in(one, tmp_path / "in")
    try:
        state = one.until(lambda state: bool(state["packing"]) and len(tries) == 3)
    finally:
        go_on.set()
    assert state["errors"] == [{"study": uid("Alpha"), "series": uid("Alpha", 0), "sentence": "not today"}]
    assert one.until(instances_packed(4))["errors"] == []
    assert [one.store.file(f) for f in one.store.instances(uid("Alpha"))] == sent
    assert list(next((one.settings.own / "packing").iterdir()).iterdir()) == []


def test_a_wrong_archive_removes_nothing(tmp_path: Path, served: Opener) -> None:
    """One that lacks an instance: that one stays in the inbox, and is packed later."""
    short = threading.Event()

    def forgetting(job: Job) -> None:
        files = job.files if short.is_set() else job.files[:-1]
        short.set()
        pack(Job(files, job.archive, job.options))

    one = served(forgetting, quiet=0.3)
    study(tmp_path / "in", "Alpha")
    sent = hand_in(one, tmp_path / "in")
    one.until(instances_packed(4))
    assert one.inbox.state()["packed"]["archives"] == 2
    assert [one.store.file(f) for f in one.store.instances(uid("Alpha"))] == sent


@pytest.mark.skipif(scratch.fcntl is None, reason="this system has no locks")
def test_one_of_two_servers_packs(tmp_path: Path, served: Opener) -> None:
    first = served(quiet=0.2)
    first.until(lambda state: state["packs"])
    second = served(quiet=0.2)
    study(tmp_path / "in", "Alpha")
    hand_in(second, tmp_path / "in")
    first.until(instances_packed(4))
    state = second.inbox.state()
    assert not state["packs"] and state["packed"]["archives"] == 0
    second.store.refresh()
    assert len(second.store.instances(uid("Alpha"))) == 4 and landed(second) == []
    first.close()
    assert second.until(lambda state: state["packs"])


def test_copies_that_were_left_are_removed(tmp_path: Path, served: Opener) -> None:
    """As after a crash between the archive and the removal; a file that differs is put aside, not lost."""
    study(tmp_path / "in", "Alpha", slices=2)
    packed(tmp_path / "in", tmp_path / "root" / "a.vcz")
    other = instance(tmp_path / "other.dcm", noise((8, 8)), "Alpha", 0, 1)
    one = served(quiet=NEVER)
    place = one.settings.landing / ".volcomp" / "instances" / uid("Alpha") / uid("Alpha", 0)
    one.close()
    place.mkdir(parents=True)
    (place / "0.dcm").write_bytes(files_of(tmp_path / "in")[0].read_bytes())
    (place / "1.dcm").write_bytes(other.read_bytes())
    again = served(quiet=0.2)
    again.store.refresh()
    assert len(again.store.search(Query(Level.INSTANCES)).results) == 2
    state = again.until(lambda state: state["conflicts"] == 1 and not state["waiting"])
    (aside,) = landed(again)
    assert aside.parent.name == "conflicts" and aside.read_bytes() == other.read_bytes()
    assert state["packed"]["archives"] == 0 and len(again.store.search(Query(Level.INSTANCES)).results) == 2


def test_reading_while_it_is_packed(tmp_path: Path, served: Opener) -> None:
    """Every instance is read without a gap, and no search has one twice, while series move from inbox to archives."""
    one = served(quiet=0.2)
    study(tmp_path / "in", "Alpha", series=4, slices=3)
    sent = dict(
        zip([(uid("Alpha", s, i)) for s in range(4) for i in range(3)], hand_in(one, tmp_path / "in"), strict=True)
    )
    done, faults = threading.Event(), []

    def read() -> None:
        while not done.is_set():
            found = one.store.instances(uid("Alpha"))
            if sorted(f.sop for f in found) != sorted(sent):
                faults.append([f.sop for f in found])
            for f in found:
                if one.store.file(f) != sent[f.sop] or not one.store.frames(f, [1]).frames:
                    faults.append(f.sop)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        one.until(instances_packed(12))
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert faults == []


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    """A packing process outlives no server that was killed."""
    code = (
        "import os, sys, pathlib, threading\n"
        "from volcomp.serve.inbox import packing\n"
        "from volcomp.options import EncodeOptions\n"
        "def main():\n"
        "    source, target = map(pathlib.Path, sys.argv[1:])\n"
        "    job = packing.Job((source,), target, EncodeOptions('base', threads=1))\n"
        "    packer = packing.Packer()\n"
        "    threading.Thread(target=packer, args=(job,), daemon=True).start()\n"
        "    while not (packer._process and packer._process.pid):\n"
        "        pass\n"
        "    print(packer._process.pid, flush=True)\n"
        "    sys.stdin.read()\n"
        "if __name__ == '__main__':\n"
        "    main()\n"
    )
    (tmp_path / "main.py").write_text(code)
    path = instance(tmp_path / "a.dcm", np.zeros((60, 256, 256), "i2"), "Alpha")
    command = [sys.executable, str(tmp_path / "main.py"), str(path), str(tmp_path / "x.vcz")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        parent.kill()
    waited = threading.Event()
    for _ in range(60_000):
        try:
            if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                break
            os.kill(child, 0)
        except OSError:
            break
        waited.wait(0.02)
    else:
        pytest.fail("the process goes on")


def test_odd_files_are_packed_too(tmp_path: Path, served: Opener) -> None:
    """No image, and an image whose pixels contradict its header."""
    plain = instance(tmp_path / "in" / "a.dcm", noise((8, 8)), "Alpha", 0, 0)
    dataset = pydicom.dcmread(plain)
    del dataset.PixelData
    dataset.SOPInstanceUID = uid("report")
    dataset.save_as(tmp_path / "in" / "b.dcm")
    instance(tmp_path / "in" / "c.dcm", noise((8, 8)), "Alpha", 0, 2, Rows=4000)
    one = served(quiet=0.2)
    sent = hand_in(one, tmp_path / "in")
    one.until(instances_packed(3))
    assert {one.store.file(f) for f in one.store.instances(uid("Alpha"))} == set(sent)


@pytest.mark.parametrize("looked", [False, True])
def test_a_file_stays_whose_archive_was_replaced(tmp_path: Path, served: Opener, looked: bool) -> None:
    """The archive has another instance under the same name now: the file is the only one left, and was removed."""
    one = served()
    study(tmp_path / "in" / "a", "Alpha", slices=1)
    study(tmp_path / "in" / "b", "Beta", slices=1)
    kept, target = packed(tmp_path / "in" / "a", tmp_path / "a.vcz"), tmp_path / "root" / "x.vcz"
    path = tmp_path / "in" / "a" / "series0" / "IM000.dcm"
    assert one.receive(path) == 0
    (file,) = (tmp_path / "root").rglob("*.dcm")
    os.replace(kept, target)
    one.store.refresh()
    os.replace(packed(tmp_path / "in" / "b", tmp_path / "b.vcz"), target)
    if looked:
        one.store.refresh()
    assert not one.inbox._is_archived(file) and file.read_bytes() == path.read_bytes()
    assert one.store.file(one.store.instances(uid("Alpha"))[0]) == path.read_bytes()
