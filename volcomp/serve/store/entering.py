"""Enter sources into the index, and take them out: with them the rows of series and studies, made of instances."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import zstandard

from .attributes import first, text, values
from .faults import SOUND
from .index import ARCHIVE, SERIES_KEYS, STUDY_KEYS, column
from .matching import normal, words_of
from .pool import Identity
from .protocol import Json

_LEVEL = 6
_BATCH = 500  # UIDs of one statement


@dataclass(frozen=True)
class New:
    """An instance that is entered."""

    name: str
    attributes: Json
    syntax: str
    size: int
    frames: int
    sha256: bytes


@dataclass
class Source:
    """An archive, or a file of the inbox. `path` is relative to the tree, or to the inbox."""

    kind: int
    path: str
    identity: Identity
    damage: str = ""  # a sentence, where it cannot be read
    fault: int = SOUND
    files: int = 0
    raw: int = 0  # bytes of its files
    voxels: int = 0
    others: int = 0  # files that are no instances
    instances: list[New] = field(default_factory=list)


def enter(connection: sqlite3.Connection, source: Source) -> None:
    """Enter a source in place of what was known of it; instances of one that cannot be read now are kept, unchosen."""
    if source.fault:
        values = (*_signed(source.identity), source.fault, source.damage, source.kind, encoded(source.path))
        changed = connection.execute(
            "UPDATE sources SET device = ?, inode = ?, size = ?, mtime = ?, fault = ?, damage = ?"
            " WHERE kind = ? AND path = ?",
            values,
        ).rowcount
        if changed:
            _settle(connection, _sops(connection, source.kind, source.path))
            return
    sops = _taken_out(connection, source.kind, source.path)
    cursor = connection.execute(
        "INSERT INTO sources (kind, path, device, inode, size, mtime, fault, damage, files, raw, voxels, others)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (source.kind, encoded(source.path), *_signed(source.identity), source.fault, source.damage, source.files,
         source.raw, source.voxels, source.others),
    )  # fmt: skip
    number_of = cursor.lastrowid
    assert number_of is not None
    dictionaries: dict[str, tuple[int, zstandard.ZstdCompressor]] = {}
    for new in source.instances:
        study, series, sop = (first(new.attributes, tag) for tag in ("0020000D", "0020000E", "00080018"))
        raw = json.dumps(new.attributes, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
        if source.kind == ARCHIVE and series not in dictionaries:
            dictionaries[series] = _dictionary(connection, number_of, raw)
        dictionary, compressor = dictionaries.get(series, (0, zstandard.ZstdCompressor(_LEVEL)))
        connection.execute(
            "INSERT INTO instances (source, name, study, series, sop, sop_class, syntax, size, frames, sha256, number,"
            " dictionary, attributes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (number_of, encoded(new.name), study, series, sop, first(new.attributes, "00080016"), new.syntax, new.size,
             new.frames, new.sha256, normal("IS", first(new.attributes, "00200013")), dictionary,
             compressor.compress(raw)),
        )  # fmt: skip
        sops.add(sop)
    _settle(connection, sops)


def remove(connection: sqlite3.Connection, kind: int, path: str) -> None:
    """Take a source out."""
    _settle(connection, _taken_out(connection, kind, path))


def rename(connection: sqlite3.Connection, kind: int, old: str, new: str) -> None:
    """Give a source another path."""
    sops = _taken_out(connection, kind, new)
    connection.execute("UPDATE sources SET path = ? WHERE kind = ? AND path = ?", (encoded(new), kind, encoded(old)))
    sops |= _sops(connection, kind, new)
    _settle(connection, sops)


def attributes_of(connection: sqlite3.Connection, row: Any) -> Json:
    """Return the attributes of an instance, of a row with `dictionary` and `attributes`."""
    known = None
    if row["dictionary"]:
        data = connection.execute("SELECT data FROM dictionaries WHERE id = ?", (row["dictionary"],)).fetchone()
        known = _raw_dictionary(zstandard.ZstdDecompressor().decompress(data["data"]))
    machine = zstandard.ZstdDecompressor(dict_data=known) if known else zstandard.ZstdDecompressor()
    found: Json = json.loads(machine.decompress(row["attributes"]))
    return found


def _dictionary(connection: sqlite3.Connection, source: int, raw: bytes) -> tuple[int, zstandard.ZstdCompressor]:
    """Keep the attributes of one instance as what others of its series are compressed with."""
    packed = zstandard.ZstdCompressor(_LEVEL).compress(raw)
    cursor = connection.execute("INSERT INTO dictionaries (source, data) VALUES (?, ?)", (source, packed))
    assert cursor.lastrowid
    return cursor.lastrowid, zstandard.ZstdCompressor(_LEVEL, dict_data=_raw_dictionary(raw))


def _raw_dictionary(raw: bytes) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(raw, dict_type=zstandard.DICT_TYPE_RAWCONTENT)


def _signed(identity: Identity) -> list[int]:
    """Return numbers of a file as SQLite can hold them: the system's have no sign."""
    return [(n + (1 << 63)) % (1 << 64) - (1 << 63) for n in identity]


def encoded(name: str) -> bytes:
    """Return a name or path as the index has it: undecodable bytes as they are, which no text of SQLite may have."""
    return name.encode("utf-8", "surrogateescape")


def decoded(name: bytes) -> str:
    """Invert `encoded`."""
    return name.decode("utf-8", "surrogateescape")


def _sops(connection: sqlite3.Connection, kind: int, path: str) -> set[str]:
    rows = connection.execute(
        "SELECT sop FROM instances WHERE source IN (SELECT id FROM sources WHERE kind = ? AND path = ?)",
        (kind, encoded(path)),
    )
    return {row["sop"] for row in rows}


def _taken_out(connection: sqlite3.Connection, kind: int, path: str) -> set[str]:
    """Take out a source; return the UIDs of its instances."""
    sops = _sops(connection, kind, path)
    rows = connection.execute("SELECT id FROM sources WHERE kind = ? AND path = ?", (kind, encoded(path))).fetchall()
    touched: set[tuple[str, str]] = set()
    for (number_of,) in (tuple(row) for row in rows):
        of_source = connection.execute(
            "SELECT DISTINCT study, series FROM instances WHERE source = ?", (number_of,)
        ).fetchall()
        touched |= {(row["study"], row["series"]) for row in of_source}
        for table in ("instances", "dictionaries"):
            connection.execute(f"DELETE FROM {table} WHERE source = ?", (number_of,))
        connection.execute("DELETE FROM sources WHERE id = ?", (number_of,))
    _sum_up(connection, touched)
    return sops


def _settle(connection: sqlite3.Connection, sops: Iterable[str]) -> None:
    """Choose one instance of each of these UIDs, and sum up their series and studies."""
    every = sorted(sops)
    touched: set[tuple[str, str]] = set()
    for start in range(0, len(every), _BATCH):
        some = json.dumps(every[start : start + _BATCH])
        rows = connection.execute(
            "SELECT instances.id, sop, study, series, fault FROM instances JOIN sources ON sources.id = source"
            " WHERE sop IN (SELECT value FROM json_each(?)) ORDER BY sop, kind, path, name",
            (some,),
        ).fetchall()
        connection.execute("UPDATE instances SET chosen = 0 WHERE sop IN (SELECT value FROM json_each(?))", (some,))
        chosen: dict[str, int] = {}
        for row in rows:
            if not row["fault"]:
                chosen.setdefault(row["sop"], row["id"])
            touched.add((row["study"], row["series"]))
        connection.executemany("UPDATE instances SET chosen = 1 WHERE id = ?", [(one,) for one in chosen.values()])
    _sum_up(connection, touched)


def _sum_up(connection: sqlite3.Connection, touched: set[tuple[str, str]]) -> None:
    """Make the rows of series, and of their studies, of the instances that are chosen."""
    for study, series in sorted(touched):
        of_series = (study, series)
        count = connection.execute(
            "SELECT COUNT(*) FROM instances WHERE study = ? AND series = ? AND chosen = 1", of_series
        ).fetchone()[0]
        connection.execute("DELETE FROM series WHERE study = ? AND series = ?", of_series)
        if count:
            row = connection.execute(
                "SELECT id, dictionary, attributes FROM instances WHERE study = ? AND series = ? AND chosen = 1"
                " ORDER BY number IS NULL, number, sop LIMIT 1",
                of_series,
            ).fetchone()
            fixed = {"study": study, "series": series, "first": row["id"], "instances": count}
            _insert(connection, "series", fixed, SERIES_KEYS, attributes_of(connection, row))
    for study in sorted({study for study, _ in touched}):
        _sum_up_study(connection, study)


def _sum_up_study(connection: sqlite3.Connection, study: str) -> None:
    connection.execute("DELETE FROM studies WHERE study = ?", (study,))
    rows = connection.execute(
        "SELECT first, instances, k00080060 AS modality FROM series WHERE study = ?"
        " ORDER BY k00200011 IS NULL, k00200011, series",
        (study,),
    ).fetchall()
    if not rows:
        return
    row = connection.execute(
        "SELECT dictionary, attributes FROM instances WHERE id = ?", (rows[0]["first"],)
    ).fetchone()
    found = attributes_of(connection, row)
    words = " ".join(["", *(word for name in values(found, "00100010") for word in words_of(text(name)))])
    fixed = {
        "study": study,
        "first": rows[0]["first"],
        "series": len(rows),
        "instances": sum(row["instances"] for row in rows),
        "modalities": json.dumps(sorted({row["modality"] for row in rows if row["modality"]})),
        "words": words,
    }
    _insert(connection, "studies", fixed, STUDY_KEYS, found)


def _insert(
    connection: sqlite3.Connection, table: str, fixed: dict[str, Any], keys: dict[str, str], found: Json
) -> None:  # fmt: skip
    row = fixed | {column(tag): normal(vr, _joined(found, tag)) for tag, vr in keys.items()}
    marks = ", ".join("?" for _ in row)
    connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", list(row.values()))


def _joined(found: Json, tag: str) -> str:
    """Return the values of an attribute as one text."""
    return "\\".join(text(value) for value in values(found, tag))


def identity_of(row: Any) -> Sequence[int]:
    """Return the numbers of a row of sources by which a change is told, for `same`."""
    return row["device"], row["inode"], row["size"], row["mtime"]


def same(row: Any, identity: Identity) -> bool:
    """Return whether a row of sources is of a file as it is now."""
    return list(identity_of(row)) == _signed(identity)
