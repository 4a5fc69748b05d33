"""Searches: every way of matching, at every level, with the attributes that PS3.18 requires, in a stable order."""

import dataclasses
import json
from typing import Any

import pytest

from tests.serve.makers import uid
from volcomp.errors import UnsupportedError
from volcomp.serve.store import TreeStore
from volcomp.serve.store.query import Level, Query

STUDY, SERIES, SOP = "0020000D", "0020000E", "00080018"
NAME, PATIENT, DATE, TIME = "00100010", "00100020", "00080020", "00080030"


def search(store: TreeStore, level: Level = Level.STUDIES, **options: Any) -> list[dict[str, Any]]:
    found = store.search(Query(level, **options))
    assert not found.more
    json.dumps(found.results, allow_nan=False)
    return found.results


def names(store: TreeStore, match: dict[str, str], **options: Any) -> str:
    """The first letters of the names of the studies that match."""
    studies = {uid(name): name[0] for name in ("Alpha", "Beta", "Gamma")}
    return "".join(sorted(studies[one[STUDY]["Value"][0]] for one in search(store, match=match, **options)))


REQUIRED = {
    Level.STUDIES: "00080020 00080030 00080050 00080056 00080061 00080090 00100010 00100020 00100030 00100040 0020000D"
    " 00200010 00201206 00201208",
    Level.SERIES: "00080060 0008103E 0020000E 00200011 00201209 00400244 00400245 00400275",
    Level.INSTANCES: "00080016 00080018 00080056 00200013 00280010 00280011 00280100 00280008",
}  # fmt: skip


@pytest.mark.parametrize("level", Level)
def test_required_attributes(store: TreeStore, level: Level) -> None:
    for one in search(store, level):
        assert set(REQUIRED[level].split()) <= one.keys()
        assert list(one) == sorted(one)
        assert all("vr" in value for value in one.values())


def test_numbers_of_what_is_related(store: TreeStore) -> None:
    (one,) = search(store, match={STUDY: uid("Alpha")})
    assert (one["00201206"]["Value"], one["00201208"]["Value"]) == ([2], [8])
    assert one["00080061"] == {"vr": "CS", "Value": ["CT"]} and one["00080056"]["Value"] == ["ONLINE"]
    assert [one["00201209"]["Value"] for one in search(store, Level.SERIES)] == [[4], [4], [4], [3]]
    assert len(search(store, Level.INSTANCES)) == 15


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (NAME, "", "ABG"), (NAME, "*", "ABG"), (NAME, "Alpha^Ann", "A"), (NAME, "ALPHA^ann", "A"), (NAME, "alpha", ""),
        (NAME, "*ann*", "AB"), (NAME, "?lpha^Ann", "A"), (NAME, "müller*", "G"), (NAME, "山田^太郎", "G"),
        (NAME, "Müller^Jörg", "G"), (NAME, "[A]lpha*", ""), (NAME, "Alpha^Ann^^", "A"),
        (PATIENT, "P-Alpha", "A"), (PATIENT, "p-alpha", ""), (PATIENT, "P-*", "ABG"), (PATIENT, "P-?eta", "B"),
        (PATIENT, "P-Alpha\\P-Beta", "AB"), (PATIENT, "' OR 1=1 --", ""), (PATIENT, "%", ""), (PATIENT, "P-[AB]*", ""),
        (DATE, "20200131", "A"), (DATE, "2020", "A"), (DATE, "20200101-20211231", "AB"), (DATE, "-20200131", "AG"),
        (DATE, "20200201-", "B"), (DATE, "2020.01.31", "A"), (DATE, "20200131-20200131", "A"),
        (TIME, "101530", "AG"), (TIME, "1015", "AG"), (TIME, "23", "B"), (TIME, "-1015", "AG"), (TIME, "1016-", "B"),
        (TIME, "101530.5-", "B"), (TIME, "10:15", "AG"), (TIME, "101530.000000-101530.0", "AG"),
        ("00080061", "CT", "AG"), ("00080061", "MR", "B"), ("00080061", "CT,MR", "ABG"), ("00080061", "CT\\US", "AG"),
        ("00080061", "M?", "B"), ("00080060", "MR", "B"), ("00200011", "2", "A"), ("00200011", "02", "A"),
        ("00180015", "HEAD", "G"), ("00081030", "study of *", "ABG"), ("00080050", "A-Beta", "B"),
        (STUDY, ",".join([uid("Alpha"), uid("Gamma")]), "AG"), (STUDY, "\\".join([uid("Alpha"), "1.2"]), "A"),
        (STUDY, "1.2", ""), (SERIES, uid("Alpha", 1), "A"), (SOP, uid("Beta", 0, 3), "B"), (SOP, "*", ""),
        ("00281050", "40", "ABG"), ("00281050", "400", "ABG"), ("00281050", "41", ""), ("00100040", "O", "ABG"),
        ("00080070", "", "ABG"), ("00080070", "nobody", ""), ("0010003F", "x", ""),
    ],
)  # fmt: skip
def test_matching(store: TreeStore, key: str, value: str, expected: str) -> None:
    assert names(store, {key: value}) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("ann", "AB"), ("lee ann", "B"), ("ANN  be", "B"), ("muller", "G"), ("jorg,müll", "G"), ("太郎", "G"), ("nn", ""),
     ("*", "ABG"), ("an* alp*", "A"), ("x", "")],
)  # fmt: skip
def test_names_by_their_parts(store: TreeStore, value: str, expected: str) -> None:
    assert names(store, {NAME: value}, fuzzy=True) == expected


def test_several_keys_hold_together(store: TreeStore) -> None:
    assert names(store, {NAME: "*ann*", DATE: "2021-"}) == "B"
    assert names(store, {"00080060": "CT", "00200011": "2"}) == "A"
    assert names(store, {"00080060": "MR", "00200011": "2"}) == ""  # of one series both
    assert names(store, {"00281050": "40", PATIENT: "P-Alpha"}) == "A"


def test_levels(store: TreeStore) -> None:
    series = search(store, Level.SERIES, match={NAME: "alpha*"})
    assert [one[SERIES]["Value"][0] for one in series] == [uid("Alpha", 0), uid("Alpha", 1)]
    assert {one[STUDY]["Value"][0] for one in series} == {uid("Alpha")}
    assert len(search(store, Level.SERIES, match={SOP: uid("Alpha", 1, 2)})) == 1
    instances = search(store, Level.INSTANCES, match={STUDY: uid("Alpha"), "00200013": "2"})
    assert [one[SOP]["Value"][0] for one in instances] == [uid("Alpha", 0, 1), uid("Alpha", 1, 1)]
    assert len(search(store, Level.INSTANCES, match={"00080060": "MR"})) == 4
    assert len(search(store, Level.INSTANCES, match={"00080061": "MR"})) == 4
    assert len(search(store, Level.INSTANCES, match={"00280010": "16", SERIES: uid("Beta", 0)})) == 4


def test_more_attributes(store: TreeStore) -> None:
    (one,) = search(store, match={STUDY: uid("Alpha")}, include=("00281050", "00080070", "7FE00010"))
    assert one["00281050"]["Value"] == [40.0, 400.0] and "00080070" not in one and "7FE00010" not in one
    (one,) = search(store, match={STUDY: uid("Gamma")}, everything=True)
    assert one["00080060"]["Value"] == ["CT"] and "00280010" not in one
    assert one[NAME]["Value"] == [{"Alphabetic": "Müller^Jörg", "Ideographic": "山田^太郎"}]
    assert one["00080005"]["Value"] == ["ISO_IR 192"]
    of_instance = search(store, Level.INSTANCES, match={SOP: uid("Gamma", 0, 0)}, everything=True)[0]
    assert of_instance["00280010"]["Value"] == [16] and "7FE00010" not in of_instance


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("match", [{}, {"00281050": "40"}], ids=["in SQL", "by attributes"])
def test_pages_join_to_the_whole(store: TreeStore, level: Level, match: dict[str, str]) -> None:
    whole = search(store, level, match=match)
    query = Query(level, match, limit=2)
    joined: list[Any] = []
    while True:
        page = store.search(dataclasses.replace(query, offset=len(joined)))
        joined += page.results
        assert page.more == (len(joined) < len(whole))
        if not page.more:
            break
        assert len(page.results) == 2
    assert joined == whole
    none = store.search(dataclasses.replace(query, limit=0))
    assert none.results == [] and none.more
    assert store.search(dataclasses.replace(query, offset=1000)) == ([], False)


def test_the_latest_study_is_first(store: TreeStore) -> None:
    assert [one[DATE]["Value"][0] for one in search(store)] == ["20210505", "20200131", "20191224"]


@pytest.mark.parametrize(
    ("key", "value"),
    [(DATE, "yesterday"), (DATE, "-"), (DATE, "20200131-x"), (TIME, "noon"), ("00200011", "one"), (PATIENT, "x" * 2000),
     (PATIENT, "*a" * 17), ("00080070", "*a" * 17), ("00080070", "x" * 2000), (STUDY, ",".join(["1"] * 10_001))],
)  # fmt: skip
def test_what_makes_no_sense(store: TreeStore, key: str, value: str) -> None:
    with pytest.raises(UnsupportedError, match=r"\w"):
        store.search(Query(Level.STUDIES, {key: value}))


def test_hostile_values_are_values(store: TreeStore) -> None:
    """No text of a client reaches the database as anything else."""
    for level in Level:
        for key in (NAME, PATIENT, STUDY, SERIES, SOP, "00080060", "00080061", "00080070"):
            for value in (
                "'; DROP TABLE studies; --",
                '"',
                "\\",
                "%_%",
                "?" * 64,
                "[",
                "]",
                "[^a]",
                "\0",
                "\udcff",
                "a" * 64,
            ):
                store.search(Query(level, {key: value}))
    assert len(search(store)) == 3


def test_a_pattern_takes_no_long_time(store: TreeStore) -> None:
    """What backtracks would take longer than the age of the universe."""
    assert names(store, {PATIENT: "*a" * 16 + "b"}) == ""
    assert names(store, {"00081030": "*?" * 16 + "x"}) == ""
    assert names(store, {"00080070": "*?" * 16 + "x"}) == ""
