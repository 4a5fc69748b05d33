"""The part of the conformance decoder for archives, written from docs/format.md alone: lists, kept bytes, bodies.

It knows both kinds of archives, and of the streams of other codecs deflate alone (`decoder_deflated.py`). Nothing here
is meant to be quick.
"""

import hashlib
import lzma
import struct
from dataclasses import dataclass

import numpy as np
import zstandard

from tests.conformance.decoder import decode, sections
from tests.conformance.decoder_bits import Reader, check
from tests.conformance.decoder_bodies import voxel_bytes
from tests.conformance.decoder_deflated import deflated, gzipped, inflated, png
from tests.conformance.decoder_series import times_of

CHUNK = 1 << 25


@dataclass
class Item:
    """What an archive says of a file, folder or link, and the bytes of a file."""

    kind: int  # 0 file, 1 folder, 2 link
    time: int | None = None
    mode: int | None = None
    target: bytes = b""
    data: bytes = b""


def unpack(data: bytes) -> bytes:
    """Packed bytes."""
    reader = Reader(data)
    method, size = reader.number(1), reader.varint()
    check(size <= CHUNK and method <= 2, "raw size or method")
    packed = reader.data[reader.at // 8 :]
    if method == 1:
        packed = zstandard.ZstdDecompressor().decompress(packed, max_output_size=size) if size else b""
    elif method == 2:
        power = 4096
        while power < size:
            power *= 2
        settings = {"id": lzma.FILTER_LZMA2, "lc": 3, "lp": 0, "pb": 0, "dict_size": power}
        packed = lzma.decompress(packed, lzma.FORMAT_RAW, filters=[settings])
    check(len(packed) == size, "another size")
    return packed


def table(reader: Reader) -> list[tuple[bytes, ...]]:
    """Tables: the rows."""
    rows, columns = reader.varint(), reader.varint()
    check(columns <= 4096, "columns")
    cuts = []
    for _ in range(columns):
        runs = reader.varint()
        lengths = [1] * runs if runs == rows else [rows] if runs == 1 else [reader.varint() for _ in range(runs)]
        check(sum(lengths) == rows, "runs")
        width = reader.varint() if runs else 1
        widths = [width - 1] * runs if width else [reader.varint() for _ in range(runs)]
        cuts.append((lengths, widths, width))
    cells: list[list[bytes]] = [[] for _ in cuts]
    for constant in (True, False):
        for (lengths, widths, width), column in zip(cuts, cells, strict=True):
            if (len(lengths) == 1) != constant:
                continue
            if len(lengths) > 1 and 0 < width <= 65:
                block = reader.take(len(widths) * (width - 1))
                values = [block[i :: len(widths)] for i in range(len(widths))]
            else:
                values = [reader.take(width) for width in widths]
            column += [value for value, length in zip(values, lengths, strict=True) for _ in range(length)]
    reader.end()
    return list(zip(*cells, strict=True))


def number(cell: bytes) -> int:
    """Lists of files: a number."""
    check(len(cell) == 8, "width of a number")
    return struct.unpack("<q", cell)[0]


class Archive:
    """The contents of an archive."""

    def __init__(self, data: bytes):
        self.data, self.found = data, sections(data)
        self.version = struct.unpack_from("<H", data, 8)[0]
        self.tables: dict[int, list[bytes]] = {}
        self.volumes: dict[int, np.ndarray] = {}
        self.root = b""
        self.items: dict[bytes, Item] = {}
        self.itself: Item | None = None
        if (b"root", 0, 0) in self.found:
            self.read_itself(self.found[b"root", 0, 0])
        if self.version >= 4:
            lists = sum(tag == b"LIST" for tag, _, _ in self.found)
            for i in range(lists):
                self.read_list(self.found[b"LIST", i, 0])
        else:
            self.read_manifest(self.found[b"MANI", 0, 0])

    def read_list(self, payload: bytes) -> None:
        """Lists of files."""
        outer = Reader(payload)
        digests = [outer.take(32) for _ in range(outer.varint())]
        inner = Reader(unpack(payload[outer.at // 8 :]))
        self.root = inner.take(inner.varint())
        volume = end = section = row = stored = unused = 0
        for cells in table(inner):
            check(len(cells) == 20, "columns")
            folder, last, note, kind, digest, size, time, mode = cells[:8]
            item = Item(kind[0], number(time) if time else None, number(mode) if mode else None)
            if item.kind == 2:
                item.target = note
            check(folder + last not in self.items, "a name twice")
            self.items[folder + last] = item
            if item.kind:
                continue
            if cells[8]:
                dv, df, slices, dt, dr, before, side, body, planes = map(number, cells[8:17])
                volume, first = volume + dv, df + (0 if dv else end)
                section, row = section + dt, dr + (0 if dt else row)
                item.data = self.image((volume, first, slices, planes), (section, row, before, side), body)
                end, row = first + slices, row + 1
            else:
                start, more, packing = map(number, cells[17:])
                check(packing in (0, 2), "packing of a later version, or frames of JPEG")
                start, length = start + stored, number(size) + more
                item.data = inflated(self.blob(start, length)) if packing else self.blob(start, length)
                stored = start + length
            used = number(digest) if digest else unused
            unused = max(unused, used + 1)
            check(len(item.data) == number(size), "size of a file")
            check(hashlib.sha256(item.data).digest() == digests[used], "SHA-256 of a file")

    def read_itself(self, payload: bytes) -> None:
        """The archived folder itself."""
        check(next(iter(self.found)) == (b"root", 0, 0), "the first section")
        reader = Reader(payload)
        time, mode = (reader.take(reader.varint()) for _ in range(2))
        reader.end()
        self.itself = Item(1, number(time) if time else None, number(mode) if mode else None)

    def read_manifest(self, payload: bytes) -> None:
        """The manifest of versions 1 to 3."""
        outer = Reader(payload)
        digests = [outer.take(32) for _ in range(outer.varint())]
        inner = Reader(unpack(payload[outer.at // 8 :]))
        self.root = inner.take(inner.varint())
        volumes = [inner.varint() for _ in range(inner.varint())]
        tables = [inner.varint() for _ in range(inner.varint())]
        whole, folders = inner.varint(), inner.varint()
        rows = table(inner)
        check(sum(volumes) == sum(tables) == len(digests) - whole == len(rows) - whole - folders, "counts")
        records = [(k, i) for k, count in enumerate(tables) for i in range(count)]
        places = [(number, i) for number, count in enumerate(volumes) for i in range(count)]
        first = stored = 0
        for i, cells in enumerate(rows):
            size, slices, before, flags = (int.from_bytes(cell, "little") for cell in cells[2:])
            item = self.items[cells[0] + cells[1]] = Item(int(i >= len(digests)))
            if i < len(records):
                volume, place = places[i]
                first = first if place else 0
                record = (*records[i], before, 0)
                item.data = self.image((volume, first, slices, 1), record, flags)
                first += slices
            elif i < len(digests):
                item.data = self.blob(stored, size)
                stored += size
            if i < len(digests):
                check(hashlib.sha256(item.data).digest() == digests[i], "SHA-256 of a file")

    def blob(self, start: int, length: int) -> bytes:
        """Files kept whole."""
        data = b""
        while len(data) < length:
            k, offset = divmod(start + len(data), CHUNK)
            data += unpack(self.found[b"BLOB", k, 0])[offset:][: length - len(data)]
        return data

    def image(self, place: tuple[int, int, int, int], record: tuple[int, int, int, int], body: int) -> bytes:
        """Kept bytes, and the planes of an image."""
        volume, first, slices, planes = place
        section, row, before, side = record
        if section not in self.tables:
            reader = Reader(unpack(self.found[b"KEEP", section, 0]))
            self.tables[section] = [b"".join(cells) for cells in table(reader)]
        kept = self.tables[section][row]
        words = []
        for k in range(volume, volume + planes):
            plane = self.run(k, planes, first + slices)[first : first + slices]
            words.append(plane.view("u1" if plane.itemsize == 1 else "<u2"))
        begin, beside, end = kept[:before], kept[before : before + side], kept[before + side :]
        if body == 4:
            return deflated(begin, beside, end, words)
        if body == 8:
            return gzipped(begin, beside, end, words)
        return begin + (png(beside, words) if body == 9 else voxel_bytes(body, beside, words)) + end

    def run(self, place: int, planes: int, end: int) -> np.ndarray:
        """Time points of files: the slices of a volume, and of those in which an image goes on, as files have them."""
        voxels, (count, order) = self.volume(place), times_of(self.found[b"VHDR", place, 0])
        if order == 0 and end > len(voxels):
            return np.concatenate([self.volume(place + t * planes) for t in range(count)])
        if order == 3:
            voxels = voxels.reshape(-1, count, *voxels.shape[1:]).swapaxes(0, 1).reshape(voxels.shape)
        check(end <= len(voxels), "fewer slices than an image has")
        return voxels

    def volume(self, place: int) -> np.ndarray:
        """Volumes: one of them."""
        if place not in self.volumes:
            self.volumes[place] = decode(self.data, place=place)
        return self.volumes[place]
