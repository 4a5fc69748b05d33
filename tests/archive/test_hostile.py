"""Archives that were made to mislead: sound to their checksums, false in what they say."""

import io
import os
import shutil
import tracemalloc
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import volcomp
from tests.archive.forge import blob, forged, note, relist
from tests.helpers import ONE, compress, contents, image, noise, series
from volcomp import DamagedError, TargetError, UnsupportedError, VolcompError
from volcomp.archive import listing
from volcomp.archive.describe import describe
from volcomp.archive.entry import Entry, Kind, Stored, Voxels
from volcomp.archive.restore import _passes, restore, verify
from volcomp.bodies.planes import TYPES, Map
from volcomp.bodies.planes import Kind as MapKind
from volcomp.bodies.protocol import Kept
from volcomp.bodies.registry import BODIES, body
from volcomp.container.sections import FORMAT_VERSION, LISTING, SLAB, VOLUME_HEADER, Reader, SectionId, Writer
from volcomp.wire.cursor import varint


def refused(archive, target, kind=DamagedError):
    """Every way of reading says what is wrong, and leaves nothing; returns what a salvage restores."""
    for read in (
        lambda: restore(archive, target, options=ONE),
        lambda: verify(archive, options=ONE),
    ):
        with pytest.raises(kind) as error:
            read()
        assert str(error.value).startswith(str(archive)) and "\n" not in str(error.value)
    with suppress(VolcompError):
        describe(archive)
    with suppress(VolcompError):
        restore(archive, target, salvage=True, options=ONE)
    found = contents(target) if target.exists() else {}
    shutil.rmtree(target, ignore_errors=True)
    assert os.listdir(target.parent) == [archive.name]
    return found


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, low_slabs):
    """An archive of a series in two slabs, a multi-frame image and a text."""
    folder = tmp_path_factory.mktemp("mixed")
    series(folder / "in" / "ct", 21, size=4)
    image(folder / "in" / "frames", noise((3, 5, 5)), series="1.9")
    (folder / "in" / "note").write_text("note")
    compress([folder / "in"], folder / "x.vcz")
    return folder / "x.vcz"


BIG = (1 << 20, 1 << 33, 1 << 60)


@pytest.mark.parametrize("field", ["volume", "first", "frames", "table", "row", "before", "side", "body", "planes"])
def test_images_that_are_elsewhere(mixed, tmp_path, field):
    """One number of one image is another: beyond the archive, or that of something else."""
    restore(mixed, tmp_path / "truth", options=ONE)
    truth = contents(tmp_path / "truth")
    shutil.rmtree(tmp_path / "truth")
    for which, value in [(20, 2), (21, 21), (21, 1), *((0, value) for value in ((3, 8) if field == "planes" else BIG))]:

        def change(entries, which=which, value=value):
            files = [entry for entry in entries if entry.kind == Kind.FILE]
            place = replace(files[which].place, **{field: value})
            changed = replace(files[which], place=place)
            if place == files[which].place:
                changed = replace(changed, sha256=bytes(32))
            return [changed if entry is files[which] else entry for entry in entries]

        if field == "planes" and value == 21:
            continue  # refused with the list; see tests of lists
        archive = relist(mixed, change, tmp_path / "x.vcz")
        found = refused(archive, tmp_path / "out", (DamagedError, UnsupportedError))
        assert found == {name: truth[name] for name in found}


@pytest.mark.parametrize("number", [max(BODIES) + 1, 200, 1 << 60])
def test_unknown_bodies_need_a_newer_version(mixed, tmp_path, number):
    archive = relist(
        mixed,
        lambda entries: [
            replace(e, place=replace(e.place, body=number)) if isinstance(e.place, Voxels) else e for e in entries
        ],
        tmp_path / "x.vcz",
    )
    with pytest.raises(UnsupportedError, match="unknown body codec"):
        restore(archive, tmp_path / "out", options=ONE)
    outcome = restore(archive, tmp_path / "out", salvage=True, options=ONE)
    assert contents(tmp_path / "out").keys() == {"ct", "note"} and len(outcome.lost) == 22


def test_files_beyond_what_is_stored(tmp_path):
    for place in (Stored(0, 5), Stored(3, 2), Stored(1 << 60, 1), Stored(1 << 25, 1), Stored(0, 1 << 60)):
        archive = forged(
            tmp_path / "x.vcz", [note("a", b"1234"), note("b", place=place, size=place.size)], BLOB=blob(b"1234")
        )
        refused(archive, tmp_path / "out")


def test_a_file_that_is_shorter_than_its_place_costs_no_more_than_it_says(tmp_path):
    entry = note("a", b"", place=Stored(0, 1 << 24))
    refused(forged(tmp_path / "x.vcz", [entry], BLOB=blob(bytes(1 << 24))), tmp_path / "out")


def test_names_of_several_lists_are_checked_together(tmp_path):
    for lists in (
        ([note("a")], [note("a")]),
        ([note("a")], [note("a/b")]),
        ([Entry("a", Kind.LINK, note="..")], [note("a/b")]),
        ([Entry("a", Kind.LINK, note="/etc")], [Entry("a/b", Kind.FOLDER)]),
        ([Entry("a", Kind.LINK, note="b")], [Entry("a", Kind.FOLDER)]),
    ):
        with pytest.raises(DamagedError, match=r"two files|as a file and as a folder"):
            restore(forged(tmp_path / "x.vcz", *lists), tmp_path / "out")
        assert os.listdir(tmp_path) == ["x.vcz"]


def test_nothing_is_written_through_a_link(tmp_path):
    """Links that lead outside come back as they were, and no file goes through them, whatever the order."""
    (tmp_path / "outside").mkdir()
    entries = [
        Entry("link", Kind.LINK, note="../outside"),
        Entry("folder", Kind.FOLDER),
        Entry("folder/up", Kind.LINK, note="../../outside", mtime=5, mode=0),
        note("link2", b"text"),
    ]
    for order in (entries, entries[::-1]):
        target = tmp_path / f"out{len(os.listdir(tmp_path))}"
        restore(forged(tmp_path / "x.vcz", order, BLOB=blob(b"text")), target)
        assert contents(target) == {
            "link": "../outside",
            "folder": None,
            "folder/up": "../../outside",
            "link2": b"text",
        }
        assert (tmp_path / "outside").stat().st_mode & 0o777 != 0
    assert os.listdir(tmp_path / "outside") == []
    # Over an earlier restoration the links are replaced, and not followed.
    restore(tmp_path / "x.vcz", target, force=True)
    assert os.listdir(tmp_path / "outside") == []
    # Nor by another archive, which has a folder of that name.
    for inner in (note("link/inside"), Entry("link/inside", Kind.FOLDER)):
        with pytest.raises(TargetError, match="is a link where the archive has a folder"):
            restore(forged(tmp_path / "x.vcz", [Entry("link", Kind.FOLDER, mode=0), inner]), target, force=True)
    assert os.listdir(tmp_path / "outside") == [] and (tmp_path / "outside").stat().st_mode & 0o777 != 0


def test_a_list_that_is_missing(tmp_path):
    """Numbers leave one out: an adversary's work, since the index is right."""
    path = tmp_path / "x.vcz"
    for numbers in ([1], [0, 2], [0, (1 << 62)]):
        with path.open("wb") as file:
            writer = Writer(file, FORMAT_VERSION)
            for number in numbers:
                writer.add(SectionId(LISTING, number), listing.encode("r", [note(f"n{number}")]))
            writer.finish()
        with pytest.raises(DamagedError, match="a list of files is missing"):
            restore(path, tmp_path / "out")


def test_a_new_archive_needs_a_list(tmp_path):
    with pytest.raises(UnsupportedError, match="it holds an array and no files"):
        restore(forged(tmp_path / "x.vcz", MANI=b""), tmp_path / "out")


@pytest.mark.parametrize("target", ["", "a\0b"])
def test_links_to_what_cannot_be(tmp_path, target):
    archive = forged(tmp_path / "x.vcz", [note(), Entry("link", Kind.LINK, note=target)])
    assert refused(archive, tmp_path / "out") == {}


# ------------------------------------------------------------------------------------------------------------- planes


def archive_of(path, volumes, entries, kept):
    """An archive of these arrays as volumes 0, 1, …, and of records of kept bytes."""
    from volcomp.archive.bytes_codec import pack_table
    from volcomp.archive.table import encode_table

    with path.open("wb") as file:
        writer = Writer(file, FORMAT_VERSION)
        writer.add(SectionId(b"KEEP"), pack_table(encode_table([kept])))
        writer.add(SectionId(LISTING), listing.encode("r", entries))
        for number, voxels in enumerate(volumes):
            reader = Reader(io.BytesIO(volcomp.compress(voxels, threads=1)))
            for section in reader.places:
                writer.add(SectionId(section.tag, number, section.minor), reader.read(section))
        writer.finish()
    return path


COLOUR = Map(MapKind.COLOUR, np.dtype("u1"), 3).encoded()


def planes_of(*shapes, dtype="u1"):
    return [noise(shape, dtype, 0, 99) for shape in shapes]


@pytest.mark.parametrize(
    ("volumes", "side"),
    [
        (planes_of((3, 4, 5), (3, 4, 5), (3, 5, 4)), COLOUR + b"\0\0"),  # of another shape
        (planes_of((3, 4, 5), (3, 4, 5), (2, 4, 5)), COLOUR + b"\0\0"),  # of another depth
        (planes_of((3, 4, 5), (3, 4, 5)), COLOUR + b"\0\0"),  # one is missing
        (planes_of((3, 4, 5), (3, 4, 5), (3, 4, 5), dtype="u2"), COLOUR + b"\0\0"),  # of another type
        (planes_of((3, 4, 5), (3, 4, 5), (3, 4, 5)), b""),
        (planes_of((3, 4, 5), (3, 4, 5), (3, 4, 5)), COLOUR),
        (planes_of((3, 4, 5), (3, 4, 5), (3, 4, 5)), COLOUR + b"\0\0\0"),
        (planes_of((3, 4, 5), (3, 4, 5), (3, 4, 5)), COLOUR + b"\x08\0"),  # an unknown flag
        (planes_of((3, 1, 1), (3, 1, 1), (3, 1, 1)), COLOUR + b"\x04\0"),  # an odd number of bytes, in pairs
        (planes_of((3, 4, 5), (3, 4, 5), (3, 4, 5)), COLOUR + b"\0\xff\xff\x7f"),  # more missing than may be
        (planes_of((3, 4, 5), (3, 4, 5), (3, 4, 5)), Map(MapKind.SAME, np.dtype("u1"), 2).encoded() + b"\0\0"),
    ],
)
def test_planes_that_contradict_each_other_or_what_is_kept(tmp_path, volumes, side):
    entry = Entry("x", size=180, sha256=bytes(32), place=Voxels(0, 0, 3, 0, 0, 0, len(side), 2, len(volumes)))
    refused(archive_of(tmp_path / "x.vcz", volumes, [entry], [side]), tmp_path / "out")


def test_planes_in_other_slabs(tmp_path, monkeypatch):
    """Of one shape: blocks of the planes would not be of one height."""
    voxels = noise((40, 4, 5), "u1", 0, 99)
    data = []
    for height in (48, 20):
        monkeypatch.setattr("volcomp.codec.encode.SLAB_HEIGHT", height)
        reader = Reader(io.BytesIO(volcomp.compress(voxels, threads=1)))
        data.append({section: reader.read(section) for section in reader.places})
    assert [sum(section.tag == SLAB for section in sections) for sections in data] == [1, 2]
    monkeypatch.undo()
    side = Map(MapKind.SAME, np.dtype("u1"), 2).encoded() + b"\0\0"
    entry = Entry("x", size=1600, sha256=bytes(32), place=Voxels(0, 0, 40, 0, 0, 0, len(side), 2, 2))
    path = archive_of(tmp_path / "y.vcz", [], [entry], [side])
    with path.open("rb") as file, (tmp_path / "x.vcz").open("wb") as output:
        reader, writer = Reader(file), Writer(output, FORMAT_VERSION)
        for section in reader.places:
            writer.add(section, reader.read(section))
        for number, sections in enumerate(data):
            for section, payload in sections.items():
                writer.add(SectionId(section.tag, number, section.minor), payload)
        writer.finish()
    path.unlink()
    refused(tmp_path / "x.vcz", tmp_path / "out")


def test_images_of_one_volume_with_several_numbers_of_planes(tmp_path):
    side = Map(MapKind.SAME, np.dtype("u1"), 2).encoded() + b"\0\0"
    entries = [
        Entry("x", size=40, sha256=bytes(32), place=Voxels(0, 0, 1, 0, 0, 0, len(side), 2, 2)),
        Entry("y", size=20, sha256=bytes(32), place=Voxels(0, 1, 1, 0, 1, 0, 0, 0, 1)),
    ]
    refused(archive_of(tmp_path / "x.vcz", planes_of((2, 4, 5), (2, 4, 5)), entries, [side, b""]), tmp_path / "out")


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(sorted(BODIES)),
    st.binary(max_size=30)
    | st.builds(
        bytes.__add__, st.builds(bytes, st.lists(st.integers(0, 5), min_size=4, max_size=4)), st.binary(max_size=12)
    ),
    st.integers(1, 8),
    st.sampled_from(["u1", "i1", "<u2", "<i2"]),
    st.lists(st.integers(1, 3), max_size=3),
)
def test_any_side_gives_bytes_or_damage(number, side, planes, dtype, depths):
    """Whatever the bytes that a body is made with, and whatever the planes."""
    blocks = ([np.zeros((depth, 2, 3), dtype) for _ in range(planes)] for depth in depths)
    try:
        for piece in body(number).write(Kept(b"before", side, b"after"), blocks):
            assert len(bytes(piece)) < 10_000
    except DamagedError:
        pass


@given(
    st.sampled_from(list(MapKind)),
    st.sampled_from(TYPES),
    st.integers(1, 4),
    st.integers(0, 31),
    st.integers(0, 1 << 32),
)
def test_maps_are_reversible(kind, dtype, components, bits, seed):
    from volcomp.wire.cursor import Cursor

    try:
        found = Map.decoded(Cursor(Map(kind, dtype, components, bits).encoded(), "map"))
    except DamagedError:
        return
    samples = np.random.default_rng(seed).integers(0, 256, (components, 2, 3, 4 * dtype.itemsize), "u1").view(dtype)
    if kind == MapKind.SIGNED:  # the only one that loses something: what is above the bits
        unsigned = samples.view(dtype.str.replace("i", "u"))
        samples = (unsigned & unsigned.dtype.type((1 << bits) - 1)).view(dtype)
    planes = found.forward(samples)
    assert len(planes) == found.planes and all(plane.dtype.itemsize <= 2 for plane in planes)
    assert np.array_equal(found.inverse([np.ascontiguousarray(plane) for plane in planes]), samples)


# ------------------------------------------------------------------------------------------------------------- amounts


def test_many_files_in_one_place_take_no_more_memory(tmp_path):
    """Two thousand of them, of one text of 16 kB: 32 MB are written, and never more than some held."""
    text = np.random.default_rng(1).bytes(100) * 160
    entries = [note(f"f{i:05d}", text) for i in range(2000)]
    archive = forged(tmp_path / "x.vcz", entries, BLOB=blob(text))
    assert archive.stat().st_size < 4000
    tracemalloc.start()
    try:
        assert verify(archive).raw_bytes == 2000 * len(text)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_many_images_in_one_place_are_sorted_quickly():
    """Copies of a long image are decoded one after the other; to find that out takes no square of their number."""
    entries = [Entry(str(i), place=Voxels(0, 0, 3, 0, 0, 0, 0)) for i in range(50_000)]
    assert [len(images) for images in _passes(entries)] == [1] * 50_000


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 4)), max_size=30))
def test_passes_go_forward(spans):
    """Each image is in one of them, and each begins where the last ended, or is the same slice again."""
    entries = [
        Entry(str(i), place=Voxels(0, first, frames, 0, 0, 0, 0)) for i, (first, frames) in enumerate(sorted(spans))
    ]
    passes = list(_passes(entries))
    assert sorted(int(entry.name) for images in passes for entry, _ in images) == list(range(len(spans)))
    for images in passes:
        free = 0
        for _, place in images:
            assert place.first >= free
            free = place.first if place.frames == 1 else place.end
    overlap = max((sum(a <= x < a + n and n > 1 for a, n in spans) for x in range(14)), default=0)
    assert len(passes) <= max(overlap + 1, 1)


def test_records_that_lie_in_turns_are_read_once_each(mixed, tmp_path, monkeypatch):
    """Images in one place whose kept bytes are in two sections far apart."""
    from volcomp.archive import header_reader, images

    monkeypatch.setattr(images, "_ENOUGH_KEPT", 1)
    series(tmp_path / "in" / "a", 12, size=4)
    series(tmp_path / "in" / "b", 12, size=4, series="9.9")
    compress([tmp_path / "in"], tmp_path / "y.vcz")
    with (tmp_path / "y.vcz").open("rb") as file:
        places = Reader(file).places
    assert sum(section.tag == b"KEEP" for section in places) == 2
    assert sum(section.tag == VOLUME_HEADER for section in places) == 1
    unpack, seen = header_reader.unpack, []
    monkeypatch.setattr(header_reader, "unpack", lambda data, what: seen.append(what) or unpack(data, what))
    verify(tmp_path / "y.vcz", options=ONE)
    assert seen == ["kept bytes 0", "kept bytes 1"]


def test_files_across_two_chunks_do_not_unpack_both_again(tmp_path, monkeypatch):
    from volcomp.archive import header_reader

    unpack, seen = header_reader.unpack, []
    monkeypatch.setattr(header_reader, "unpack", lambda data, what: seen.append(what) or unpack(data, what))
    chunk = header_reader.CHUNK_BYTES
    entries = [note(f"n{i}", b"\0\0", chunk - 1) for i in range(100)]
    path = tmp_path / "x.vcz"
    with path.open("wb") as file:
        writer = Writer(file, FORMAT_VERSION)
        writer.add(SectionId(LISTING), listing.encode("r", entries))
        for number in range(2):
            packed = zstandard.ZstdCompressor(level=1, write_content_size=False).compress(bytes(chunk))
            writer.add(SectionId(b"BLOB", number), b"\1" + varint(chunk) + packed)
        writer.finish()
    verify(path)
    assert seen == ["stored files 0", "stored files 1"]
