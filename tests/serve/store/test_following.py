"""The index follows the tree: what comes, changes, moves, goes and is damaged; it survives what is done to it."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers import damage, noise
from tests.serve.makers import instance, packed, study, uid
from volcomp.container.sections import KEPT, SLAB, SectionId
from volcomp.errors import DamagedError, MissingError, UnsupportedError
from volcomp.serve.settings import Settings
from volcomp.serve.store import TreeStore, open_store
from volcomp.serve.store.faults import ChangedError
from volcomp.serve.store.query import Level, Query

Opener = Callable[..., TreeStore]


def put(tmp_path: Path, name: str, archive: str, **elements: object) -> Path:
    """An archive of a study in the tree."""
    folder = tmp_path / "in" / archive
    study(folder, name, slices=2, **elements)
    made = packed(folder, tmp_path / "made" / archive)
    target = tmp_path / "root" / archive
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(made, target)  # at once, as all who know the tree do
    return target


def names(store: TreeStore) -> list[str]:
    """The names of the patients of all studies."""
    found = store.search(Query(Level.STUDIES)).results
    return sorted(one["00100010"]["Value"][0]["Alphabetic"] for one in found)


def test_what_comes_changes_moves_and_goes(tmp_path: Path, open_tree: Opener) -> None:
    store = open_tree()
    assert names(store) == [] and list(store.holdings()) == []
    first = put(tmp_path, "Alpha", "deep/er/a.vcz")
    put(tmp_path, "Beta", "b.vcz")
    store.refresh()
    assert names(store) == ["Alpha^Ann", "Beta^Ann"]
    assert [one.archive.name for one in store.holdings()] == ["b.vcz", "a.vcz"]
    (held,) = store.holdings(uid("Alpha"))
    assert held.archive == first and held.files == 2 and held.packed_bytes == first.stat().st_size
    assert held.raw_bytes == sum(path.stat().st_size for path in (tmp_path / "in" / "deep").rglob("*.dcm"))
    assert held.voxels == 2 * 16 * 16 and list(store.holdings(uid("Alpha"), "1.2")) == []
    before = store.instances(uid("Alpha"))[0]
    moved = tmp_path / "root" / "moved.vcz"
    first.rename(moved)
    assert store.file(before) == (tmp_path / "in/deep/er/a.vcz/series0/IM000.dcm").read_bytes()  # it is looked for
    store.refresh()
    assert store.instances(uid("Alpha"))[0].archive == moved
    put(tmp_path, "Alpha", "moved.vcz", PatientName="Renamed^Ann")
    store.refresh()
    assert names(store) == ["Beta^Ann", "Renamed^Ann"]
    moved.unlink()
    with pytest.raises(MissingError):
        store.file(before)
    store.refresh()
    assert names(store) == ["Beta^Ann"]
    with pytest.raises(MissingError):
        store.instances(uid("Alpha"))


def test_a_rename_reads_no_archive_again(tmp_path: Path, open_tree: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "Alpha", "a.vcz")
    store = open_tree()
    monkeypatch.setattr("volcomp.serve.store.following.read_archive", pytest.fail)
    (tmp_path / "root" / "a.vcz").rename(tmp_path / "root" / "z.vcz")
    store.refresh()
    assert store.instances(uid("Alpha"))[0].archive == tmp_path / "root" / "z.vcz"


def test_an_archive_that_is_replaced_is_read_anew(tmp_path: Path, open_tree: Opener) -> None:
    put(tmp_path, "Alpha", "a.vcz")
    store = open_tree()
    found = store.instances(uid("Alpha"))[0]
    old = store.file(found)
    put(tmp_path, "Alpha", "a.vcz", PatientName="Other^Ann")
    for read in (store.file, lambda one: store.metadata(one, str), lambda one: store.picture(one, 1)):
        with pytest.raises(ChangedError):  # before anyone has looked: what is known of it is not true of the new one
            read(found)
    (new,) = store.instances(found.study, found.series, found.sop)
    assert old != store.file(new) and b"Other^Ann" in store.file(new)
    assert names(store) == ["Other^Ann"] and len(store.instances(uid("Alpha"))) == 2


def test_damaged_archives_are_noted(tmp_path: Path, open_tree: Opener) -> None:
    root = tmp_path / "root"
    put(tmp_path, "Alpha", "a.vcz")
    (root / "text.vcz").write_text("no archive")
    (root / "cut.vcz").write_bytes((root / "a.vcz").read_bytes()[:-20])
    (root / "empty.vcz").touch()
    (root / "folder.vcz").mkdir()
    (root / "gone.vcz").symlink_to("nowhere")
    store = open_tree()
    assert names(store) == ["Alpha^Ann"]
    found = store.damaged()
    assert sorted(found) == ["cut.vcz", "empty.vcz", "text.vcz"]
    assert all(str(tmp_path) not in sentence for sentence in found.values()) and "cut short" in found["cut.vcz"]
    shutil.copy(root / "a.vcz", root / "cut.vcz")
    (root / "text.vcz").unlink()
    store.refresh()
    assert sorted(store.damaged()) == ["empty.vcz"] and len(store.instances(uid("Alpha"))) == 2


def test_damage_within_hurts_what_has_it(tmp_path: Path, open_tree: Opener) -> None:
    path = put(tmp_path, "Alpha", "a.vcz")
    damage(path, SectionId(SLAB, 0, 0))
    put(tmp_path, "Beta", "b.vcz")
    damage(tmp_path / "root" / "b.vcz", SectionId(KEPT, 0))
    store = open_tree()
    assert names(store) == ["Alpha^Ann"]  # the headers of the other are lost
    found = store.instances(uid("Alpha"))[0]
    assert store.metadata(found, str)["00280010"]["Value"] == [16]
    for read in (store.file, lambda one: store.frames(one, [1]), lambda one: store.picture(one, 1)):
        with pytest.raises(DamagedError) as raised:
            read(found)
        assert str(tmp_path) not in str(raised.value)


def test_an_archive_of_what_is_no_instance(tmp_path: Path, open_tree: Opener) -> None:
    folder = tmp_path / "in"
    instance(folder / "a.dcm", noise((8, 8)), "Alpha")
    instance(folder / "lacks.dcm", noise((8, 8)), "Alpha", StudyInstanceUID="")
    (folder / "notes.txt").write_text("no image")
    (folder / "void").touch()
    packed(folder, tmp_path / "root" / "a.vcz")
    store = open_tree()
    assert len(store.instances(uid("Alpha"))) == 1 and next(store.holdings()).files == 4 and not store.damaged()


def test_hidden_files_and_the_servers_own_are_passed_over(tmp_path: Path, open_tree: Opener) -> None:
    for name in (".hidden/a.vcz", ".a.vcz", ".volcomp/packing/x/a.vcz"):
        put(tmp_path, "Alpha", name)
    assert names(open_tree()) == []


def test_copies_are_one_instance(tmp_path: Path, open_tree: Opener) -> None:
    """The first by path answers, and another one where it goes; no search has it twice."""
    path = put(tmp_path, "Alpha", "m.vcz")
    store = open_tree()
    for name in ("a.vcz", "z.vcz"):
        shutil.copy(path, path.with_name(name))
    put(tmp_path, "Alpha", "other.vcz", PatientName="Other^Ann")  # the same UIDs
    store.refresh()
    for first in ("a.vcz", "m.vcz", "other.vcz", "z.vcz"):
        found = store.instances(uid("Alpha"))
        assert [one.archive.name for one in found if one.archive] == [first, first]
        assert len(store.search(Query(Level.INSTANCES)).results) == 2
        (one,) = store.search(Query(Level.STUDIES)).results
        assert one["00201208"]["Value"] == [2]
        assert names(store) == ["Other^Ann" if first == "other.vcz" else "Alpha^Ann"]
        assert [one.archive.name for one in store.holdings(uid("Alpha"))] == [first]
        path.with_name(first).unlink()
        store.refresh()
    assert names(store) == []


def test_a_name_that_is_no_text(tmp_path: Path, open_tree: Opener) -> None:
    odd = os.fsdecode(b"odd-\xff")
    path = instance(tmp_path / "in" / "a.dcm", noise((8, 8)), "Alpha")
    path.rename(path.with_name(f"{odd}.dcm"))
    made = packed(tmp_path / "in", tmp_path / "made.vcz")
    (tmp_path / "root" / odd).mkdir()
    made.rename(tmp_path / "root" / odd / f"{odd}.vcz")
    store = open_tree()
    (found,) = store.instances(uid("Alpha"))
    assert found.name == f"{odd}.dcm" and store.file(found) == (tmp_path / "in" / f"{odd}.dcm").read_bytes()


def test_the_index_belongs_to_its_owner(tmp_path: Path, open_tree: Opener) -> None:
    open_tree()
    own = tmp_path / "root" / ".volcomp"
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    for name in ("index.sqlite", "index.sqlite-wal"):
        assert stat.S_IMODE((own / name).stat().st_mode) == 0o600


@pytest.mark.parametrize("what", ["deleted", "rubbish", "cut", "version", "empty", "table"])
def test_an_index_that_was_touched_is_made_anew(tmp_path: Path, open_tree: Opener, what: str) -> None:
    put(tmp_path, "Alpha", "a.vcz")
    open_tree().close()
    path = tmp_path / "root" / ".volcomp" / "index.sqlite"
    spoil(path, what)
    store = open_tree()
    assert names(store) == ["Alpha^Ann"] and len(store.file(store.instances(uid("Alpha"))[0])) > 1000


def spoil(path: Path, what: str) -> None:
    """Do something to an index."""
    if what == "deleted":
        path.unlink()
    elif what == "rubbish":
        path.write_bytes(b"\xa5" * 40_000)
    elif what == "cut":
        path.write_bytes(path.read_bytes()[:9000])
    elif what == "empty":
        path.write_bytes(b"")
    else:
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA user_version = 99" if what == "version" else "DROP TABLE studies")
        connection.commit()
        connection.close()


def test_an_index_that_vanishes_under_the_server(tmp_path: Path, open_tree: Opener) -> None:
    put(tmp_path, "Alpha", "a.vcz")
    store = open_tree()
    for path in (tmp_path / "root" / ".volcomp").glob("index.sqlite*"):
        path.unlink()
    put(tmp_path, "Beta", "b.vcz")
    store.refresh()
    assert names(store) == ["Alpha^Ann", "Beta^Ann"]
    assert (tmp_path / "root" / ".volcomp" / "index.sqlite").exists()


def test_several_stores_of_a_tree(tmp_path: Path, open_tree: Opener) -> None:
    first, second = open_tree(), open_tree()
    put(tmp_path, "Alpha", "a.vcz")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda store: store.refresh(), [first, second] * 8))
    assert names(first) == names(second) == ["Alpha^Ann"]
    put(tmp_path, "Alpha", "a.vcz", PatientName="Other^Ann")
    first.refresh()
    found = second.instances(uid("Alpha"))[0]
    assert b"Other^Ann" in second.file(found) and second.frames(found, [1]).frames


def test_processes_share_an_index(tmp_path: Path, open_tree: Opener) -> None:
    """Three that look, search and forget at once, while the tree changes."""
    put(tmp_path, "Alpha", "a.vcz")
    code = (
        "import sys, pathlib\n"
        "from volcomp.serve.settings import Settings\n"
        "from volcomp.serve.store import open_store\n"
        "from volcomp.serve.store.query import Level, Query\n"
        "store = open_store(Settings(pathlib.Path(sys.argv[1])), follow=False)\n"
        "for _ in range(40):\n"
        "    store.refresh()\n"
        "    found = [one['00080018']['Value'][0] for one in store.search(Query(Level.INSTANCES)).results]\n"
        "    assert len(found) == len(set(found)) >= 2, found\n"
        "store.close()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "root")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for k in range(6):
        put(tmp_path, f"More{k}", f"{k}.vcz")
        shutil.copy(tmp_path / "root" / f"{k}.vcz", tmp_path / "root" / f"copy-{k}.vcz")
    errors = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], errors
    store = open_tree()
    assert len(names(store)) == 7
    with sqlite3.connect(tmp_path / "root" / ".volcomp" / "index.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_it_follows_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volcomp.serve.store.tree_store._EVERY", 0.01)
    (tmp_path / "root").mkdir()
    store = open_store(Settings(tmp_path / "root"))
    try:
        put(tmp_path, "Alpha", "a.vcz")
        waited = threading.Event()
        for _ in range(60_000):
            if names(store):
                break
            waited.wait(0.02)
        assert names(store) == ["Alpha^Ann"]
    finally:
        store.close()


def test_a_tree_that_cannot_be_written(tmp_path: Path, open_tree: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is in a temporary folder then. (The superuser may write everywhere, so that the refusal is made up.)"""
    put(tmp_path, "Alpha", "a.vcz")

    def refused(*args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    store = open_tree()
    monkeypatch.undo()
    assert names(store) == ["Alpha^Ann"] and not (tmp_path / "root" / ".volcomp").exists()


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="is no folder"):
        open_store(Settings(tmp_path / "nowhere"))


def test_who_reads_waits_not_long_for_a_look(
    tmp_path: Path, open_tree: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tree of many new archives is looked at for minutes; what is gone is told meanwhile."""
    monkeypatch.setattr("volcomp.serve.store.catalogue._PATIENCE", 0.05)
    path = put(tmp_path, "Alpha", "a.vcz")
    first, second = open_tree(), open_tree()
    found = first.instances(uid("Alpha"))[0]
    path.unlink()
    for looking in (first, second):  # in the same process, and as if in another one
        with looking._follower._alone(None) as alone:
            assert alone
            with pytest.raises(MissingError):
                first.file(found)
    first.refresh()
    assert names(first) == []
