"""Rows for people of what the store finds: objects of the DICOM JSON model (PS3.18, annex F) made plain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice, product
from typing import Any
from urllib.parse import urlencode

from ..store.protocol import Holding, Json, Store
from ..store.query import Level, Query

STUDY, SERIES, SOP = "0020000D", "0020000E", "00080018"
PAGE_ROWS = 25
_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})")
# Fields of the search, and the attribute that each matches.
FIELDS = {
    "name": "00100010",
    "id": "00100020",
    "accession": "00080050",
    "description": "00081030",
    "modality": "00080061",
}
_EXACT = ("modality",)
_SPELLINGS, _PATTERN = 625, 1000  # how many are tried, and characters of all together
_INCLUDED = ("00081030", "00080061", "00201206", "00201208")


def text(found: Json, tag: str) -> str:
    """Return the values of an attribute for people: "" where there is none."""
    values = found.get(tag, {}).get("Value") or []
    return ", ".join(_plain(value) for value in values if value is not None)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):  # a person's name: FAMILY^GIVEN^MIDDLE^PREFIX^SUFFIX
        parts = str(value.get("Alphabetic") or value.get("Ideographic") or value.get("Phonetic") or "").split("^")
        return ", ".join(part for part in (parts[0], " ".join(filter(None, parts[1:]))) if part)
    return f"{value:g}" if isinstance(value, float) else str(value)


def date(found: Json, tag: str) -> str:
    """Return a date as 2026-11-28; as it is where it has another form."""
    value = text(found, tag)
    match = _DATE.fullmatch(value)
    return "-".join(match.groups()) if match else value


@dataclass(frozen=True)
class Sizes:
    """What archives take and hold. `voxels` is 0 where nothing was coded as voxels."""

    files: int = 0
    raw: int = 0
    packed: int = 0
    voxels: int = 0

    @property
    def ratio(self) -> float | None:
        """Bytes before to bytes after; None without archives."""
        return self.raw / self.packed if self.packed else None

    @property
    def bits(self) -> float | None:
        """Bits per voxel of all that the archives take; None without voxels."""
        return 8 * self.packed / self.voxels if self.voxels else None


def sizes(holdings: Iterable[Holding]) -> Sizes:
    """Add up what archives take and hold."""
    files = raw = packed = voxels = 0
    for one in holdings:
        files, raw, packed, voxels = (
            files + one.files, raw + one.raw_bytes, packed + one.packed_bytes, voxels + one.voxels,
        )  # fmt: skip
    return Sizes(files, raw, packed, voxels)


@dataclass(frozen=True)
class Search:
    """What a person searched for, and which page of it."""

    values: dict[str, str]  # of FIELDS, "since" and "until"; none is empty
    page: int = 1

    @classmethod
    def of(cls, given: Mapping[str, str]) -> Search:
        """Read the query of a request; what is no field or no number is passed over."""
        names = (*FIELDS, "since", "until")
        values = {name: " ".join(given[name].split())[:64] for name in names if given.get(name, "").strip()}
        page = given.get("page", "1")
        return cls(values, min(max(int(page), 1), 100_000) if page.isascii() and page.isdigit() else 1)

    @property
    def query(self) -> Query:
        """As the store is asked."""
        match = {}
        for name, tag in FIELDS.items():
            if value := self.values.get(name):
                match[tag] = value.upper() if name in _EXACT else _pattern(value, person=name == "name")
        since, until = (_DATE.sub(r"\1\2\3", self.values.get(name, "")) for name in ("since", "until"))
        if since or until:
            match["00080020"] = f"{since}-{until}"
        return Query(Level.STUDIES, match, _INCLUDED, limit=PAGE_ROWS, offset=PAGE_ROWS * (self.page - 1), fuzzy=True)

    def at(self, page: int) -> str:
        """Return the query of another page of the same search."""
        return urlencode({**self.values, **({"page": str(page)} if page > 1 else {})})


def _pattern(value: str, *, person: bool) -> str:
    """Return what matches a text within others, in large and small letters: DICOM tells these apart (PS3.4, C.2.2.2),
    but for names of persons, so the usual spellings are listed."""
    value = value.replace("\\", " ")
    around = "" if {"*", "?"} & set(value) else "*"
    if person:
        return around + value + around
    words = [(word, word.lower(), word.upper(), word.capitalize(), word.title()) for word in value.split(" ")]
    same = [" ".join(spelled) for spelled in zip(*words, strict=True)]
    mixed = (" ".join(spelled) for spelled in islice(product(*words), _SPELLINGS))
    found = ""
    for spelled in dict.fromkeys([*same, *mixed]):
        if len(found) + len(spelled) + 3 > _PATTERN:
            break
        found += ("\\" if found else "") + around + spelled + around
    return found


def study_row(store: Store, found: Json) -> dict[str, Any]:
    """Return a study as the pages show it."""
    uid = text(found, STUDY)
    return {
        "uid": uid,
        "name": text(found, "00100010"),
        "id": text(found, "00100020"),
        "birth": date(found, "00100030"),
        "sex": text(found, "00100040"),
        "date": date(found, "00080020"),
        "accession": text(found, "00080050"),
        "description": text(found, "00081030"),
        "modalities": text(found, "00080061"),
        "series": text(found, "00201206"),
        "instances": text(found, "00201208"),
        "sizes": sizes(store.holdings(uid)),
    }


def series_row(store: Store, study: str, found: Json) -> dict[str, Any]:
    """Return a series as the pages show it."""
    uid = text(found, SERIES)
    return {
        "uid": uid,
        "number": text(found, "00200011"),
        "description": text(found, "0008103E"),
        "modality": text(found, "00080060"),
        "body": text(found, "00180015"),
        "instances": text(found, "00201209"),
        "pictured": any(one.frames for one in store.instances(study, uid)),
        "sizes": sizes(store.holdings(study, uid)),
    }


def study_of(store: Store, uid: str) -> Json | None:
    """Return a study as the store finds it; None where there is none."""
    found = store.search(Query(Level.STUDIES, {STUDY: uid}, _INCLUDED, limit=1)).results
    return found[0] if found else None


def series_of(store: Store, study: str, series: str | None = None) -> list[Json]:
    """Return the series of a study, or the one asked for, as the store finds them."""
    match = {STUDY: study} | ({SERIES: series} if series else {})
    return store.search(Query(Level.SERIES, match, ("0008103E", "00180015", "00201209", "00200011"))).results
