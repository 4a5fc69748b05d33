"""What of an Accept header an instance, a frame, a value can be."""

from __future__ import annotations

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request

from volcomp.serve.dicomweb.accept import (
    Answer,
    Media,
    accepted,
    demand_json,
    makeable,
    of_bytes,
    of_frames,
    of_instance,
    refused,
)

EXPLICIT, IMPLICIT, RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.5"
DEFLATED, BIG = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"
JPEG, JLS, MC = (f"1.2.840.10008.1.2.4.{end}" for end in ("50", "80", "92"))
DICOM, OCTETS = "application/dicom", "application/octet-stream"


def request(*headers: str, query: str = "") -> Request:
    raw = [(b"accept", header.encode()) for header in headers]
    return Request({"type": "http", "method": "GET", "headers": raw, "query_string": query.encode(), "path": "/"})


def media(*headers: str, query: str = "") -> list[Media]:
    return accepted(request(*headers, query=query))


@pytest.mark.parametrize("header", [
    'multipart/related; type="application/dicom"; transfer-syntax=*',
    "multipart/related;type=application/dicom;transfer-syntax=*",
    'Multipart/Related; TYPE="Application/DICOM"; Transfer-Syntax="*"',
    'image/png, multipart/related; type="application/dicom"; transfer-syntax=*; q=0.5',
])  # fmt: skip
def test_spellings(header):
    assert of_instance(media(header), RLE, single=False) == Answer(DICOM, RLE, True)


def test_the_query_comes_first():
    query = "accept=multipart/related;%20type=%22application/dicom%22;%20transfer-syntax=*"
    assert of_instance(media("image/png", query=query), JPEG, single=False) == Answer(DICOM, JPEG, True)
    assert demand_json(request("image/png", query="accept=application/dicom+json")) == "application/dicom+json"
    assert demand_json(request("image/png", query="accept=application/dicom%2Bjson")) == "application/dicom+json"


@pytest.mark.parametrize(("header", "stored", "syntax"), [
    (None, EXPLICIT, EXPLICIT), (None, IMPLICIT, EXPLICIT), (None, BIG, EXPLICIT), (None, DEFLATED, EXPLICIT),
    (None, RLE, EXPLICIT), (None, MC, None), ("*/*", RLE, EXPLICIT), ("multipart/*", RLE, EXPLICIT),
    ("application/*", RLE, None), ("image/jpeg", JPEG, None), ('multipart/related; type="*/*"', RLE, EXPLICIT),
    (f"{RLE}", RLE, RLE), (f"{RLE}", JPEG, None), (f"{EXPLICIT}", RLE, EXPLICIT), (f"{EXPLICIT}", MC, None),
    ("*", MC, MC), (f"{IMPLICIT}", EXPLICIT, None), (f"{IMPLICIT}", IMPLICIT, IMPLICIT), (f"{JPEG}", EXPLICIT, None),
])  # fmt: skip
def test_what_goes_out_of_an_instance(header, stored, syntax):
    """A header that is a UID or "*" stands for multipart DICOM with this transfer syntax."""
    if header and "/" not in header and header != "*/*":
        header = f'multipart/related; type="application/dicom"; transfer-syntax={header}'
    got = of_instance(media(*([header] if header else [])), stored, single=False)
    assert (got and got.syntax) == syntax


def test_a_single_instance_may_come_alone():
    assert of_instance(media("application/dicom"), RLE, single=False) is None
    assert of_instance(media("application/dicom"), RLE, single=True) == Answer(DICOM, EXPLICIT, False, False)
    assert of_instance(media("application/dicom; transfer-syntax=*"), RLE, single=True) == Answer(DICOM, RLE, False)


def test_qualities():
    header = (
        f'multipart/related; type="application/dicom"; transfer-syntax={EXPLICIT}; q=0.2, '
        f'multipart/related; type="application/dicom"; transfer-syntax={RLE}; q=0.9'
    )
    assert of_instance(media(header), RLE, single=False) == Answer(DICOM, RLE, True)
    assert of_instance(media(header), JLS, single=False) is None or makeable(JLS)
    assert media("image/png;q=0, image/jpeg;q=oops") == [Media("image/jpeg")]
    assert media("a/b;q=7, c/d;q=0.5")[0].name == "a/b"
    assert media("image/png;q=0") == []


@pytest.mark.parametrize(("header", "stored", "answer"), [
    (None, EXPLICIT, Answer(OCTETS, EXPLICIT, True)),
    ('multipart/related; type="*/*"', IMPLICIT, Answer(OCTETS, EXPLICIT, True)),
    ('multipart/related; type="*/*"', RLE, Answer(OCTETS, EXPLICIT, True)),
    ('multipart/related; type="*/*"', MC, Answer("image/jpx", MC, True)),
    ('multipart/related; type="*/*"; transfer-syntax=*', JPEG, Answer("image/jpeg", JPEG, True)),
    ('multipart/related; type="application/octet-stream"; transfer-syntax=*', JLS, Answer(OCTETS, JLS, True)),
    ("multipart/related; type=application/octet-stream", JPEG, Answer(OCTETS, EXPLICIT, True)),
    (f"application/octet-stream; transfer-syntax={EXPLICIT}", EXPLICIT, Answer(OCTETS, EXPLICIT, False)),
    (f"application/octet-stream; transfer-syntax={IMPLICIT}", IMPLICIT, Answer(OCTETS, EXPLICIT, False)),
    ('multipart/related; type="image/jls"', JLS, Answer("image/jls", JLS, True)),
    (f'multipart/related; type="image/jls"; transfer-syntax={JLS}', JLS, Answer("image/jls", JLS, True)),
    ("image/*", JPEG, Answer("image/jpeg", JPEG, False)),
    ('multipart/related; type="image/jls"', JPEG, None),
    ('multipart/related; type="image/jls"', EXPLICIT, None),
    ('multipart/related; type="image/dicom-rle"', RLE, Answer("image/dicom-rle", RLE, True)),
    ('multipart/related; type="application/octet-stream"', MC, None),
    ("text/html", EXPLICIT, None),
])  # fmt: skip
def test_what_goes_out_of_a_frame(header, stored, answer):
    assert of_frames(media(*([header] if header else [])), stored, single=True) == answer


def test_several_frames_need_parts():
    assert of_frames(media("application/octet-stream"), EXPLICIT, single=False) is None
    assert of_frames(media("application/octet-stream, */*;q=0.1"), EXPLICIT, single=False) is not None


def test_values_have_one_form():
    assert of_bytes(media()) == of_bytes(media("*/*")) == Answer(OCTETS, EXPLICIT, False)
    assert of_bytes(media('multipart/related; type="*/*"')) == Answer(OCTETS, EXPLICIT, True)
    assert of_bytes(media("image/png")) is None


@pytest.mark.parametrize("header", ["application/dicom+xml", 'multipart/related; type="application/dicom+xml"'])
def test_there_is_no_xml(header):
    with pytest.raises(HTTPException) as error:
        demand_json(request(header))
    assert error.value.status_code == 406 and "application/dicom+json" in error.value.detail
    assert demand_json(request(header, "application/json;q=0.1")) == "application/json"


def test_odd_headers_are_read_and_long_ones_are_not():
    for header in (";", ",,,", '"', 'multipart/related; type="', "=;=", "a" * 4000, ";q=;q=1"):
        media(header)
    with pytest.raises(HTTPException) as error:
        media("a" * 5000)
    assert error.value.status_code == 400


def test_a_refusal_says_what_is_stored():
    sentence = refused(MC).detail
    assert MC in sentence and "no decoder" in sentence and "transfer-syntax=*" in sentence
    assert "1.2.840.10008.1.2.1 can be made of it" in refused(RLE).detail
    assert refused("1.2.3").status_code == 406
