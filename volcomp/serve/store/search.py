"""Search the index: what QIDO-RS matches and returns (PS3.18, 10.6, with its tables of attributes)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from itertools import islice
from typing import Any

from .attributes import CHARACTERS, PIXELS
from .entering import attributes_of
from .index import SERIES_KEYS, STUDY_KEYS, column
from .matching import Condition, check, condition, fits, vr_of
from .protocol import Found, Json
from .query import Level, Query

MODALITIES = "00080061"  # Modalities in Study
_AVAILABILITY, _TIMEZONE = "00080056", "00080201"
_OF_STUDY, _OF_SERIES = ("00201206", "00201208"), "00201209"  # numbers of related series and instances
# Required attributes (PS3.18, tables 10.6.3-3 to 10.6.3-5), and a few that every list shows.
_STUDY = (
    "00080020", "00080030", "00080050", "00080090", _TIMEZONE, "00081030", "00100010", "00100020", "00100030",
    "00100040", "0020000D", "00200010",
)  # fmt: skip
_SERIES = (
    "00080060", _TIMEZONE, "0008103E", "00180015", "0020000E", "00200011", "00400244", "00400245", "00400275",
)  # fmt: skip
_INSTANCE = ("00080016", "00080018", _TIMEZONE, "00200013", "00280008", "00280010", "00280011", "00280100")
_STUDY_UID, _SERIES_UID = "0020000D", "0020000E"
_INSTANCE_COLUMNS = {"00080016": "instances.sop_class", "00080018": "instances.sop", "00200013": "instances.number"}
_MOST = 1 << 62  # of SQLite's LIMIT: all

_FROM = {
    Level.STUDIES: "studies JOIN instances ON instances.id = studies.first",
    Level.SERIES: "series JOIN studies USING (study) JOIN instances ON instances.id = series.first",
    Level.INSTANCES: "instances JOIN series USING (study, series) JOIN studies USING (study)",
}
_ORDER = {
    Level.STUDIES: "studies.k00080020 DESC, studies.k00080030 DESC, studies.study",
    Level.SERIES: "studies.k00080020 DESC, studies.k00080030 DESC, studies.study, series.k00200011 IS NULL,"
    " series.k00200011, series.series",
    Level.INSTANCES: "studies.k00080020 DESC, studies.k00080030 DESC, studies.study, series.k00200011 IS NULL,"
    " series.k00200011, series.series, instances.number IS NULL, instances.number, instances.sop",
}


def search(connection: sqlite3.Connection, query: Query) -> Found:
    """Return what matches; see `Store.search`. Raises UnsupportedError for what is no value, range or pattern."""
    where, parameters, others = _conditions(query)
    statement = (
        "SELECT instances.dictionary, instances.attributes, studies.series AS n_series, studies.modalities,"
        f" studies.instances AS n_of_study{', series.instances AS n_of_series' if query.level != Level.STUDIES else ''}"
        f" FROM {_FROM[query.level]} WHERE {' AND '.join(['1', *where])} ORDER BY {_ORDER[query.level]}"
    )
    limit = _MOST if query.limit is None else max(0, query.limit)
    if not others:
        rows = connection.execute(
            f"{statement} LIMIT ? OFFSET ?", (*parameters, min(limit, _MOST - 1) + 1, query.offset)
        )
        chosen: Iterator[tuple[Any, Json]] = ((row, attributes_of(connection, row)) for row in rows.fetchall())
    else:
        found = ((row, attributes_of(connection, row)) for row in connection.execute(statement, parameters))
        fitting = ((row, one) for row, one in found if all(fits(one, *it, fuzzy=query.fuzzy) for it in others))
        chosen = islice(fitting, query.offset, min(query.offset + limit + 1, _MOST))
    results = [_result(query, row, attributes) for row, attributes in islice(chosen, min(limit, _MOST))]
    return Found(results, next(chosen, None) is not None)


def _conditions(query: Query) -> tuple[list[str], list[Any], list[tuple[str, str]]]:
    """Return conditions in SQL, their parameters, and the keys that have no column."""
    where: list[str] = ["instances.chosen = 1"]
    parameters: list[Any] = []
    others: list[tuple[str, str]] = []
    below: list[Condition] = []  # of series, in a search of studies
    for tag, wanted in query.match.items():
        tag = tag.upper()
        found: Condition | None
        if tag == MODALITIES:
            found = condition("s.k00080060", "CS", wanted)
            if found:
                sql = f"EXISTS (SELECT 1 FROM series AS s WHERE s.study = studies.study AND {found[0]})"
                found = sql, found[1]
        elif tag == _STUDY_UID:
            found = condition("studies.study", "UI", wanted)
        elif tag in STUDY_KEYS:
            fuzzy = "studies.words" if tag == "00100010" and query.fuzzy else None
            found = condition(f"studies.{column(tag)}", STUDY_KEYS[tag], wanted, fuzzy=fuzzy)
        elif tag in SERIES_KEYS or tag == _SERIES_UID:
            table = "s" if query.level == Level.STUDIES else "series"
            name, vr = ("series", "UI") if tag == _SERIES_UID else (column(tag), SERIES_KEYS[tag])
            found = condition(f"{table}.{name}", vr, wanted)
            if found and query.level == Level.STUDIES:
                below.append(found)
                continue
        elif tag in _INSTANCE_COLUMNS and query.level == Level.INSTANCES:
            found = condition(_INSTANCE_COLUMNS[tag], vr_of(tag), wanted)
        elif tag in _INSTANCE_COLUMNS:
            found = _of_instances(query.level, tag, wanted)
        else:
            check(tag, wanted)
            others.append((tag, wanted))
            continue
        if found:
            where.append(found[0])
            parameters += found[1]
    if below:
        conditions = " AND ".join(sql for sql, _ in below)
        where.append(f"EXISTS (SELECT 1 FROM series AS s WHERE s.study = studies.study AND {conditions})")
        parameters += [value for _, values in below for value in values]
    return where, parameters, others


def _of_instances(level: Level, tag: str, wanted: str) -> Condition | None:
    """Return the condition that a study or a series has an instance with this attribute."""
    found = condition(_INSTANCE_COLUMNS[tag].replace("instances.", "i."), vr_of(tag), wanted)
    if found is None:
        return None
    above, of = "studies.study", "i.study"
    if level == Level.SERIES:
        above, of = "(studies.study, series.series)", "i.study, i.series"
    return f"{above} IN (SELECT {of} FROM instances AS i WHERE i.chosen = 1 AND {found[0]})", found[1]


def _result(query: Query, row: Any, attributes: Json) -> Json:
    """Return what a search returns of one instance, the only or the first one of what was found."""
    tags = [*_STUDY, *(_SERIES if query.level != Level.STUDIES else ())]
    tags += _INSTANCE if query.level == Level.INSTANCES else ()
    if query.everything:
        tags += [tag for tag in attributes if query.level == Level.INSTANCES or not _is_of_instance(tag)]
    found = {tag: attributes.get(tag, {"vr": vr_of(tag)}) for tag in tags if tag != _TIMEZONE or tag in attributes}
    found |= {tag.upper(): attributes[tag.upper()] for tag in query.include if tag.upper() in attributes}
    for tag in PIXELS:
        found.pop(tag, None)
    found[CHARACTERS] = attributes[CHARACTERS]
    found[_AVAILABILITY] = {"vr": "CS", "Value": ["ONLINE"]}
    modalities = json.loads(row["modalities"])
    found[MODALITIES] = {"vr": "CS", "Value": modalities} if modalities else {"vr": "CS"}
    for tag, name in zip(_OF_STUDY, ("n_series", "n_of_study"), strict=True):
        found[tag] = {"vr": "IS", "Value": [row[name]]}
    if query.level != Level.STUDIES:
        found[_OF_SERIES] = {"vr": "IS", "Value": [row["n_of_series"]]}
    return {tag: found[tag] for tag in sorted(found) if not _has_bulk(found[tag])}


def _is_of_instance(tag: str) -> bool:
    """Return whether an attribute is of an instance or its pixels, and not of its study or series."""
    return tag in _INSTANCE or tag[:4] in ("0028", "7FE0")


def _has_bulk(found: Any) -> bool:
    """Return whether an attribute has a value, or one in an item, that is given by its path alone."""
    if isinstance(found, dict):
        return "BulkDataURI" in found or any(_has_bulk(value) for value in found.values())
    return isinstance(found, list) and any(_has_bulk(one) for one in found)
