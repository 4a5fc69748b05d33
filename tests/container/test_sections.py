"""Sections come back as they went in; every damage is noticed and named; what a salvage finds is sound."""

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from volcomp.container.sections import (
    BLOB,
    END_MARK,
    KEPT,
    MANIFEST,
    SIGNATURE,
    SLAB,
    VOLUME_HEADER,
    Reader,
    SectionId,
    Writer,
)
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.wire.cursor import Cursor, varint

SECTIONS = {
    SectionId(VOLUME_HEADER, 0): b"header of volume 0",
    SectionId(SLAB, 0, 0): b"SLAB" * 20,  # payloads that look like sections must not mislead a salvage
    SectionId(SLAB, 0, 1): bytes(range(256)),
    SectionId(KEPT, 0): b"",
    SectionId(BLOB, 300): b"\x00" * 50,
    SectionId(MANIFEST): b"names",
}


def write(sections):
    file = io.BytesIO()
    writer = Writer(file)
    for section, payload in sections.items():
        writer.add(section, payload)
    writer.finish()
    assert writer.size == len(file.getvalue())
    return file.getvalue()


def read(data, **options):
    reader = Reader(io.BytesIO(data), **options)
    return {section: reader.read(section) for section in reader.places}


def with_index(data, index):
    """`data` with another index and the checksum that belongs to it: the work of an adversary, not of chance."""
    length = struct.unpack("<I", data[-12:-8])[0]
    body = data[: -12 - length]
    size = struct.pack("<I", len(index))
    return body + index + size + struct.pack("<I", zlib.crc32(data[:12] + index + size)) + END_MARK


def with_header(data, header):
    length = struct.unpack("<I", data[-12:-8])[0]
    index = data[-12 - length : -12]
    return with_index(header + data[12:], index)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_round_trip(payloads):
    sections = {SectionId(SLAB, i // 3, i % 3): payload for i, payload in enumerate(payloads)}
    assert read(write(sections)) == sections


@given(st.integers(0, (1 << 63) - 1))
def test_varints_come_back(value):
    cursor = Cursor(varint(value), "number")
    assert cursor.varint() == value
    cursor.end()


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff" * 10])
def test_varints_that_no_writer_makes(data):
    with pytest.raises(DamagedError, match="number is damaged"):
        Cursor(data, "number").varint()


def test_every_cut_is_noticed():
    data = write(SECTIONS)
    for end in range(len(data)):
        with pytest.raises(DamagedError):
            read(data[:end])


def test_every_flipped_bit_is_noticed():
    data = write(SECTIONS)
    for i in range(len(data)):
        for bit in range(8):
            with pytest.raises(DamagedError):
                read(data[:i] + bytes([data[i] ^ 1 << bit]) + data[i + 1 :])


@pytest.mark.parametrize("tail", [b"\0", b"garbage", b"\n"])
def test_bytes_after_the_end_are_noticed(tail):
    with pytest.raises(DamagedError, match="bytes after its end"):
        read(write(SECTIONS) + tail)


def test_damage_is_named():
    data = write(SECTIONS)
    place = Reader(io.BytesIO(data)).places[SectionId(SLAB, 0, 1)]
    with pytest.raises(DamagedError, match=r"^slab 1 of volume 0 is damaged"):
        read(data[: place.offset + 20] + b"\xff" + data[place.offset + 21 :])
    with pytest.raises(DamagedError, match=r"^manifest is missing"):
        Reader(io.BytesIO(write({}))).read(SectionId(MANIFEST))
    with pytest.raises(DamagedError, match="no volcomp archive"):
        read(b"PK\x03\x04" + bytes(100))


def test_newer_formats_are_refused_with_a_sentence():
    data = write(SECTIONS)
    with pytest.raises(UnsupportedError, match="format version 7 exceeds the supported 5; upgrade volcomp"):
        read(with_header(data, SIGNATURE + struct.pack("<HH", 7, 0)))
    with pytest.raises(UnsupportedError, match="flags 0x0001"):
        read(with_header(data, SIGNATURE + struct.pack("<HH", 1, 1)))


def test_unknown_sections():
    """Upper-case tags change what the file means; lower-case ones may be passed over."""
    assert read(write({SectionId(b"note", 1): b"hello"})) == {SectionId(b"note", 1): b"hello"}
    with pytest.raises(UnsupportedError, match="NEWS"):
        read(write({SectionId(b"NEWS", 1): b"hello"}))


@pytest.mark.parametrize(
    "index",
    [
        varint(1) + b"\x01" + varint(0) + varint(0) + varint(1 << 60),  # a section larger than the file
        varint(1 << 60),  # more sections than bytes
        varint(2) + 2 * (b"\x01" + varint(0) + varint(0) + varint(5)),  # the same section twice
        varint(1) + b"\x09" + varint(0) + varint(0) + varint(5),  # a kind that does not exist
        varint(0),  # sections that the index leaves out
        varint(0) + b"\0",  # bytes after the index
    ],
)
def test_lying_indices_are_refused(index):
    with pytest.raises(DamagedError):
        read(with_index(write(SECTIONS), index))


def test_a_section_that_is_longer_than_its_place():
    """The length in the section disagrees with the index, and its checksum fits."""
    head = SLAB + varint(0) + varint(0) + varint(1 << 50)
    data = write({SectionId(SLAB): b"x" * 30})
    place = Reader(io.BytesIO(data)).places[SectionId(SLAB)]
    end = place.offset + place.length
    section = (head + b"x" * 40)[: place.length - 4]
    section += struct.pack("<I", zlib.crc32(section))
    with pytest.raises(DamagedError, match="slab 0 of volume 0"):
        read(data[: place.offset] + section + data[end:])


def test_salvage_finds_all_but_the_damaged_section():
    data = write(SECTIONS)
    places = Reader(io.BytesIO(data)).places
    for i in range(len(data)):
        damaged = data[:i] + bytes([data[i] ^ 0x55]) + data[i + 1 :]
        reader = Reader(io.BytesIO(damaged), salvage=True)
        for section, payload in SECTIONS.items():
            place = places[section]
            if place.offset <= i < place.offset + place.length:
                with pytest.raises(DamagedError):
                    reader.read(section)
            else:
                assert reader.read(section) == payload


def test_salvage_of_a_cut_file():
    data = write(SECTIONS)
    places = Reader(io.BytesIO(data)).places
    for end in range(len(data)):
        whole = [s for s, place in places.items() if place.offset + place.length <= end]
        if not whole:
            with pytest.raises(DamagedError):
                Reader(io.BytesIO(data[:end]), salvage=True)
            continue
        reader = Reader(io.BytesIO(data[:end]), salvage=True)
        assert {s: reader.read(s) for s in reader.places} == {s: SECTIONS[s] for s in whole}
        assert reader.damage is not None


def test_salvage_prefers_the_outer_archive():
    """A stored file may be an archive itself; with the index lost, its sections must not pass for the outer ones."""
    inner = write({SectionId(SLAB): b"inner", SectionId(MANIFEST): b"inner names"})
    data = bytearray(write({SectionId(SLAB): b"outer", SectionId(BLOB): inner, SectionId(MANIFEST): b"outer names"}))
    data[data.index(b"BLOB") + 5] ^= 1
    reader = Reader(io.BytesIO(bytes(data[:-1])), salvage=True)
    assert reader.read(SectionId(SLAB)) == b"outer"
    assert reader.read(SectionId(MANIFEST)) == b"outer names"


def test_salvage_costs_no_square():
    """A file of nothing but tags that each claim the rest of the file is given up on, not read over and over."""
    claim = SLAB + varint(0) + varint(0) + varint(1 << 20)
    with pytest.raises(DamagedError, match="nothing in the file"):
        Reader(io.BytesIO(SIGNATURE + claim * 200_000), salvage=True)


def test_a_writer_that_comes_back_leaves_nothing():
    """Neither bytes, of which the next sections have fewer, nor names, nor digests."""
    files = []
    for detour in (False, True):
        file = io.BytesIO()
        writer = Writer(file)
        writer.add(SectionId(BLOB, 0), b"first")
        mark = writer.mark()
        if detour:
            writer.add(SectionId(BLOB, 1), bytes(1000))
            writer.add(SectionId(BLOB, 2), bytes(1000))
            writer.rewind(mark)
        writer.add(SectionId(BLOB, 1), b"second")
        writer.finish()
        assert writer.size == len(file.getvalue()) and len(writer.digests) == 2
        Reader(file).compare(writer.digests)
        files.append(file.getvalue())
    assert files[0] == files[1]
