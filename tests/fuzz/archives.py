"""Archives: sections, lists and tables, whole archives whose checksums are computed again after a change, payloads.

Checksums stop nearly all changes of a file, so that what lies behind them is seldom reached. Here payloads are changed
and all checksums made to fit, as in an archive that was made to mislead.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from random import Random

import numpy as np

import volcomp
from tests.archive.everything import everything
from tests.archive.forge import note
from tests.conformance import golden
from tests.helpers import ONE, compress, contents
from volcomp.archive import listing
from volcomp.archive.bytes_codec import CHUNK_BYTES, pack_blob, pack_table, unpack
from volcomp.archive.describe import describe
from volcomp.archive.entry import Entry, Kind, Stored, Voxels
from volcomp.archive.legacy import read_legacy
from volcomp.archive.restore import restore, verify
from volcomp.archive.table import MAX_RECORDS, decode_table, encode_table
from volcomp.container.sections import FORMAT_VERSION, KEPT, LISTING, MANIFEST, Reader, SectionId, Writer
from volcomp.errors import VolcompError
from volcomp.wire.cursor import Cursor, varint

from . import dicom, mutations
from .target import Target, expect, join, split

OLD_ARCHIVE = Path(__file__).parents[1] / "archive" / "golden" / "0.9.0-archive.vcz"
Sections = list[tuple[SectionId, bytes]]


# ------------------------------------------------------------------------------------------------ what is begun with


def batched(paths: list[Path], size: int) -> Iterator[list[Path]]:
    """Cut a list into pieces (`itertools.batched` is there from Python 3.12 on)."""
    return (paths[i : i + size] for i in range(0, len(paths), size))


@lru_cache(maxsize=1)
def _archives() -> tuple[list[bytes], frozenset[bytes]]:
    """Return small archives with all that there can be, and the SHA-256 of every file in them."""
    with tempfile.TemporaryDirectory() as name:
        folder = everything(Path(name) / "in")
        streams = dicom.files(Path(name) / "streams")
        samples = sorted(folder.glob("*.dcm"))
        groups = [group for paths in (samples, streams) for group in batched(paths, 3)]
        groups += [[folder / "ct", folder / "copy"], [folder / "ct", folder / "renamed"]]
        groups.append([folder / "notes", folder / "hollow"])
        known: set[bytes] = set()
        made = []
        for number, paths in enumerate(groups):
            target = Path(name) / f"{number}.vcz"
            compress(paths, target, model="turbo")
            made.append(target.read_bytes())
        made.append(OLD_ARCHIVE.read_bytes())
        for number, data in enumerate(made):
            (Path(name) / "x.vcz").write_bytes(data)
            target = Path(name) / f"out{number}"
            restore(Path(name) / "x.vcz", target, ONE)
            known |= {hashlib.sha256(value).digest() for value in contents(target).values() if isinstance(value, bytes)}
    return made, frozenset(known)


def sections_of(data: bytes) -> tuple[Sections, int]:
    """Return the sections of a sound archive, and its format version."""
    reader = Reader(io.BytesIO(data))
    return [(section, reader.read(section)) for section in reader.places], reader.version or FORMAT_VERSION


def written(sections: Sections, version: int) -> bytes:
    """Return an archive with sound checksums."""
    file = io.BytesIO()
    writer = Writer(file, version)
    for section, payload in sections:
        writer.add(section, payload)
    writer.finish()
    return file.getvalue()


# ------------------------------------------------------------------------------------------------------------- changes


def _stored(raw: bytes) -> bytes:
    """Return the payload of bytes that are not compressed, which takes no time."""
    return b"\0" + varint(len(raw)) + raw if len(raw) <= CHUNK_BYTES else pack_blob(raw)


def _changed_payload(random: Random, section: SectionId, payload: bytes, others: list[bytes]) -> bytes:
    """Change a payload: its bytes, or what it unpacks to, or a cell or an entry of that."""
    kind = random.random()
    with suppress(VolcompError, AssertionError, OverflowError, ValueError):
        if section.tag == LISTING and kind < 0.6:
            root, entries = listing.decode(payload, "list")
            return listing.encode(root, changed_entries(random, entries))
        if section.tag in (LISTING, MANIFEST) and kind < 0.9:
            cursor = Cursor(payload, "list")
            count = cursor.varint()
            digests, raw = cursor.take(32 * count), unpack(cursor.rest(), "list")
            return varint(count) + digests + _stored(mutations.changed(random, raw))
        if section.tag == KEPT and kind < 0.6:
            columns = decode_table(unpack(payload, ""), "", max_rows=MAX_RECORDS, max_bytes=CHUNK_BYTES)
            column = random.choice(columns[-3:] if random.random() < 0.6 else columns)
            row = random.randrange(len(column))
            column[row] = mutations.changed(random, column[row], column)
            return _stored(encode_table(columns))
        if section.tag in (KEPT, b"BLOB") and kind < 0.9:
            return _stored(mutations.changed(random, unpack(payload, "")))
    return mutations.changed(random, payload, others)


def changed_entries(random: Random, entries: list[Entry]) -> list[Entry]:
    """Change a field of an entry, or which entries there are."""
    entries = list(entries)
    if not entries or random.random() < 0.05:
        return [*entries, note("new", b"new")]
    at, other = random.randrange(len(entries)), random.choice(entries)
    entry = entries[at]
    what = random.random()
    if what < 0.1:
        return entries[:at] + entries[at + 1 :]
    if what < 0.2:
        return [*entries, replace(entry, name=random.choice((entry.name + "~", entry.name, "../x", "/x", "a/b/c")))]
    if what < 0.6 and entry.place:
        field = random.choice(fields(entry.place)).name
        value = getattr(other.place, field, None) if random.random() < 0.3 else None
        near = max(0, getattr(entry.place, field) + random.choice((-1, 1)))
        value = random.choice((near, mutations.number(random))) if value is None else value
        entries[at] = replace(entry, place=replace(entry.place, **{field: value}))
    elif what < 0.7:
        entries[at] = replace(entry, place=random.choice((other.place, Stored(0, 5), Voxels(0, 0, 1, 0, 0, 0, 0))))
    elif what < 0.8:
        entries[at] = replace(entry, size=random.choice((other.size, mutations.number(random))))
    elif what < 0.85:
        entries[at] = replace(entry, kind=Kind(random.randrange(3)))
    else:
        field = random.choice(("name", "sha256", "mtime", "mode", "note"))
        entries[at] = replace(entry, **{field: getattr(other, field)})
    return entries


def _changed_archive(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """Change a section and make its checksums fit."""
    try:
        sections, version = sections_of(data)
    except VolcompError:  # an input whose index was given up
        return mutations.changed(random, data, others)
    for _ in range(random.choice((1, 1, 1, 2))):
        if not sections:
            break
        at = random.randrange(len(sections))
        section, payload = sections[at]
        alike = [other for other, _ in enumerate(sections) if sections[other][0].tag == section.tag]
        what = random.random()
        if what < 0.04:
            del sections[at]
        elif what < 0.08:
            new = SectionId(section.tag, *(min(mutations.number(random), (1 << 63) - 1) for _ in range(2)))
            if new not in {section for section, _ in sections}:
                sections[at] = (new, payload)
        elif what < 0.12:
            sections[at] = (section, sections[random.choice(alike)][1])
        elif what < 0.14:
            version = random.choice((1, 2, 3, 4, 5))
        else:
            others = [sections[other][1] for other in alike]
            sections[at] = (section, _changed_payload(random, section, payload, others))
    return written(sections, version)


def _changed_container(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """Change any bytes; or only the index, whose checksum then fits."""
    if random.random() < 0.5:
        return mutations.changed(random, data, others)
    with suppress(VolcompError):
        sections, version = sections_of(data)
        whole = written(sections, version)
        length = int.from_bytes(whole[-12:-8], "little")
        begin = len(whole) - 12 - length
        index = mutations.changed(random, whole[begin:-12])
        size = len(index).to_bytes(4, "little")
        crc = zlib.crc32(whole[:12] + index + size).to_bytes(4, "little")
        return whole[:begin] + index + size + crc + whole[-4:]
    return mutations.changed(random, data, others)


def _changed_list(random: Random, data: bytes, others: list[bytes]) -> bytes:
    kind, payload = split(data)
    section = SectionId({b"list": LISTING, b"manifest": MANIFEST, b"table": KEPT}.get(kind, b"BLOB"))
    alike = [split(other)[1] for other in others if split(other)[0] == kind]
    return join(kind, _changed_payload(random, section, payload, alike))


# -------------------------------------------------------------------------------------------------------------- checks


def _check_container(data: bytes) -> object:
    """Sections have the payloads that their checksums fit; a search finds those that a sound index names."""
    found = {}
    refused: object = None
    for salvage in (False, True):
        try:
            reader = Reader(io.BytesIO(data), salvage=salvage)
        except VolcompError as error:
            refused = type(error)
            continue
        for section in reader.places:
            with suppress(VolcompError):
                payload = reader.read(section)
                expect(found.setdefault(section, payload) == payload, f"{section} is read in two ways")
    return refused, len(found)


def _check_list(data: bytes) -> object:
    """What is read of a list or a table is written and read again as the same."""
    kind, payload = split(data)
    if kind == b"list":
        root, entries = listing.decode(payload, "list")
        expect(listing.decode(listing.encode(root, entries), "list") == (root, entries), "a list is not the same again")
    elif kind == b"manifest":
        read_legacy(Reader(io.BytesIO(written([(SectionId(MANIFEST), payload)], 3))))
    elif kind == b"table":
        columns = decode_table(unpack(payload, ""), "", max_rows=MAX_RECORDS, max_bytes=CHUNK_BYTES)
        limits = {"max_rows": MAX_RECORDS, "max_bytes": CHUNK_BYTES}
        expect(decode_table(encode_table(columns), "", **limits) == columns, "a table is not the same again")
    else:
        raw = unpack(payload, "")
        expect(unpack(pack_table(raw), "") == raw, "bytes are not the same again")
    return kind


def _kind(error: VolcompError, archive: Path) -> str:
    """Return what an error says, without names and numbers."""
    return re.sub(r"\d+|'.*'", "#", str(error).replace(str(archive), ""))


def _check_restore(data: bytes) -> object:
    """Any way of reading an archive gives files that were archived, or an error."""
    known = _archives()[1]
    refused = []
    with tempfile.TemporaryDirectory() as name:
        archive, outside = Path(name) / "a.vcz", Path(name) / "outside"
        archive.write_bytes(data)
        for number, salvage in enumerate((False, True)):
            target = Path(name) / f"out{number}"
            try:
                restore(archive, target, ONE, salvage=salvage)
            except VolcompError as error:
                refused.append(_kind(error, archive))
                expect(not target.exists(), "something was written before an error")
                continue
            for here, folders, _ in os.walk(target):  # modes come from the archive
                for path in (here, *(os.path.join(here, folder) for folder in folders)):
                    if not os.path.islink(path):
                        os.chmod(path, 0o700)
            for inner, value in contents(target).items():
                if isinstance(value, bytes):
                    expect(hashlib.sha256(value).digest() in known, f"{inner!r} holds what no file held")
        for read in (lambda: verify(archive, ONE), lambda: describe(archive)):
            try:
                read()
            except VolcompError as error:
                refused.append(_kind(error, archive))
        expect(set(os.listdir(name)) <= {"a.vcz", "out0", "out1"} and not outside.exists(), "it wrote elsewhere")
    return tuple(refused)


# ------------------------------------------------------------------------------------------------------------ payloads


def _arrays(*models: str) -> list[bytes]:
    """Return the smaller golden files of models."""
    paths = sorted(path for path in golden.FOLDER.glob("*.vcz") if path.stem.split("-")[1] in models)
    return [path.read_bytes() for path in paths if path.stat().st_size < 3000]


def _small(model: str) -> list[bytes]:
    """Return files of a few voxels, so that a decoder has few steps."""
    volumes = golden.volumes()
    arrays = [volumes["scan"][:3, :6, :5], volumes["signed"][:2, :5, :7], volumes["masked"][:2, 6:11, 6:11]]
    arrays += [volumes["extremes"][:2, :4, :4], volumes["comb"][:2, :9, :4], volumes["flat"][:2, :3, :5]]
    return [volcomp.compress(array, model=model, threads=1) for array in arrays]


@lru_cache(maxsize=1)
def _known_arrays() -> frozenset[str]:
    data = [*_arrays("turbo", "fast", "base", "paper"), *(file for name in ("turbo", "paper") for file in _small(name))]
    return frozenset(golden.digest(np.atleast_3d(volcomp.decompress(file, threads=1))) for file in data)


def _check_array(data: bytes) -> object:
    """A changed file gives voxels that one of the files holds, or an error."""
    voxels = volcomp.decompress(data, threads=1)
    expect(golden.digest(voxels) in _known_arrays(), f"other voxels came out: {voxels.dtype} {voxels.shape}")
    return voxels.shape


def _lists() -> list[bytes]:
    names = {LISTING: b"list", MANIFEST: b"manifest", KEPT: b"table"}
    found = []
    for data in _archives()[0]:
        for section, payload in sections_of(data)[0]:
            if section.tag in (*names, b"BLOB"):
                found.append(join(names.get(section.tag, b"blob"), payload))
    entries = [note(f"n{i}", start=i) for i in range(5)]
    tables = [join(b"table", pack_table(encode_table([[b"a", b"b", b"b"], [b"", b"xy", b"z" * 70], [b"c"] * 3])))]
    return [*found, *tables, join(b"list", listing.encode("r", entries)), join(b"packed", pack_blob(bytes(500)))]


TARGETS = (
    Target("container", lambda: _archives()[0], _changed_container, _check_container),
    Target("lists", _lists, _changed_list, _check_list),
    Target("restore", lambda: _archives()[0], _changed_archive, _check_restore),
    Target("row", lambda: _arrays("turbo", "fast", "base") + _small("turbo"), _changed_archive, _check_array),
    Target("paper", lambda: _arrays("paper") + _small("paper"), _changed_archive, _check_array),
)
