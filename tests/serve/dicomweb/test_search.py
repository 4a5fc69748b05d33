"""QIDO-RS: parameters taken apart, and what is answered to odd ones."""

from __future__ import annotations

import gzip

import httpx
import pytest
from starlette.exceptions import HTTPException

from tests.serve.dicomweb.conftest import CT, STUDY
from volcomp.serve.dicomweb.paths import Place
from volcomp.serve.dicomweb.search import MOST, query
from volcomp.serve.store.query import Level, Query

NOWHERE = Place(None, None, None)


def taken(*parameters: tuple[str, str], level: Level = Level.STUDIES, place: Place = NOWHERE) -> Query:
    return query(level, list(parameters), place)


def test_attributes_by_keyword_and_by_tag():
    got = taken(("PatientID", "P1"), ("00080020", "20200101-20201231"), ("0010,0010", "Doe*"), ("00404025", "x"))
    assert got.match == {"00100020": "P1", "00080020": "20200101-20201231", "00100010": "Doe*", "00404025": "x"}
    got = taken(("RequestAttributesSequence.ScheduledProcedureStepID", "7"), ("00400275.00400007", "8"))
    assert got.match == {"00400275.00400009": "7", "00400275.00400007": "8"}


def test_fields_to_include():
    got = taken(
        ("includefield", "PatientName"), ("includefield", "00080060,StudyDate, RequestAttributesSequence.00400009")
    )
    assert got.include == ("00100010", "00080060", "00080020", "00400275.00400009") and not got.everything
    got = taken(("includefield", "all"), ("includefield", "00091010,PatientName,PatientName"))
    assert got.everything and got.include == ("00091010", "00100010")


def test_limits():
    assert (taken().limit, taken().offset, taken().fuzzy) == (MOST, 0, False)
    got = taken(("limit", "7"), ("offset", "3"), ("fuzzymatching", "TRUE"), ("accept", "x"), ("charset", "utf-8"))
    assert (got.limit, got.offset, got.fuzzy, got.match) == (7, 3, True, {})
    assert taken(("limit", "99999999")).limit == MOST and taken(("limit", "0")).limit == 0


def test_uids_of_the_path_and_lists_of_uids():
    place = Place("1.2", "1.2.3", None)
    got = taken(("SOPInstanceUID", "1.5,1.6"), ("SOPInstanceUID", "1.7\\1.8"), level=Level.INSTANCES, place=place)
    assert got.match == {"00080018": "1.5,1.6,1.7,1.8", "0020000D": "1.2", "0020000E": "1.2.3"}
    assert taken(("StudyInstanceUID", "1.2"), place=place).match["0020000D"] == "1.2"


@pytest.mark.parametrize(("parameter", "says"), [
    (("PatientWeigth", "3"), "no attribute of DICOM"), (("0010002", "3"), "no attribute"), (("", "3"), "no attribute"),
    (("includefield", "Nothing"), "'Nothing' is no attribute"), (("limit", "-1"), "whole number"),
    (("limit", "1e3"), "whole number"), (("offset", "x"), "whole number"), (("fuzzymatching", "1"), "true or false"),
    (("StudyInstanceUID", "1.2;drop"), "digits and dots"), (("PatientName", "x" * 2000), "at most 1024"),
    (("a." * 300, "3"), "no attribute"),
])  # fmt: skip
def test_what_is_no_search(parameter, says):
    with pytest.raises(HTTPException) as error:
        taken(parameter)
    assert error.value.status_code == 400 and says in error.value.detail and len(error.value.detail) < 300


def test_what_contradicts_itself():
    for parameters in (
        [("StudyInstanceUID", "1.3")],
        [("PatientID", "1"), ("00100020", "2")],
        [("PatientID", "1")] * 200,
    ):
        with pytest.raises(HTTPException) as error:
            taken(*parameters, place=Place("1.2", None, None))
        assert error.value.status_code == 400


def test_answers(server):
    got = httpx.get(f"{server.url}/instances", params={"limit": 2, "offset": 1, "includefield": "Rows"})
    assert got.status_code == 200 and got.headers["content-type"] == "application/dicom+json" and len(got.json()) == 2
    assert got.headers["warning"] == '299 volcomp "There are more results; ask for them with offset=3"'
    assert got.headers["cache-control"] == "no-store"
    got = httpx.get(f"{server.url}/studies/{STUDY}/series/{CT}/instances", headers={"Accept": "application/json"})
    assert len(got.json()) == 5 and "warning" not in got.headers and got.headers["content-type"] == "application/json"
    got = httpx.get(f"{server.url}/series", params={"PatientID": "nobody"})
    assert (got.status_code, got.content, got.headers["content-type"]) == (200, b"[]", "application/dicom+json")
    assert httpx.get(f"{server.url}/studies/1.77/series").json() == []
    got = httpx.get(f"{server.url}/studies", params={"RequestAttributesSequence.00400009": "1"})
    assert got.status_code == 400 and "00400275.00400009" in got.json()["error"]["sentence"]
    got = httpx.get(f"{server.url}/studies", headers={"Accept": "application/dicom+xml"})
    assert got.status_code == 406


def test_json_is_compressed_where_that_is_taken(server):
    with httpx.stream("GET", f"{server.url}/instances?includefield=all", headers={"Accept-Encoding": "gzip"}) as got:
        raw = b"".join(got.iter_raw())
    assert got.headers["content-encoding"] == "gzip" and "Accept-Encoding" in got.headers["vary"]
    plain = httpx.get(f"{server.url}/instances?includefield=all", headers={"Accept-Encoding": "gzip;q=0"})
    assert "content-encoding" not in plain.headers and gzip.decompress(raw) == plain.content


@pytest.mark.parametrize(
    "path", ["/nothing", "/studies/1.2.3/nothing", "/studies/1/2/3/4", "/studies/", "/instances/1.2"]
)
def test_other_addresses(server, path):
    got = httpx.get(server.url + path)
    assert got.status_code == 404 or got.is_redirect
    if got.status_code == 404:
        assert set(got.json()["error"]) == {"status", "sentence"}


@pytest.mark.parametrize("uid", ["1.2.3a", "..%2F..%2Fetc", "1" * 65, "%00", "1.2 3"])
def test_what_is_no_uid(server, uid):
    got = httpx.get(f"{server.url}/studies/{uid}/metadata")
    assert got.status_code in (400, 404) and "sentence" in got.json()["error"] and "etc" not in got.text


def test_what_the_service_does(server):
    assert "studies" in httpx.get(f"{server.url}/").json()["search"]
