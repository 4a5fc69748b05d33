"""Bodies in parts, cut anywhere: what is taken out is what was put in."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from volcomp.serve.dicomweb.parts import _Receiver, boundary

FOLDER = Path(tempfile.gettempdir())
# Data that looks like a boundary now and then.
DATA = st.lists(
    st.sampled_from([b"\r\n", b"--", b"border", b"\r\n--border", b"\r", b"\n", b"-", b"x" * 50, b"\0"]), max_size=12
)


def joined(parts: list[bytes]) -> bytes:
    return b"".join(b"\r\n--border\r\nContent-Type: application/dicom\r\n\r\n" + part for part in parts)


@given(st.lists(DATA.map(b"".join), min_size=1, max_size=4), st.lists(st.integers(1, 40), max_size=60))
def test_cuts_make_no_difference(parts, cuts):
    parts = [part for part in parts if b"\r\n--border" not in b"\r\n" + part + b"\r\n"] or [b"one"]
    body = joined(parts) + b"\r\n--border--\r\n"
    receiver, begin = _Receiver("border", FOLDER), 0
    for cut in [*cuts, len(body)]:
        receiver.write(body[begin : begin + cut])
        begin += cut
    assert receiver.complete
    assert [part.file.read() for part in receiver.done] == parts
    assert {part.kind for part in receiver.done} == {"application/dicom"}
    receiver.close()


@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_body_is_taken_apart_or_refused(data, cut):
    receiver = _Receiver("border", FOLDER)
    try:
        for begin in range(0, len(data), cut):
            receiver.write(data[begin : begin + cut])
    except HTTPException as error:
        assert error.status_code in (400, 413)
    finally:
        receiver.close()


@pytest.mark.parametrize(("pieces", "status"), [
    ([b"--border\r\n" + b"X: y\r\n" * 100_000], 400),
    ([b"--border\r\nX: "] + [b"y" * 100_000] * 100, 400),
    ([b"--border\r\n\r\n" + b"\r\n--border\r\n\r\n" * 30_000], 413),
], ids=["headers", "a long header", "parts"])  # fmt: skip
def test_limits(pieces, status):
    with closing(_Receiver("border", FOLDER)) as receiver, pytest.raises(HTTPException) as error:
        for piece in pieces:
            receiver.write(piece)
    assert error.value.status_code == status


@pytest.mark.parametrize(("header", "name"), [
    ("multipart/related; boundary=a-b", "a-b"), ('multipart/related;BOUNDARY="a; b"', "a; b"),
    ('multipart/related; type="x"; boundary = ab ; other=1', "ab"),
])  # fmt: skip
def test_boundaries(header, name):
    assert boundary(header) == name


@pytest.mark.parametrize(
    "header", ["multipart/related", "multipart/related; boundary=", 'a; boundary=""', "a; boundary=ä"]
)
def test_what_names_no_boundary(header):
    with pytest.raises(HTTPException):
        boundary(header)
