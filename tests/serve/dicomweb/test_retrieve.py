"""WADO-RS over plain HTTP: forms, ranges, tags of versions, odd requests."""

from __future__ import annotations

import email
import email.policy
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest

from tests.serve.dicomweb.conftest import (
    BIG,
    COLOURS,
    CT,
    DEFLATED,
    IMPLICIT,
    JPEG,
    MC,
    MULTI,
    ODD,
    REPORT,
    RLE,
    STUDY,
    one,
    samples,
)

RELATED = 'multipart/related; type="application/dicom"'


def parts(got: httpx.Response) -> list[tuple[dict[str, str], bytes]]:
    """Headers and data of each part of an answer."""
    head = f"Content-Type: {got.headers['content-type']}\r\n\r\n".encode()
    message: Any = email.message_from_bytes(head + got.content, policy=email.policy.HTTP)
    assert message.is_multipart() and not message.defects
    border = message.get_boundary()
    chunks = got.content.split(f"\r\n--{border}".encode())
    assert chunks[0] == b"" and chunks[-1] == b"--\r\n"
    found = []
    for chunk in chunks[1:-1]:
        headers, _, data = chunk.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        found.append((dict(line.split(": ", 1) for line in headers.decode().split("\r\n")), data))
    return found


def test_the_stored_file_byte_for_byte(server):
    for series in (CT, MULTI, COLOURS, REPORT, ODD):
        there = one(server.store, series)
        got = httpx.get(server.url + there.path)
        ((headers, data),) = parts(got)
        assert (
            data == there.data and headers["Content-Type"] == "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
        )
        assert got.headers["content-type"].startswith('multipart/related; type="application/dicom"; boundary=')
        assert int(headers["Content-Length"]) == len(data)
    for series in (BIG, IMPLICIT, DEFLATED, RLE, JPEG, MC):
        there = one(server.store, series)
        got = httpx.get(server.url + there.path, headers={"Accept": "application/dicom; transfer-syntax=*"})
        assert got.content == there.data and got.headers["content-type"].endswith(there.instance.syntax)
        accept = f"{RELATED}; transfer-syntax={there.instance.syntax}"
        ((_, data),) = parts(httpx.get(server.url + there.path, headers={"Accept": accept}))
        assert data == there.data


@pytest.mark.parametrize("series", [BIG, IMPLICIT, DEFLATED, RLE, JPEG])
def test_explicit_little_endian_is_made(server, series):
    there = one(server.store, series)
    got = httpx.get(server.url + there.path, headers={"Accept": "application/dicom"})
    made = pydicom.dcmread(BytesIO(got.content))
    assert made.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
    assert got.headers["content-type"] == "application/dicom; transfer-syntax=1.2.840.10008.1.2.1"
    assert np.array_equal(made.pixel_array, there.dataset.pixel_array)
    for element in there.dataset:
        if element.tag not in (0x7FE00010, 0x00283000, 0x00280006):
            assert made[element.tag].value == element.value, element
    if series == BIG:
        assert np.array_equal(np.frombuffer(made.ModalityLUTSequence[0].LUTData, "<u2"), [1, 2, 770])
        assert np.array_equal(made.pixel_array, samples(8, 6))
    if series == RLE:
        assert made.SOPInstanceUID == there.instance.sop


def test_elements_of_commands_do_not_hinder(server):
    """Some files of scanners have elements (0000,eeee), which pydicom reads and does not write."""
    there = one(server.store, IMPLICIT)
    at = there.data.index(b"\x08\x00\x16\x00")
    changed = there.data[:at] + b"\x00\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00" + there.data[at:]
    server.store.files[there.instance.sop] = changed
    try:
        got = httpx.get(server.url + there.path, headers={"Accept": "application/dicom"})
        assert got.status_code == 200 and pydicom.dcmread(BytesIO(got.content)).PixelData == there.dataset.PixelData
    finally:
        server.store.files[there.instance.sop] = there.data


def test_what_cannot_be_made_is_refused(server):
    there = one(server.store, MC)
    for accept in ("application/dicom", f"{RELATED}; transfer-syntax=1.2.840.10008.1.2.1", "image/png"):
        got = httpx.get(server.url + there.path, headers={"Accept": accept})
        assert got.status_code == 406 and there.instance.syntax in got.json()["error"]["sentence"]
    got = httpx.get(f"{server.url}/studies/{STUDY}/series/{CT}", headers={"Accept": "application/dicom"})
    assert got.status_code == 406 and "multipart/related" in got.json()["error"]["sentence"]
    got = httpx.get(f"{server.url}/studies/{STUDY}")
    assert got.status_code == 206 and got.headers["warning"].startswith('299 volcomp "1 instances are in no form')


def test_a_file_that_is_said_to_be_readable_and_is_not(server):
    """Frames that a decoder chokes on: 406 alone, and as they are stored among others."""
    there = one(server.store, JPEG)
    broken = there.data.replace(b"\xff\xd8\xff", b"\0\1\2")
    assert broken != there.data
    server.store.files[there.instance.sop] = broken
    try:
        got = httpx.get(server.url + there.path, headers={"Accept": "application/dicom"})
        assert got.status_code == 406 and "transfer-syntax=*" in got.json()["error"]["sentence"]
        ((headers, data),) = parts(httpx.get(f"{server.url}/studies/{STUDY}/series/{JPEG}"))
        assert data == broken and headers["Content-Type"].endswith(there.instance.syntax)
        got = httpx.get(f"{server.url}{there.path}/frames/1", headers={"Accept": "application/octet-stream"})
        assert got.status_code == 406
    finally:
        server.store.files[there.instance.sop] = there.data


def test_lengths_are_said_where_they_are_known(server):
    got = httpx.get(f"{server.url}/studies/{STUDY}/series/{CT}")
    assert int(got.headers["content-length"]) == len(got.content) and len(parts(got)) == 5
    head = httpx.head(f"{server.url}/studies/{STUDY}/series/{CT}")
    assert head.headers["content-length"] == got.headers["content-length"] and head.content == b""


@pytest.mark.parametrize("series", [CT, MULTI, DEFLATED, RLE])
def test_a_length_that_is_not_known_is_not_said(server, series):
    """HEAD said that it is 0 of what is made when it is fetched (RFC 9110, 8.6)."""
    path = one(server.store, series).path
    many = f"/studies/{STUDY}/series/{series}"
    endings = ("", "/frames/1", "/metadata", "/bulkdata/7FE00010", "/rendered", "/frames/1/rendered", "/thumbnail")
    for url in [*(path + ending for ending in endings), many, f"{many}/metadata", f"{many}/thumbnail"]:
        got, head = (httpx.request(method, server.url + url) for method in ("GET", "HEAD"))
        assert got.status_code == head.status_code == 200 and head.content == b""
        assert head.headers.get("content-length") in (None, got.headers.get("content-length")), url


@pytest.mark.parametrize("path", ["", "/frames/1", "/metadata", "/bulkdata/7FE00010", "/rendered", "/thumbnail"])
def test_versions(server, path):
    url = server.url + one(server.store, CT).path + path
    got = httpx.get(url)
    assert got.status_code == 200 and got.headers["last-modified"]
    for headers in ({"If-None-Match": got.headers["etag"]}, {"If-None-Match": f'"x", W/{got.headers["etag"]}'},
                    {"If-None-Match": "*"}, {"If-Modified-Since": got.headers["last-modified"]}):  # fmt: skip
        again = httpx.get(url, headers=headers)
        assert (again.status_code, again.content) == (304, b"") and again.headers["etag"] == got.headers["etag"]
    for headers in ({"If-None-Match": '"x"'}, {"If-Modified-Since": "yesterday"},
                    {"If-None-Match": '"x"', "If-Modified-Since": got.headers["last-modified"]}):  # fmt: skip
        assert httpx.get(url, headers=headers).status_code == 200
    assert httpx.head(url).status_code == 200 and httpx.head(url).content == b""


def test_forms_have_tags_of_their_own(server):
    url = server.url + one(server.store, RLE).path
    tags = {
        httpx.get(url, headers={"Accept": accept}).headers["etag"]
        for accept in ("application/dicom", "application/dicom; transfer-syntax=*")
    }
    tags |= {httpx.get(f"{url}/frames/{frame}").headers["etag"] for frame in (1, 2, "1,2")}
    tags |= {httpx.get(f"{url}/rendered?{query}").headers["etag"] for query in ("", "window=1,2", "quality=3")}
    assert len(tags) == 8


@pytest.mark.parametrize(("numbers", "status"), [
    ("1-3", 400), ("1,,2", 400), ("a", 400), ("0", 404), ("7", 404), ("1,1,1,1,1,1,1", 400), ("-1", 400),
    ("1;2", 400), ("1%2C2", 200), ("3,2,2", 200), ("99999999999", 400),
])  # fmt: skip
def test_lists_of_frames(server, numbers, status):
    got = httpx.get(f"{server.url}{one(server.store, MULTI).path}/frames/{numbers}")
    assert got.status_code == status
    if status != 200:
        assert got.json()["error"]["sentence"]


def test_frames_in_parts(server):
    there = one(server.store, MULTI)
    got = httpx.get(f"{server.url}{there.path}/frames/3,1", headers={"Accept": 'multipart/related; type="*/*"'})
    (first, second) = parts(got)
    pixels = samples(6, 10, 12)
    assert first[0]["Content-Type"] == "application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1"
    assert first[0]["Content-Location"] == f"{server.url}{there.path}/frames/3" and first[1] == pixels[2].tobytes()
    assert second[1] == pixels[0].tobytes()
    got = httpx.get(f"{server.url}{there.path}/frames/2", headers={"Accept": "application/octet-stream"})
    assert got.content == pixels[1].tobytes()
    assert httpx.get(f"{server.url}{one(server.store, REPORT).path}/frames/1").status_code == 404


def test_frames_of_other_syntaxes(server):
    octets = {"Accept": "application/octet-stream"}
    for series in (BIG, IMPLICIT, DEFLATED):
        got = httpx.get(f"{server.url}{one(server.store, series).path}/frames/1", headers=octets)
        assert got.content == samples(8, 6).tobytes(), series
    there = one(server.store, ODD)  # nine bytes, and one to fill
    got = httpx.get(f"{server.url}{there.path}/frames/1", headers=octets)
    assert got.content[:9] == samples(3, 3, kind="u1", top=200).tobytes()
    before = server.store.calls["file"]
    got = httpx.get(f"{server.url}{one(server.store, RLE).path}/frames/2", headers=octets)
    assert got.content == samples(3, 8, 6)[1].tobytes() and server.store.calls["file"] == before  # its frame alone
    got = httpx.get(f"{server.url}{one(server.store, RLE).path}/frames/2", headers={"Accept": "image/*"})
    assert got.headers["content-type"] == "image/dicom-rle; transfer-syntax=1.2.840.10008.1.2.5"


@pytest.mark.parametrize(("asked", "first", "end"), [
    ("bytes=0-9", 0, 10), ("bytes=500-", 500, 512), ("bytes=-5", 507, 512), ("bytes=500-9999", 500, 512),
    ("bytes = 1 - 1", 1, 2), ("bytes=-9999", 0, 512),
])  # fmt: skip
def test_ranges(server, asked, first, end):
    there = one(server.store, CT)
    url = f"{server.url}{there.path}/bulkdata/7FE00010"
    got = httpx.get(url, headers={"Range": asked})
    assert got.status_code == 206 and got.content == there.dataset.PixelData[first:end]
    assert got.headers["content-range"] == f"bytes {first}-{end - 1}/512"
    got = httpx.get(url, headers={"Range": asked, "Accept": 'multipart/related; type="application/octet-stream"'})
    ((headers, data),) = parts(got)
    assert got.status_code == 206 and data == there.dataset.PixelData[first:end]
    assert headers["Content-Range"] == f"bytes {first}-{end - 1}/512"


def test_other_ranges(server):
    there = one(server.store, CT)
    url = f"{server.url}{there.path}/bulkdata/7FE00010"
    whole = httpx.get(url)
    assert whole.headers["accept-ranges"] == "bytes" and whole.content == there.dataset.PixelData
    for asked in ("bytes=512-", "bytes=-0", "bytes=600-700"):
        got = httpx.get(url, headers={"Range": asked})
        assert got.status_code == 416 and got.headers["content-range"] == "bytes */512"
    for asked in ("bytes=9-2", "bytes=0-1,3-4", "lines=1-2", "bytes=-", "bytes=a-b", "bytes=" + "9" * 80 + "-"):
        assert httpx.get(url, headers={"Range": asked}).status_code == 200
    for condition, status in (whole.headers["etag"], 206), ('"other"', 200), (whole.headers["last-modified"], 206):
        assert httpx.get(url, headers={"Range": "bytes=0-3", "If-Range": condition}).status_code == status
    head = httpx.head(url)
    assert head.headers["content-length"] == "512" and head.content == b""


@pytest.mark.parametrize("path", ["00100010x", "7FE00011", "0/0/0", "%2e%2e/%2e%2e/etc/passwd"])
def test_values_that_there_are_not(server, path):
    got = httpx.get(f"{server.url}{one(server.store, CT).path}/bulkdata/{path}")
    assert got.status_code in (404, 500) and "passwd" not in got.text
