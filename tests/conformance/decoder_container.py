"""The part of the conformance decoder for the container, from docs/format.md alone."""

import zlib

from tests.conformance.decoder_bits import Reader, check

TAGS = [b"VHDR", b"SLAB", b"KEEP", b"BLOB", b"MANI", b"LIST", b"PREV"]


def sections(data: bytes) -> dict[tuple[bytes, int, int], bytes]:
    """Container: the payloads of a file by tag and numbers."""
    check(data[:8] == b"\x89VCZ\r\n\x1a\n" and data[8] in (1, 2, 3, 4, 5) and data[9:12] == bytes(3), "not such a file")
    check(data[-4:] == b"\nvcz", "no end")
    start = len(data) - 12 - int.from_bytes(data[-12:-8], "little")
    check(zlib.crc32(data[:12] + data[start:-8]) == int.from_bytes(data[-8:-4], "little"), "CRC of the index")
    index, found, at = Reader(data[start:-12]), {}, 12
    for _ in range(index.varint()):
        kind = index.number(1)
        key = (index.take(4) if kind == 255 else TAGS[kind], index.varint(), index.varint())
        size = index.varint()
        section = Reader(data[at : at + size])
        at += size
        check((section.take(4), section.varint(), section.varint()) == key, "index and section differ")
        check((key[0] in TAGS or key[0][:1].islower()) and key not in found, "section is unknown, or there twice")
        found[key] = section.string().data
        check(section.number(4) == zlib.crc32(section.data[:-4]), "CRC of a section")
        section.end()
    index.end()
    check(at == start, "index and file differ")
    return found
