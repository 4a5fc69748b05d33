"""Parts of archives: slices, what a salvage finds; and archives that are made to mislead."""

import io
import os

import numpy as np
import pytest

import volcomp
from tests.archive.forge import EMPTY, forged, forged_old, note
from tests.archive.legacy_writer import OldEntry, OldManifest
from tests.helpers import ONE, compress, contents, damage, series
from volcomp import DamagedError, UnsupportedError
from volcomp.archive.entry import Entry, Kind
from volcomp.archive.restore import restore, verify
from volcomp.archive.tree import check_names
from volcomp.codec import decode as decoding
from volcomp.container.sections import (
    FORMAT_VERSION,
    KEPT,
    LISTING,
    SLAB,
    VOLUME_HEADER,
    Reader,
    SectionId,
    Writer,
)


@pytest.fixture(scope="module")
def long_series(tmp_path_factory, low_slabs):
    """40 slices in two slabs, a text file, an empty folder; and their archive."""
    folder = tmp_path_factory.mktemp("long")
    series(folder / "in", 40, size=6)
    (folder / "in" / "note.txt").write_text("note")
    (folder / "in" / "hollow").mkdir()
    compress([folder / "in"], folder / "x.vcz")
    return folder / "in", folder / "x.vcz"


def test_slices_restore_the_files_that_hold_them(long_series, tmp_path):
    folder, archive = long_series
    restore(archive, tmp_path / "out", slices=slice(18, 22), options=ONE)
    expected = {f"IM{40 - z:04d}.dcm" for z in range(18, 22)}
    assert contents(tmp_path / "out") == {name: contents(folder)[name] for name in expected}
    with pytest.raises(UnsupportedError, match="no volume has the slices"):
        restore(archive, tmp_path / "none", slices=slice(40, 50))
    assert not (tmp_path / "none").exists()


def test_slices_decode_only_their_slab(long_series, tmp_path, monkeypatch):
    decode, asked = decoding.decode_slabs, []
    monkeypatch.setattr(decoding, "decode_slabs", lambda header, payloads, *arguments, **options: (
        asked.extend(payloads) or decode(header, payloads, *arguments, **options)))  # fmt: skip
    restore(long_series[1], tmp_path / "out", slices=slice(20, 21), options=ONE)
    volcomp.decompress(long_series[1], slices=slice(0, 20), threads=1)
    assert asked == [1, 0]


def test_slices_need_only_their_slab(long_series, tmp_path):
    archive = tmp_path / "x.vcz"
    archive.write_bytes(long_series[1].read_bytes())
    damage(archive, SectionId(SLAB, 0, 0))
    restore(archive, tmp_path / "out", slices=slice(20, 21), options=ONE)
    with pytest.raises(DamagedError, match=r"x\.vcz: slab 0 of volume 0"):
        restore(archive, tmp_path / "other", slices=slice(19, 21), options=ONE)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("section", "lost"),
    [
        (SectionId(SLAB, 0, 1), {f"IM{n:04d}.dcm" for n in range(1, 21)}),
        (SectionId(b"VHDR", 0), {f"IM{n:04d}.dcm" for n in range(1, 41)}),
        (SectionId(KEPT, 0), {f"IM{n:04d}.dcm" for n in range(1, 41)}),
        (SectionId(b"BLOB", 0), {"note.txt"}),
    ],
)
def test_salvage_restores_what_is_undamaged(long_series, tmp_path, section, lost):
    folder, original = long_series
    archive = tmp_path / "x.vcz"
    archive.write_bytes(original.read_bytes())
    damage(archive, section)
    with pytest.raises(DamagedError):
        verify(archive, options=ONE)
    with pytest.raises(DamagedError):
        restore(archive, tmp_path / "out", options=ONE)
    assert sorted(os.listdir(tmp_path)) == ["x.vcz"]
    for cut in (0, 3):  # with the index, and without
        archive.write_bytes(archive.read_bytes()[: -cut or None])
        outcome = restore(archive, tmp_path / f"out{cut}", salvage=True, options=ONE)
        expected = {name: data for name, data in contents(folder).items() if name not in lost}
        assert contents(tmp_path / f"out{cut}") == expected
        assert {sentence.split(" (")[0] for sentence in outcome.lost} == lost
        assert (outcome.damage is None) == (cut == 0)
        if section.tag == SLAB:
            assert outcome.lost[0].startswith("IM0020.dcm (slice 20 of volume 0): slab 1 of volume 0 is ")


def test_salvage_without_a_list(long_series, tmp_path):
    """The first list has the images, the second one the text."""
    archive = tmp_path / "x.vcz"
    archive.write_bytes(long_series[1].read_bytes())
    damage(archive, SectionId(LISTING, 1))
    for cut in (0, 1):
        archive.write_bytes(archive.read_bytes()[: -cut or None])
        outcome = restore(archive, tmp_path / f"out{cut}", salvage=True, options=ONE)
        assert outcome.files == 40 and not (tmp_path / f"out{cut}" / "note.txt").exists()
        if not cut:  # without an index nothing tells that there was a second list
            assert "list of files 1 is damaged" in outcome.lost[0]
    archive.write_bytes(long_series[1].read_bytes())
    damage(archive, SectionId(LISTING, 0))
    damage(archive, SectionId(LISTING, 1))
    with pytest.raises(DamagedError, match="list of files 0 is damaged"):
        restore(archive, tmp_path / "out", salvage=True)
    archive.write_bytes(archive.read_bytes()[:-1])
    with pytest.raises(DamagedError, match="no list of files is left"):
        restore(archive, tmp_path / "out", salvage=True)


def test_every_cut_and_every_changed_byte(tmp_path):
    """Any damage to an archive is an error of ours, and leaves nothing behind."""
    folder = series(tmp_path / "in", 2, size=3)
    (folder / "note").write_text("note")
    (folder / "link").symlink_to("note")
    archive, target = tmp_path / "x.vcz", tmp_path / "out"
    compress([folder], archive)
    data = archive.read_bytes()
    before = sorted(os.listdir(tmp_path))
    changed = [data[:i] for i in range(0, len(data), 5)]
    changed += [data[:i] + bytes([data[i] ^ 0x41]) + data[i + 1 :] for i in range(len(data))]
    for damaged in changed:
        archive.write_bytes(damaged)
        with pytest.raises(DamagedError) as error:
            restore(archive, target, options=ONE)
        assert str(error.value).startswith(f"{archive}: ") and "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "a//b", "", ".", "a/.", "nul\0", "x" * 5000])
def test_names_that_lead_outside_are_refused(tmp_path, name):
    path = tmp_path / "forged.vcz"
    for entries in (
        [note(name)],
        [note(), Entry(name, Kind.FOLDER)],
        [note(), Entry(name, Kind.LINK, note="note")],
    ):
        for salvage in (False, True):
            with pytest.raises(DamagedError, match="nothing was restored"):
                restore(forged(path, entries), tmp_path / "out", salvage=salvage)
    old = OldEntry(name, 0, EMPTY)
    for manifest in (OldManifest(whole=[old]), OldManifest(whole=[OldEntry("n", 0, EMPTY)], folders=[name])):
        with pytest.raises(DamagedError, match="nothing was restored"):
            restore(forged_old(path, manifest), tmp_path / "out")
    if name:
        with pytest.raises(DamagedError):
            restore(forged(path, [note()], root=name))
        with pytest.raises(DamagedError):
            restore(forged_old(path, OldManifest(root=name, whole=[OldEntry("n", 0, EMPTY)])))
    assert os.listdir(tmp_path) == ["forged.vcz"]


@pytest.mark.parametrize("names", [["a", "a"], ["a", "a/b"], ["a/b", "x", "a"], ["a/b", "a/b/c/d"], ["a", "a-", "a/b"]])
def test_names_that_cannot_exist_together_are_refused(names):
    with pytest.raises(DamagedError, match=r"two files|both as a file and as a folder"):
        check_names(names, [])
    check_names(["a", "a-", "a.b", "b/a", "b/c"], ["c"])


@pytest.mark.parametrize(
    ("files", "folders"),
    [(["a"], ["a"]), (["a"], ["a/b"]), (["a/b", "a"], []), ([], ["a", "a"]), (["a", "b"], ["b/c"])],
)
def test_folders_exclude_files_of_their_names(files, folders):
    with pytest.raises(DamagedError, match=r"two files|both as a file and as a folder"):
        check_names(files, folders)
    check_names(["a/b", "a/c"], ["a", "a/d"])


def test_memory_is_bounded_by_what_is_there(tmp_path):
    """A volume header that claims a shape far beyond its slabs is refused before anything is allocated for it."""
    reader = Reader(io.BytesIO(volcomp.compress(np.zeros((4, 4, 4), "u2"))))
    header, slab = reader.read(SectionId(b"VHDR", 0)), reader.read(SectionId(SLAB, 0, 0))
    at = header.index(b"\x04\x04\x04\x01")  # z, y, x, slabs
    lying = header[:at] + b"\xff\xff\x03\x04\x04\xff\xff\x01" + header[at + 4 :]
    with pytest.raises(DamagedError, match="volume 0 has 1 slabs where its header says 32767"):
        volcomp.decompress(forged(tmp_path / "x.vcz", VHDR=lying, SLAB=slab))


def test_a_digest_of_a_volume_that_does_not_fit_is_noticed(tmp_path):
    """Its files are sound, but reading it as an array would fail."""
    compress([series(tmp_path / "in", 3)], tmp_path / "x.vcz")
    header = SectionId(VOLUME_HEADER, 0)
    with (tmp_path / "x.vcz").open("rb") as file, (tmp_path / "y.vcz").open("wb") as output:
        reader, writer = Reader(file), Writer(output, FORMAT_VERSION)
        for section in reader.places:
            payload = bytearray(reader.read(section))
            payload[5] ^= section == header
            writer.add(section, bytes(payload))
        writer.finish()
    verify(tmp_path / "x.vcz")
    with pytest.raises(DamagedError, match="the SHA-256 of its voxels does not fit"):
        verify(tmp_path / "y.vcz")
