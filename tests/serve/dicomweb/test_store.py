"""STOW-RS over plain HTTP: forms, statuses, limits, and bodies that are none."""

from __future__ import annotations

import errno
import socket
from types import SimpleNamespace

import httpx
import pytest

from tests.serve.dicomweb.conftest import samples
from tests.serve.memory import Memory
from tests.serve.running import WAIT, dataset, served, settings, written

LIMIT = 3 << 20
RELATED = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=border'}


@pytest.fixture
def server(tmp_path):
    store = Memory()
    told = settings(tmp_path, max_upload=LIMIT)
    with served(store, store, told) as url:
        yield SimpleNamespace(url=f"{url}/dicom-web", store=store, settings=told)


def body(*parts: bytes, kind: str = "Content-Type: application/dicom\r\n", end: bytes = b"\r\n--border--\r\n") -> bytes:
    return b"".join(f"\r\n--border\r\n{kind}\r\n".encode() + part for part in parts) + end


def file(number: int = 1, study: str = "1.5", size: int = 8) -> bytes:
    return written(dataset(samples(size, size), study=study, series=f"{study}.1", number=number))


def test_all_some_and_none(server):
    got = httpx.post(f"{server.url}/studies", content=body(file(1), file(2)), headers=RELATED)
    made = got.json()
    assert got.status_code == 200 and len(made["00081199"]["Value"]) == 2 and "00081198" not in made
    assert made["00081190"]["Value"] == [f"{server.url}/studies/1.5"] and "warning" not in got.headers
    assert got.headers["content-type"] == "application/dicom+json"
    item = made["00081199"]["Value"][0]
    assert httpx.get(item["00081190"]["Value"][0], headers={"Accept": "application/dicom"}).content == file(1)
    got = httpx.post(f"{server.url}/studies/1.5", content=body(file(3), file(4, "1.6"), b"nothing"), headers=RELATED)
    made = got.json()
    assert got.status_code == 202 and len(made["00081199"]["Value"]) == 1
    assert [item["00081197"]["Value"] for item in made["00081198"]["Value"]] == [[0xA900]]
    assert [item["00081197"]["Value"] for item in made["0008119A"]["Value"]] == [[0xC000]]
    assert "2 of 3 were not taken" in got.headers["warning"]
    got = httpx.post(f"{server.url}/studies", content=body(b"nothing"), headers=RELATED)
    assert got.status_code == 409 and "00081199" not in got.json()


@pytest.mark.parametrize("kind", ["", "content-type: Application/DICOM; transfer-syntax=1.2\r\nContent-ID: <x>\r\n"])
def test_headers_of_parts(server, kind):
    got = httpx.post(f"{server.url}/studies", content=body(file(), kind=kind), headers=RELATED)
    assert got.status_code == 200


def test_other_spellings(server):
    for header in ("multipart/related; boundary=border", 'Multipart/Related;Type=application/dicom;Boundary="border"'):
        got = httpx.post(f"{server.url}/studies", content=body(file()), headers={"Content-Type": header})
        assert got.status_code == 200
    got = httpx.post(f"{server.url}/studies", content=body(file())[2:], headers=RELATED)  # no line before the first
    assert got.status_code == 200
    data = file().replace(b"DICM", b"DICM") + b"\r\n--borde\r\n--border"[:9]
    assert httpx.post(f"{server.url}/studies", content=body(data), headers=RELATED).status_code == 200


def test_one_alone(server):
    got = httpx.post(f"{server.url}/studies/1.5", content=file(), headers={"Content-Type": "application/dicom"})
    assert got.status_code == 200 and len(server.store.files) == 1


@pytest.mark.parametrize(("header", "status"), [
    ('multipart/related; type="application/dicom+json"; boundary=border', 415), ("application/dicom+json", 415),
    ('multipart/related; type="application/dicom+xml"; boundary=border', 415), ("text/plain", 415), ("", 415),
    ('multipart/related; type="application/dicom"', 400), ("multipart/related; boundary=" + "x" * 300, 400),
    ("multipart/form-data; boundary=border", 415),
])  # fmt: skip
def test_other_types(server, header, status):
    got = httpx.post(f"{server.url}/studies", content=body(file()), headers={"Content-Type": header})
    assert got.status_code == status and got.json()["error"]["sentence"] and not server.store.files


@pytest.mark.parametrize("content", [
    b"", b"nothing at all", b"\r\n--border", b"--other\r\n\r\nx\r\n--other--", body(), body(b"x", end=b"")[:-1],
    b"--border\r\nno header\r\n\r\nx\r\n--border--",
])  # fmt: skip
def test_what_are_no_parts(server, content):
    got = httpx.post(f"{server.url}/studies", content=content, headers=RELATED)
    assert got.status_code in (400, 409) and not server.store.files


def test_compressed_bodies_are_refused(server):
    got = httpx.post(f"{server.url}/studies", content=body(file()), headers={**RELATED, "Content-Encoding": "gzip"})
    assert got.status_code == 415 and not server.store.files


def test_a_disk_that_is_full(server, monkeypatch):
    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device", "/home/doe/x")

    monkeypatch.setattr(server.store, "receive", full)
    got = httpx.post(f"{server.url}/studies", content=body(file()), headers=RELATED)
    assert got.status_code == 507 and "doe" not in got.text


def test_a_part_of_another_type_is_not_taken(server):
    got = httpx.post(f"{server.url}/studies", content=body(b"{}", kind="Content-Type: text/html\r\n"), headers=RELATED)
    assert got.status_code == 409 and "text/html" in got.headers["warning"]


def test_what_is_too_large(server):
    data = body(file(size=2000))
    assert len(data) > LIMIT
    got = httpx.post(f"{server.url}/studies", content=data, headers=RELATED)
    assert got.status_code == 413 and str(LIMIT) in got.json()["error"]["sentence"]

    def chunks():
        for begin in range(0, len(data), 100_000):
            yield data[begin : begin + 100_000]

    try:
        got = httpx.post(f"{server.url}/studies", content=chunks(), headers=RELATED)
        assert got.status_code == 413
    except httpx.TransportError:  # the server does not wait for the rest
        pass
    assert not server.store.files


def test_a_client_that_hangs_up_loses_what_it_did_not_send(server):
    content = body(file(1), file(2))
    host, port = server.url.removeprefix("http://").removesuffix("/dicom-web").split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
        head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(content)}\r\n"
        connection.sendall(head.encode() + f"Content-Type: {RELATED['Content-Type']}\r\n\r\n".encode() + content[:-400])
    got = httpx.post(f"{server.url}/studies", content=body(file(3)), headers=RELATED)
    assert got.status_code == 200 and len(server.store.files) <= 2


def test_a_server_that_takes_nothing_in(tmp_path):
    store = Memory()
    with served(store, store, settings(tmp_path, read_only=True)) as url:
        got = httpx.post(f"{url}/dicom-web/studies", content=body(file()), headers=RELATED)
    assert got.status_code == 403 and "--read-only" in got.json()["error"]["sentence"] and not store.files
