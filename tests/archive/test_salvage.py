"""Wherever an archive is cut or overwritten, the files that lie elsewhere come back, with their names."""

import hashlib
import io
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.archive.forge import blob, forged, note
from tests.helpers import ONE, compress, contents, image, noise, series
from volcomp import DamagedError, UnsupportedError
from volcomp.archive import bytes_codec, header_reader, images, listing, whole
from volcomp.archive.entry import Kind, Stored, Voxels
from volcomp.archive.restore import restore, verify
from volcomp.container.sections import BLOB, KEPT, LISTING, SLAB, VOLUME_HEADER, Reader, SectionId
from volcomp.container.volume import read_volume


@pytest.fixture(scope="module")
def groups(tmp_path_factory, low_slabs):
    """An archive of several lists: two series, one in two slabs, a copy, other headers, texts, links, folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "_ENOUGH_KEPT", 1)
        patch.setattr(whole, "MAX_ROWS", 2)
        folder = tmp_path_factory.mktemp("groups") / "in"
        series(folder / "a", 21, size=3)
        image(folder / "b" / "one", noise((5, 4)), series="1.2.8")
        image(folder / "b" / "two", noise((3, 5, 4), seed=7), series="1.2.9")
        shutil.copy(folder / "a" / "IM0003.dcm", folder / "b" / "copy")
        image(folder / "b" / "other", noise((5, 4)), series="1.2.7")
        for number in range(5):
            (folder / f"note{number}").write_text(f"note {number}" * number)
        (folder / "link").symlink_to("note1")
        (folder / "hollow").mkdir()
        archive = folder.parent / "x.vcz"
        compress([folder], archive)
    return contents(folder), archive.read_bytes()


def needed(data):
    """What every entry needs, by its name: the sections that hold its name and its bytes."""
    reader = Reader(io.BytesIO(data))
    found = {}
    for section in reader.places:
        if section.tag != LISTING:
            continue
        for entry in listing.decode(reader.read(section), "list")[1]:
            sections, place = {section}, entry.place
            if isinstance(place, Voxels):
                sections.add(SectionId(KEPT, place.table))
                for number in range(place.volume, place.volume + place.planes):
                    slabs = read_volume(reader, number).layout.slabs
                    held = {k for k, (a, b) in enumerate(slabs) if a < place.end and place.first < b}
                    sections |= {SectionId(VOLUME_HEADER, number)} | {SectionId(SLAB, number, k) for k in held}
            elif isinstance(place, Stored) and place.size:
                first, last = place.start // whole.CHUNK_BYTES, (place.start + place.size - 1) // whole.CHUNK_BYTES
                sections |= {SectionId(BLOB, k) for k in range(first, last + 1)}
            found[entry.name] = (entry.kind, sections)
    return found, reader.places


def restored(data, folder: Path):
    """What a salvage restores of `data`; nothing where it says that no file can be."""
    archive = folder / "cut.vcz"
    archive.write_bytes(data)
    target = folder / "out"
    try:
        restore(archive, target, salvage=True, options=ONE)
    except DamagedError:
        assert not target.exists()
        return {}
    found = contents(target)
    shutil.rmtree(target)
    return found


def expected(original, needs, sound):
    """What must come back where these sections are sound."""
    names = [name for name, (_, sections) in needs.items() if sections <= sound]
    if not any(needs[name][0] == Kind.FILE for name in names):
        return {}
    return {name: original[name] for name in names}


def checked(found, wanted, needs):
    """Compare; folders of lost files may be there."""
    folders = {name for name, value in found.items() if value is None}
    assert {name: value for name, value in found.items() if value is not None or name in wanted} == wanted
    assert folders <= {name for name, (kind, _) in needs.items() if kind == Kind.FOLDER}


def test_an_archive_has_several_lists(groups):
    original, data = groups
    needs, places = needed(data)
    assert needs.keys() == original.keys()
    assert sum(section.tag == LISTING for section in places) >= 6
    assert len(data) < 6000


def cuts(places, step):
    """Where each section ends, the bytes around it, and every `step`-th byte."""
    ends = [place.offset + place.length + i for place in places.values() for i in (-1, 0, 1)]
    end = max(place.offset + place.length for place in places.values())
    return sorted({*ends, *range(0, end + 40, step)})


@pytest.mark.parametrize("step", [61, pytest.param(7, marks=pytest.mark.long)])  # 1 was done once
def test_a_cut_archive_keeps_what_is_before_the_cut(groups, tmp_path, step):
    original, data = groups
    needs, places = needed(data)
    for end in cuts(places, step):
        sound = {section for section, place in places.items() if place.offset + place.length <= end}
        found = restored(data[:end], tmp_path)
        checked(found, expected(original, needs, sound), needs)


@pytest.mark.parametrize("count", [120, pytest.param(600, marks=pytest.mark.long)])
def test_an_overwritten_archive_keeps_what_is_elsewhere(groups, tmp_path, count):
    """One to three stretches of rubbish, zeros, or of the archive itself; with and without the index."""
    original, data = groups
    needs, places = needed(data)
    random = np.random.default_rng(count)
    for _ in range(count):
        damaged, itself = bytearray(data), random.integers(3) == 0
        for _ in range(random.integers(1, 4)):
            length = int(random.choice([1, 4, 30, 300, 1000]))
            at, source = random.integers(0, len(data) - length, 2)
            rubbish = (random.bytes(length), bytes(length))[random.integers(2)]
            damaged[at : at + length] = data[source : source + length] if itself else rubbish
        damaged = bytes(damaged)
        sound = {
            section
            for section, place in places.items()
            if damaged[place.offset : place.offset + place.length] == data[place.offset : place.offset + place.length]
        }
        found, wanted = restored(damaged, tmp_path), expected(original, needs, sound)
        if itself:  # a section may have a copy elsewhere by now
            assert all(found[name] == value for name, value in wanted.items())
            assert found == {name: original[name] for name in found}
        else:
            checked(found, wanted, needs)


def test_files_across_chunks_come_back_where_all_their_chunks_do(tmp_path, monkeypatch):
    for module in (whole, bytes_codec, header_reader):
        monkeypatch.setattr(module, "CHUNK_BYTES", 600)
    folder = tmp_path / "in"
    folder.mkdir()
    for i, size in enumerate([600, 0, 588, 12, 1440, 84, 1200, 2400]):  # some end where a chunk does
        (folder / str(i)).write_bytes(np.random.default_rng(i).bytes(size))
    monkeypatch.setattr(whole, "MAX_ROWS", 1)
    compress([folder], tmp_path / "x.vcz")
    original, data = contents(folder), (tmp_path / "x.vcz").read_bytes()
    needs, places = needed(data)
    assert sum(section.tag == BLOB for section in places) == 11
    order = list(places)
    for name, (_, sections) in needs.items():  # a file whose bytes are before a cut has its name before it too
        if len(original[name]):
            assert min(map(order.index, sections)) < max(
                i for i, s in enumerate(order) if s in sections and s.tag == BLOB
            )
            assert max(sections, key=order.index).tag == BLOB
    for end in cuts(places, 101):
        sound = {section for section, place in places.items() if place.offset + place.length <= end}
        checked(restored(data[:end], tmp_path), expected(original, needs, sound), needs)


def stored_archive(tmp_path, inner, size):
    """An archive that holds `inner` and other files, with the BLOB's head or body damaged and without an index."""
    folder = tmp_path / "outer"
    folder.mkdir()
    shutil.copy(inner, folder / "inner.vcz")
    (folder / "zz").write_bytes(np.random.default_rng(1).bytes(size))
    series(folder / "ct", 2)
    compress([folder], tmp_path / "outer.vcz")
    data = bytearray((tmp_path / "outer.vcz").read_bytes())
    data[data.index(b"BLOB") + 6] ^= 1
    return {name: value for name, value in contents(folder).items() if name.startswith("ct")}, bytes(data[:-2])


@pytest.mark.parametrize("old", [False, True])
def test_an_archive_in_an_archive_does_not_pass_for_the_outer_one(groups, tmp_path, old):
    """Its lists, or its manifest of the old kind, come to light where the outer BLOB is damaged."""
    inner = tmp_path / "inner.vcz"
    if old:
        inner.write_bytes((Path(__file__).parent / "golden" / "0.9.0-archive.vcz").read_bytes())
    else:
        inner.write_bytes(groups[1])
    wanted, damaged = stored_archive(tmp_path, inner, 5000)
    assert b"MANI" in damaged if old else damaged.count(b"LIST") > 2
    for data in (damaged, bytes(8) + damaged[8:]):  # without a signature as well
        assert restored(data, tmp_path) == wanted


def test_unknown_ways_of_later_versions_are_passed_over(tmp_path):
    """A body codec or a packing that this version does not know is no reason to lose other files."""
    sound, packed = note("sound", b"sound"), note("packed", b"packed", 5, place=Stored(5, 6, 9))
    archive = forged(tmp_path / "x.vcz", [sound, packed], BLOB=blob(b"soundpacked"))
    for function in (verify, restore):
        with pytest.raises(UnsupportedError, match="upgrade volcomp"):
            function(archive, **({"target": tmp_path / "out"} if function is restore else {}))
    outcome = restore(archive, tmp_path / "out", salvage=True)
    assert contents(tmp_path / "out") == {"sound": b"sound"}
    assert outcome.lost[0].startswith("packed (stored files): it is packed in the unknown way 9")


def test_a_lost_list_is_said_to_be(groups, tmp_path):
    """Where a later one is left."""
    original, data = groups
    _, places = needed(data)
    place = places[SectionId(LISTING, 1)]
    damaged = data[: place.offset + 20] + b"\xff" + data[place.offset + 21 : -1]
    (tmp_path / "x.vcz").write_bytes(damaged)
    outcome = restore(tmp_path / "x.vcz", tmp_path / "out", salvage=True, options=ONE)
    assert "a list of files is missing" in outcome.lost[-1]
    assert (
        hashlib.sha256((tmp_path / "out" / "note1").read_bytes()).digest() == hashlib.sha256(original["note1"]).digest()
    )
