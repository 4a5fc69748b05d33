"""The door: names, origins, logins, limits, headers of all answers; and that the log has no names."""

from __future__ import annotations

import json
import os
import socket

import httpx
import pytest

from tests.serve.dicomweb.conftest import CT, STUDY, filled, one
from tests.serve.running import WAIT, served, settings
from volcomp.serve.security import guard
from volcomp.serve.security.guard import Guard
from volcomp.serve.security.keys import Keys

TOKEN = "f" * 32
VIEWER = "https://viewer.example.org"


@pytest.fixture
def open_server(tmp_path):
    store = filled()
    with served(store, store, settings(tmp_path, origins=(VIEWER,), hosts=("pacs.example.org",))) as url:
        yield url


@pytest.fixture
def closed_server(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "_FAILURES", (1 / 3600, 10.0))  # none is forgotten while a test runs
    (tmp_path / "tokens").write_text(f"viewer {TOKEN}\n")
    store = filled()
    told = settings(tmp_path, token_file=tmp_path / "tokens", audit=tmp_path / "audit")
    with served(store, store, told) as url:
        yield url


@pytest.mark.parametrize(("host", "status"), [
    ("localhost:1", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("PACS.example.org", 200), ("evil.example", 421),
    ("127.0.0.1.evil.example", 421), ("", 421), ("localhost.", 421), ("192.168.0.1", 421),
])  # fmt: skip
def test_names(open_server, host, status):
    got = httpx.get(f"{open_server}/dicom-web/studies", headers={"Host": host})
    assert got.status_code == status
    if status != 200:
        assert "--allow-host" in got.json()["error"]["sentence"] and STUDY not in got.text


def test_names_off_this_machine(tmp_path):
    """Where everybody may ask, a name that is not known is refused; where logins are needed it may be any."""
    (tmp_path / "tokens").write_text(TOKEN)

    def refused(name: str, **changes: object) -> bool:
        told = settings(tmp_path, host="0.0.0.0", **changes)
        made = Guard(lambda scope, receive, send: None, told, Keys(told), None)  # type: ignore[arg-type, return-value]
        try:
            made._check_host(name)
        except guard.HTTPException as error:
            return error.status_code == 421
        return False

    assert not refused("192.168.0.7:8080") and not refused("[2001:db8::1]:8080") and refused("evil.example")
    assert not refused("pacs.example.org", hosts=("pacs.example.org",))
    assert not refused("anything.example", token_file=tmp_path / "tokens")


def test_pages_of_other_servers(open_server):
    kind = {"Content-Type": "application/dicom"}
    post = f"{open_server}/dicom-web/studies"
    for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
                    {"Sec-Fetch-Site": "same-site"}):  # fmt: skip
        got = httpx.post(post, content=b"x", headers={**kind, **headers})
        assert got.status_code == 403 and "--allow-origin" in got.json()["error"]["sentence"]
    for headers in ({}, {"Origin": open_server}, {"Origin": VIEWER}, {"Sec-Fetch-Site": "same-origin"}):
        assert httpx.post(post, content=b"x", headers={**kind, **headers}).status_code == 409
    got = httpx.get(post, headers={"Origin": "https://evil.example"})
    assert (
        "access-control-allow-origin" not in got.headers
        and got.headers["cross-origin-resource-policy"] == "same-origin"
    )


def test_a_viewer_that_is_allowed(open_server):
    url = f"{open_server}/dicom-web/studies"
    asked = {
        "Origin": VIEWER,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    got = httpx.options(url, headers=asked)
    assert got.status_code == 204 and got.headers["access-control-allow-origin"] == VIEWER
    assert (
        "Authorization" in got.headers["access-control-allow-headers"]
        and "GET" in got.headers["access-control-allow-methods"]
    )
    got = httpx.get(url, headers={"Origin": VIEWER})
    assert got.headers["access-control-allow-origin"] == VIEWER and "Origin" in got.headers["vary"]
    assert got.headers["cross-origin-resource-policy"] == "cross-origin"
    got = httpx.options(url, headers={**asked, "Origin": "https://evil.example"})
    assert got.status_code == 405 and "access-control-allow-origin" not in got.headers


@pytest.mark.parametrize("path", ["/dicom-web/studies", "/dicom-web/nothing", "/", "/nothing", "/dicom-web/studies/x"])
def test_headers_of_all_answers(open_server, path):
    got = httpx.get(open_server + path)
    headers = got.headers
    assert (
        "frame-ancestors 'none'" in headers["content-security-policy"]
        and "'unsafe" not in headers["content-security-policy"]
    )
    assert "default-src 'none'" in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")
    assert headers["referrer-policy"] == "no-referrer" and headers["cache-control"] == "no-store"
    assert "server" not in headers or "volcomp" not in headers["server"]


def test_logins(closed_server):
    url = f"{closed_server}/dicom-web/studies"
    for path in ("/dicom-web/studies", "/", "/nothing", f"/dicom-web/studies/{STUDY}/metadata"):
        got = httpx.get(closed_server + path)
        assert got.status_code == 401 and "Basic" in got.headers["www-authenticate"] and "Doe" not in got.text
    assert httpx.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert httpx.get(url, auth=("me", TOKEN)).status_code == 200
    assert httpx.get(url, auth=("me", "wrong")).status_code == 401


def test_failed_logins_are_few(closed_server):
    url = f"{closed_server}/dicom-web/studies"
    right = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client() as client:
        assert client.get(url, headers=right).status_code == 200
        wrong = [{"Authorization": f"Bearer {number:032}"} for number in range(12)]
        assert [client.get(url, headers=given).status_code for given in wrong] == [401] * 10 + [429] * 2
        got = client.get(url, auth=("somebody", "else"))
        assert got.status_code == 429 and 1 <= int(got.headers["retry-after"]) <= 3600
        assert client.get(url, headers=right).status_code == 200  # who is known goes on


def test_many_requests_of_one_address(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "_REQUESTS", (0.001, 5.0))
    monkeypatch.setattr(guard, "is_loopback", lambda host: False)
    store = filled()
    with served(store, store, settings(tmp_path)) as url, httpx.Client() as client:
        found = [client.get(f"{url}/dicom-web/studies/1.9/series").status_code for _ in range(8)]
    assert found == [200] * 5 + [429] * 3


def test_the_audit_log_names_who_and_what(closed_server, tmp_path):
    right = {"Authorization": f"Bearer {TOKEN}"}
    asked = [f"/dicom-web/studies/{STUDY}/series/{CT}/metadata?PatientName=Doe", "/dicom-web/studies?PatientID=P1",
             f"/dicom-web/studies/{STUDY}/series/1.9"]  # fmt: skip
    for path in asked:
        httpx.get(closed_server + path, headers=right)
    httpx.get(closed_server + asked[0])
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert [(line["who"], line["study"], line["status"]) for line in lines] == [
        ("viewer", STUDY, 200),
        ("viewer", STUDY, 404),
    ]
    assert lines[0]["resource"] == f"/dicom-web/studies/{STUDY}/series/{CT}/metadata" and lines[0]["series"] == CT
    assert lines[0]["address"] == "127.0.0.1" and "Doe" not in json.dumps(lines)


def test_what_cannot_be_noted_is_not_answered(closed_server, monkeypatch):
    right = {"Authorization": f"Bearer {TOKEN}"}
    genuine = os.write

    def full(file: int, data: bytes) -> int:
        if b'"resource"' in data:
            raise OSError(28, "No space left on device")
        return genuine(file, data)

    monkeypatch.setattr(os, "write", full)
    got = httpx.get(f"{closed_server}/dicom-web/studies/{STUDY}/metadata", headers=right)
    assert got.status_code == 503 and got.content == b""
    assert httpx.get(f"{closed_server}/dicom-web/studies", headers=right).status_code == 200


def test_a_body_that_is_too_large_is_not_read(tmp_path):
    store = filled()
    with served(store, store, settings(tmp_path, max_upload=1000)) as url:
        got = httpx.post(f"{url}/dicom-web/studies", content=b"x" * 2000, headers={"Content-Type": "application/dicom"})
        assert got.status_code == 413 and "1000 bytes" in got.json()["error"]["sentence"]


def test_the_rooms_are_closed_once(tmp_path):
    store = filled()
    with served(store, store, settings(tmp_path, audit=tmp_path / "audit")) as url:
        assert httpx.get(f"{url}/dicom-web{one(store, CT).path}").status_code == 200
    assert store.closed == 2  # it is both


@pytest.mark.parametrize(("request_line", "more", "status"), [
    (b"GET /dicom-web/studies HTTP/1.0", b"", 421), (b"GET /dicom-web/studies HTTP/1.1", b"", 400),
    (b"GET /dicom-web/studies HTTP/1.1", b"Host: %s\r\nHost: %s\r\n", 400), (b"\x16\x03\x01", b"", 400),
    (b"GET /dicom-web/studies?limit=%%zz HTTP/1.1", b"Host: %s\r\n", 400),
    (b"GET /dicom-web/studies?PatientName=%%ff%%fe HTTP/1.1", b"Host: %s\r\n", 200),
    (b"GET http://evil.example/dicom-web/studies HTTP/1.1", b"Host: %s\r\n", 404),
    (b"GET /dicom-web/../../etc/passwd HTTP/1.1", b"Host: %s\r\n", 404),
    (b"GET /dicom-web/studies HTTP/1.1", b"Host: %s\r\nAccept: \xff\xfe\r\n", 406),
    (b"GET /dicom-web/studies HTTP/1.1", b"Host: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n", 200),
    (b"POST /dicom-web/studies HTTP/1.1", b"Host: %s\r\nContent-Length: 99999999999999\r\n", 413),
    (b"POST /dicom-web/studies HTTP/1.1", b"Host: %s\r\nContent-Length: -1\r\n", 400),
    (b"BREW /dicom-web/studies HTTP/1.1", b"Host: %s\r\n", 405), (b"OPTIONS * HTTP/1.1", b"Host: %s\r\n", 404),
    (b"GET /dicom-web/studies/1.2%%0a3/metadata HTTP/1.1", b"Host: %s\r\n", 404),
])  # fmt: skip
def test_odd_requests(open_server, request_line, more, status):
    place = open_server.removeprefix("http://")
    host, port = place.split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT) as connection:
        head = (request_line + b"\r\n" + more).replace(b"%s", place.encode()).replace(b"%%", b"%")
        connection.sendall(head + b"\r\n")
        found = connection.recv(100)
    assert int(found.split()[1]) == status
    assert httpx.get(f"{open_server}/dicom-web/studies", timeout=WAIT).status_code == 200
