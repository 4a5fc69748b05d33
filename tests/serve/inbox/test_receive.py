"""What is handed in is on disk and readable when `receive` returns, once, and never another one than before."""

import errno
import io
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from tests.helpers import noise
from tests.serve.inbox.conftest import Served
from tests.serve.makers import instance, packed, study, uid
from volcomp.errors import TargetError
from volcomp.formats.dicom import DICOM
from volcomp.serve.store.query import Level, Query

Opener = Callable[..., Served]


def files_of(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.dcm"))


def landed(served: Served) -> list[Path]:
    """All files of the inbox but its locks."""
    own = served.settings.landing / ".volcomp"
    return sorted(
        path for path in own.rglob("*") if path.is_file() and path.parent.name != "locks" and path.name != "lock"
    )


def test_an_instance_is_durable_and_readable(tmp_path: Path, served: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, its name and the folders that are made for it are synchronized before the answer."""
    synced: set[tuple[int, int]] = set()
    genuine = os.fsync

    def noted(descriptor: int) -> None:
        genuine(descriptor)
        status = os.fstat(descriptor)
        synced.add((status.st_dev, status.st_ino))

    one = served()
    monkeypatch.setattr(os, "fsync", noted)
    path = instance(tmp_path / "a.dcm", noise((8, 8)), "Alpha")
    assert one.receive(path) == 0
    (found,) = one.store.instances(uid("Alpha"))
    assert found.archive is None and one.store.file(found) == path.read_bytes()
    assert one.store.frames(found, [1]).frames == [noise((8, 8)).tobytes()]
    place = one.settings.landing / found.name
    for made in (place, place.parent, place.parent.parent, place.parent.parent.parent):
        assert (made.stat().st_dev, made.stat().st_ino) in synced, made
    assert stat.S_IMODE(place.stat().st_mode) == 0o600 and landed(one) == [place]
    assert (place.stem, place.parent.name) == (uid("Alpha", 0, 0), uid("Alpha", 0))


def test_sent_again(tmp_path: Path, served: Opener) -> None:
    """The same file is a success, another one with its UID is refused: from the inbox, and from an archive."""
    path = instance(tmp_path / "in" / "a.dcm", noise((8, 8)), "Alpha")
    other = instance(tmp_path / "b.dcm", noise((8, 8), seed=1), "Alpha")
    elsewhere = instance(tmp_path / "c.dcm", noise((8, 8)), "Beta", SOPInstanceUID=uid("Alpha", 0, 0))
    one = served()
    for _ in range(2):
        assert [one.receive(path), one.receive(other), one.receive(elsewhere)] == [0, 0x0111, 0x0111]
        assert len(landed(one)) == 1
    landed(one)[0].unlink()
    packed(tmp_path / "in", tmp_path / "root" / "a.vcz")
    one.store.refresh()
    assert [one.receive(path), one.receive(other)] == [0, 0x0111] and landed(one) == []
    (tmp_path / "root" / "a.vcz").unlink()
    assert one.receive(path) == 0 and len(landed(one)) == 1  # since it is nowhere else now
    assert one.store.file(one.store.instances(uid("Alpha"))[0]) == path.read_bytes()
    landed(one)[0].unlink()
    assert one.receive(elsewhere) == 0
    assert one.store.file(one.store.instances(uid("Beta"))[0]) == elsewhere.read_bytes()


def test_refusals(tmp_path: Path, served: Opener) -> None:
    path = instance(tmp_path / "a.dcm", noise((8, 8)), "Alpha")
    one = served(max_upload=path.stat().st_size)
    received = one.inbox.receive(io.BytesIO(path.read_bytes()), "1.2.3")
    assert received.failure == 0xA900 and received.sop == uid("Alpha", 0, 0) and received.study == uid("Alpha")
    for data in (b"", b"hello", bytes(900), path.read_bytes()[:200], b"\0" * 128 + b"DICM" + b"\xff" * 500):
        received = one.inbox.receive(io.BytesIO(data))
        assert received.failure == 0xC000 and received.sentence, data[:10]
    assert one.inbox.receive(io.BytesIO(path.read_bytes() + b"\0")).failure == 0xA700
    for missing in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        dataset = pydicom.dcmread(path)
        del dataset[missing]
        dataset.save_as(tmp_path / "b.dcm", enforce_file_format=False)
        assert one.receive(tmp_path / "b.dcm") == 0xC000, missing
    data = path.read_bytes()
    for uid_of in (uid("Alpha"), uid("Alpha", 0), uid("Alpha", 0, 0)):
        wrong = data.replace(uid_of[:-1].encode(), uid_of[:-2].encode() + b"\1")
        assert wrong != data and one.inbox.receive(io.BytesIO(wrong)).failure == 0xC000
    assert landed(one) == [] and one.store.search(Query(Level.INSTANCES)).results == []
    assert one.receive(path, uid("Alpha")) == 0


def test_a_file_that_is_cut_is_refused(tmp_path: Path, served: Opener) -> None:
    """A connection that ended early must not leave half an image that counts as received."""
    path = instance(tmp_path / "a.dcm", noise((32, 32)), "Alpha")
    one = served()
    dataset = pydicom.dcmread(path)
    data, pixels = path.read_bytes(), len(dataset.PixelData)
    between = {cut.start for cut in DICOM.cut(data)}  # of what ends between two elements nobody can know
    for size in (*range(len(data) - pixels - 100, len(data) - pixels), len(data) - pixels, len(data) - 1):
        taken = one.inbox.receive(io.BytesIO(data[:size])).failure == 0
        assert not taken or size in between, size
        for place in landed(one):
            place.unlink()
    assert one.receive(path) == 0


def test_a_full_disk(tmp_path: Path, served: Opener) -> None:
    class Full(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(errno.ENOSPC, "No space left on device")

    one = served()
    received = one.inbox.receive(Full())
    assert received.failure == 0xA700 and "full" in received.sentence and landed(one) == []


def test_a_failing_index_is_no_success(tmp_path: Path, served: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    path = instance(tmp_path / "a.dcm", noise((8, 8)), "Alpha")
    one = served()

    def failing(source: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    def full(source: object) -> None:
        raise TargetError("the index cannot be written: database or disk is full")

    for fault, failure in ((failing, 0x0110), (full, 0xA700)):
        monkeypatch.setattr(one.store, "enter_landed", fault)
        assert one.receive(path) == failure
    monkeypatch.undo()
    assert one.receive(path) == 0 and len(landed(one)) == 1


@pytest.mark.parametrize("name", ["../../escape", "/etc", "..", ".", "a b", "ü", "1.2/3", "x" * 64, "1." * 40])
def test_odd_uids_are_no_paths(tmp_path: Path, served: Opener, name: str) -> None:
    path = instance(tmp_path / "a.dcm", noise((8, 8)), "Alpha")
    dataset = pydicom.dcmread(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pydicom.config.settings, "writing_validation_mode", pydicom.config.IGNORE)
        patch.setattr(pydicom.config.settings, "reading_validation_mode", pydicom.config.IGNORE)
        dataset.StudyInstanceUID = dataset.SeriesInstanceUID = dataset.SOPInstanceUID = name
        dataset.save_as(path, enforce_file_format=False)
    one = served()
    assert one.receive(path) == 0
    (place,) = landed(one)
    assert place.parent.parent.parent == one.settings.landing / ".volcomp" / "instances"
    study_uid = one.store.search(Query(Level.STUDIES)).results[0]["0020000D"]["Value"][0]
    (found,) = one.store.instances(study_uid)
    assert one.store.file(found) == path.read_bytes() and one.receive(path) == 0


def test_many_at_once(tmp_path: Path, served: Opener) -> None:
    """Equal ones from many threads and two inboxes land once; of different ones with a UID, one lands."""
    study(tmp_path / "in", "Alpha", slices=6)
    instance(tmp_path / "in" / "other.dcm", noise((8, 8), seed=7), "Alpha")  # the UID of the first one
    first, second = served(), served()
    work = [(one, path) for path in files_of(tmp_path / "in") for one in (first, second)] * 4
    with ThreadPoolExecutor(16) as pool:
        failures = list(pool.map(lambda item: item[0].receive(item[1]), work))
    assert failures.count(0x0111) == 8 and set(failures) == {0, 0x0111}
    found = first.store.instances(uid("Alpha"))
    assert len(found) == 6 == len(landed(first))
    sent = {path.read_bytes() for path in files_of(tmp_path / "in")}
    assert {first.store.file(one) for one in found} < sent


def test_nothing_is_taken_in(tmp_path: Path, served: Opener) -> None:
    one = served(read_only=True)
    assert one.receive(instance(tmp_path / "a.dcm", noise((8, 8)), "Alpha")) == 0x0124
    assert one.inbox.state()["waiting"] == 0 and not one.settings.landing.exists()


def test_leftovers_are_removed(tmp_path: Path, served: Opener) -> None:
    one = served()
    one.until(lambda state: state["packs"])
    one.close()
    incoming = one.settings.landing / ".volcomp" / "incoming"
    (incoming / ".instance.0123abcd.part").write_bytes(b"half")
    (incoming / "not ours").write_bytes(b"x")
    workshop = next((one.settings.own / "packing").iterdir())
    (workshop / "half.vcz").write_bytes(b"x")
    again = served()
    again.until(lambda state: state["packs"])
    assert [path.name for path in incoming.iterdir()] == ["not ours"] and list(workshop.iterdir()) == []


def test_dropped_files_are_taken_in(tmp_path: Path, served: Opener) -> None:
    """Of any name and in any folder, when they are at rest; what is none stays where it is."""
    drop = tmp_path / "drop"
    one = served(inbox=drop, quiet=0.5)
    study(tmp_path / "in", "Alpha", slices=3)
    (drop / "a b" / "ü").mkdir(parents=True)
    paths = files_of(tmp_path / "in")
    contents = {path.read_bytes() for path in paths}
    for k, path in enumerate(paths):
        os.rename(path, drop / "a b" / "ü" / f"odd name {k}")
    (drop / "note.txt").write_text("hello")
    instance(drop / "conflict", np.zeros((8, 8), "i2"), "Alpha")
    os.utime(drop / "conflict", (0, 0))
    state = one.until(lambda state: state["packed"]["instances"] + len(state["passed_over"]) == 5)
    assert state["passed_over"][-1] == "note.txt" and len(state["passed_over"]) == 2
    found = one.store.instances(uid("Alpha"))
    assert len(found) == 3 and len({one.store.file(f) for f in found} & contents) >= 2
    assert {path.name for path in drop.rglob("*") if path.is_file() and ".volcomp" not in path.parts} >= {"note.txt"}


def test_a_dropped_file_that_grows_is_waited_for(
    tmp_path: Path, served: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = served(inbox=tmp_path / "drop", quiet=1000.0)
    path = instance(tmp_path / "a.dcm", noise((8, 8)), "Alpha")
    now = [0.0]
    monkeypatch.setattr("volcomp.serve.inbox.folder_inbox.monotonic", lambda: now[0])
    one.inbox._stop.set()  # this test looks by itself
    one.inbox._thread.join()  # type: ignore[union-attr]
    one.inbox._stop.clear()
    data, drop = path.read_bytes(), tmp_path / "drop" / "slow"

    def looked(seconds: float) -> int:
        now[0] += seconds
        one.inbox._take_dropped()
        return len(landed(one))

    drop.write_bytes(data[:500])
    assert looked(0) == 0 and looked(4) == 0
    drop.write_bytes(data)
    assert looked(4) == 0 and looked(4) == 0 and looked(4) == 1 and not drop.exists()


def test_state_is_for_json(tmp_path: Path, served: Opener) -> None:
    import json

    one = served()
    assert one.receive(instance(tmp_path / "a.dcm", noise((8, 8)), "Alpha")) == 0
    state: dict[str, Any] = one.until(lambda state: state["waiting"] == 1)
    assert json.loads(json.dumps(state)) == state and state["series"] == 1 and state["packing"] is None
