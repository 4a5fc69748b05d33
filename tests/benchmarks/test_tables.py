"""The parts of which archives are made: packed payloads, tables, manifests. Each comes back, or is refused."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volcomp import DamagedError
from volcomp.archive import bytes_codec, table
from volcomp.archive.manifest import Entry, Manifest, read_manifest, write_manifest
from volcomp.container.sections import Reader, Writer


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


@given(st.lists(st.text(min_size=1, max_size=8), unique=True, max_size=8), st.lists(st.integers(0, 3), max_size=4))
def test_manifests_come_back(names, sizes):
    entries = [
        Entry(name.replace("\ud800", ""), i << 33, bytes([i]) * 32, i + 1, i, i % 2 == 1)
        for i, name in enumerate(names)
    ]
    cut = len(entries) // 2
    manifest = Manifest("root", [entries[:cut]] if cut else [], [cut] if cut else [], entries[cut:], ["hollow/x"])
    file = io.BytesIO()
    writer = Writer(file)
    write_manifest(writer, manifest)
    writer.finish()
    assert read_manifest(Reader(file)) == manifest
