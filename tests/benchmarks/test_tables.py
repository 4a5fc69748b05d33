"""The parts of which archives are made: packed payloads, tables, lists of files. Each comes back, or is refused."""

import io
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.archive.legacy_writer import OldEntry, OldManifest, write_manifest
from volcomp import DamagedError
from volcomp.archive import bytes_codec, listing, table
from volcomp.archive.entry import Entry, Kind, Stored, Voxels
from volcomp.archive.manifest import read_manifest
from volcomp.container.sections import Reader, Writer
from volcomp.wire.cursor import string


@pytest.mark.parametrize("packed", [bytes_codec.pack_blob, bytes_codec.pack_table])
def test_payloads_unpack_to_what_they_say_or_not_at_all(packed, monkeypatch):
    raw = b"0123456789" * 1000
    data = packed(raw)
    assert bytes_codec.unpack(data, "x") == raw
    for size in (0, 9999, 10001, 1 << 24):
        lying = data[:1] + bytes_codec.varint(size) + data[3:]
        with pytest.raises(DamagedError, match="x is damaged"):
            bytes_codec.unpack(lying, "x")
    for size in (bytes_codec.CHUNK_BYTES + 1, 1 << 62):
        with pytest.raises(DamagedError, match="x is damaged"):
            bytes_codec.unpack(data[:1] + bytes_codec.varint(size) + data[3:], "x")
    for end in range(len(data)):
        with pytest.raises(DamagedError):
            bytes_codec.unpack(data[:end], "x")


@given(
    st.integers(0, 6).flatmap(
        lambda rows: st.lists(
            st.lists(st.binary(max_size=5) | st.just(b"same"), min_size=rows, max_size=rows), max_size=6
        )
    )
)
def test_tables_come_back(columns):
    data = table.encode_table(columns)
    assert table.decode_table(data, "x", max_rows=10, max_bytes=1000) == columns
    for end in range(len(data)):
        with pytest.raises(DamagedError):
            table.decode_table(data[:end], "x", max_rows=10, max_bytes=1000)


@settings(max_examples=300)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_table_or_damaged(data):
    try:
        columns = table.decode_table(data, "x", max_rows=50, max_bytes=200)
    except DamagedError:
        return
    assert sum(len(cell) for column in columns for cell in column) <= 200
    assert all(len(column) <= 50 for column in columns)


def test_wide_cells_of_one_width():
    columns = [[bytes([i]) * 100 for i in range(5)], [b"", b"", b"", b"", b"x"], [b"k"] * 5]
    assert table.decode_table(table.encode_table(columns), "x", max_rows=5, max_bytes=1000) == columns
    with pytest.raises(DamagedError):
        table.decode_table(table.encode_table(columns), "x", max_rows=5, max_bytes=505)
    with pytest.raises(DamagedError):
        table.decode_table(table.encode_table(columns), "x", max_rows=4, max_bytes=1000)


FACTS = st.integers(0, 1 << 61)
VOXELS = st.builds(
    Voxels, FACTS, FACTS, st.integers(1, 1 << 40), FACTS, FACTS, FACTS, FACTS, st.integers(0, 99), st.integers(1, 8)
)
STORED = st.builds(Stored, FACTS, FACTS, st.integers(0, 9))
TIMES = st.none() | st.integers(-(1 << 63), (1 << 63) - 1)
MODES = st.none() | st.integers(0, 0o777)
NAMES = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("/\udcff"), max_size=8)
DIGESTS = st.sampled_from([bytes([i]) * 32 for i in range(4)])
ENTRIES = st.lists(
    st.builds(Entry, NAMES, st.just(Kind.FILE), FACTS, DIGESTS, VOXELS | STORED, TIMES, MODES, NAMES)
    | st.builds(Entry, NAMES, st.just(Kind.FOLDER), mtime=TIMES, mode=MODES)
    | st.builds(Entry, NAMES, st.just(Kind.LINK), mtime=TIMES, note=st.just("../target")),
    max_size=12,
)


@given(NAMES, ENTRIES)
def test_lists_come_back(root, entries):
    payload = listing.encode(root, entries)
    assert listing.decode(payload, "x") == (root, entries)
    for end in range(0, len(payload), 3):
        with pytest.raises(DamagedError):
            listing.decode(payload[:end], "x")


def test_places_that_go_on_where_the_last_ended_cost_little():
    """A thousand slices of a volume, and a thousand files that lie one after the other."""
    entries = [
        Entry(f"IM{i:04d}", size=9000, sha256=bytes(32), place=Voxels(0, i, 1, 0, i, 900, 0)) for i in range(1000)
    ]
    entries += [Entry(f"n{i:04d}", size=i, sha256=bytes(32), place=Stored(i * (i - 1) // 2, i)) for i in range(1000)]
    assert len(listing.encode("r", entries)) < 2000


def packed(root: bytes, columns: list[list[bytes]], digests: int = 1) -> bytes:
    raw = string(root) + table.encode_table(columns)
    return bytes_codec.varint(digests) + bytes(32 * digests) + bytes_codec.pack_table(raw)


OF_VOXELS = ("volume", "first", "frames", "table", "row", "before", "side", "body", "planes")
CELLS = ("folder", "last", "note", "kind", "digest", "size", "mtime", "mode", *OF_VOXELS, "start", "more", "packing")
VOLUME = dict(zip(OF_VOXELS, (0, 0, 1, 0, 0, 0, 0, 0, 1), strict=True))


def row(**cells: int | bytes) -> list[list[bytes]]:
    """One row, as columns: a file that is kept whole, but for these cells."""
    whole: dict[str, int | bytes] = {"last": b"x", "kind": b"\0", "start": 0, "more": 0, "packing": 0}
    values = dict.fromkeys(CELLS, b"") | whole | cells
    return [[v if isinstance(v, bytes) else v.to_bytes(8, "little", signed=True)] for v in values.values()]


@pytest.mark.parametrize(
    "cells",
    [
        {"kind": 3},
        {"kind": 1},  # a folder with bytes
        {"kind": 2, "start": b"", "more": b"", "packing": b""},  # a link to nothing
        {"kind": 2, "start": b"", "more": b"", "packing": b"", "note": b"a\0b"},
        {"start": b"", "more": b"", "packing": b""},  # a file that is nowhere
        {"start": -1},
        {"start": (1 << 61) + 1},
        {"more": -1},
        {"packing": -1},
        {"start": b"\0"},
        {"size": -1},
        {"size": b"\0" * 9},
        {"mode": 0o1000},
        {"mode": 0o4755},
        {"mode": -1},
        {"digest": 1},
        {"digest": -1},
        *({**VOLUME, name: value} for name in VOLUME for value in (-1, 1 << 62, (1 << 63) - 1, -(1 << 63), b"", b"\1")),
        {**VOLUME, "frames": 0},
        {**VOLUME, "planes": 0},
        {**VOLUME, "planes": 9},
        {**VOLUME, "planes": 1_000_000_000},
    ],
)
def test_rows_that_make_no_sense_are_refused(cells):
    kind = cells.get("kind", 0)
    with pytest.raises(DamagedError, match="x is damaged"):
        listing.decode(packed(b"r", row(**{**cells, "kind": bytes([kind])})), "x")


def test_the_row_that_those_are_made_from_makes_sense():
    assert listing.decode(packed(b"r", row()), "x") == ("r", [Entry("x", sha256=bytes(32), place=Stored(0, 0))])
    voxels = Voxels(0, 0, 1, 0, 0, 0, 0, 0, 1)
    assert listing.decode(packed(b"r", row(**VOLUME)), "x")[1][0].place == voxels


@settings(max_examples=300)
@given(st.lists(st.lists(st.binary(max_size=9), min_size=2, max_size=2), min_size=18, max_size=22), st.integers(0, 2))
def test_any_table_is_a_list_or_damaged(columns, digests):
    with suppress(DamagedError):
        listing.decode(packed(b"r", columns, digests), "x")


def test_lists_that_unpack_to_much_are_refused():
    """A table of 32 MB of equal cells takes a few kB; more than 64 MB of cells are never made."""
    columns = [[b"n" * 1000] * 131_072, *row()[1:]]
    columns = [columns[0], *([column[0]] * 131_072 for column in columns[1:])]
    with pytest.raises(DamagedError, match="x is damaged"):
        listing.decode(packed(b"r", columns), "x")
    more_rows = [[cell[0]] * (listing.MAX_ROWS + 1) for cell in row()]
    with pytest.raises(DamagedError, match="x is damaged"):
        listing.decode(packed(b"r", more_rows), "x")


def test_lists_are_cut_where_names_are_long():
    entries = [Entry("n" * 4000 + str(i), Kind.FOLDER) for i in range(5000)]
    pieces = list(listing.cut(entries))
    assert len(pieces) == 3 and [e for piece in pieces for e in piece] == entries
    assert all(listing.decode(listing.encode("r", piece), "x")[1] == list(piece) for piece in pieces[-1:])


@given(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=8))
def test_manifests_of_old_archives_are_read(names):
    """Of two volumes and two tables that end elsewhere, files that are kept whole, and empty folders."""
    old = [OldEntry(name, i << 33, bytes([i]) * 32, i + 1, i, i % 2) for i, name in enumerate(names)]
    images, whole = (
        old[: len(old) // 2],
        [replace(entry, frames=0, before=0, flags=0) for entry in old[len(old) // 2 :]],
    )
    cut = len(images) // 3
    volumes, tables = [images[:cut], images[cut:]], [len(images) - cut, cut]
    file = io.BytesIO()
    writer = Writer(file)
    write_manifest(writer, OldManifest("root", volumes, tables, whole, ["hollow/x"]))
    writer.finish()
    manifest = read_manifest(Reader(file))
    places, n = [], 0
    for number, volume in enumerate(volumes):
        first = 0
        for entry in volume:
            table_number, row_number = (0, n) if n < tables[0] else (1, n - tables[0])
            places.append(Voxels(number, first, entry.frames, table_number, row_number, entry.before, 0, entry.flags))
            first, n = first + entry.frames, n + 1
    start = 0
    for entry in whole:
        places.append(Stored(start, entry.size))
        start += entry.size
    expected = [Entry(e.name, Kind.FILE, e.size, e.sha256, p) for e, p in zip([*images, *whole], places, strict=True)]
    assert manifest.entries == [*expected, Entry("hollow/x", Kind.FOLDER)] and manifest.root == "root"
