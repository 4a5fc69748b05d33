"""Orthanc with its DICOMweb plugin as a client: it searches here, fetches from here, and stores here."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from tests.helpers import noise
from tests.peers import ORTHANC, ORTHANC_PLUGINS, need
from tests.serve.makers import QUICK, instance, packed, study, uid
from tests.serve.running import WAIT, served, settings
from volcomp.serve.inbox import open_inbox
from volcomp.serve.inbox.packing import pack
from volcomp.serve.store import open_store

SLICES = 4


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens at now."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def peers(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """A server with one archive, and an Orthanc that knows it by the name "volcomp"."""
    plugin = ORTHANC_PLUGINS / "libOrthancDicomWeb.so"
    need(ORTHANC, plugin)
    packed(study(tmp_path / "ann", "Ann", slices=SLICES), tmp_path / "tree" / "ann.vcz")
    told = settings(tmp_path / "tree", quiet=3600.0, options=QUICK)
    store = open_store(told)
    store.refresh()
    with served(store, open_inbox(store, told, pack), told) as url:
        http, dicom = free_ports(2)
        configured = {
            "StorageDirectory": str(tmp_path / "storage"), "IndexDirectory": str(tmp_path / "storage"),
            "HttpPort": http, "DicomPort": dicom, "RemoteAccessAllowed": False, "AuthenticationEnabled": False,
            "Plugins": [str(plugin)], "ConcurrentJobs": 1, "HttpTimeout": WAIT, "KeepAlive": True,
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Servers": {"volcomp": [f"{url}/dicom-web/"]}},
        }  # fmt: skip
        (tmp_path / "orthanc.json").write_text(json.dumps(configured))
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen([ORTHANC, tmp_path / "orthanc.json"], stdout=log, stderr=log)
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{http}", timeout=WAIT) as client:
                _wait_for(client, process)
                yield SimpleNamespace(url=f"{url}/dicom-web", orthanc=client, store=store, folder=tmp_path)
        finally:
            process.terminate()
            process.wait(WAIT)


def _wait_for(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    """Return when Orthanc answers."""
    end = time.monotonic() + WAIT
    while time.monotonic() < end:
        assert process.poll() is None
        try:
            if client.get("/system").status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise AssertionError("Orthanc does not answer")


def asked(peers: SimpleNamespace, what: str, **facts: object) -> httpx.Response:
    """Let Orthanc do something with the server."""
    got: httpx.Response = peers.orthanc.post(f"/dicom-web/servers/volcomp/{what}", json=facts)
    assert got.status_code == 200, got.text
    return got


def test_it_searches_and_fetches(peers):
    found = asked(peers, "qido", Uri="/studies", Arguments={"PatientName": "Ann*"}).json()
    assert uid("Ann") in json.dumps(found)
    asked(peers, "retrieve", Resources=[{"Study": uid("Ann")}])
    ids = peers.orthanc.get("/instances").json()
    files = {peers.orthanc.get(f"/instances/{one}/file").content for one in ids}
    originals = {path.read_bytes() for path in (peers.folder / "ann").rglob("*.dcm")}
    assert files == originals and len(originals) == SLICES


def test_it_stores(peers):
    for i, pixels in enumerate(noise((3, 16, 16))):
        data = instance(peers.folder / "eve" / f"{i}.dcm", pixels, "Eve", 0, i).read_bytes()
        assert peers.orthanc.post("/instances", content=data).status_code == 200
    (known,) = peers.orthanc.get("/studies").json()
    asked(peers, "stow", Resources=[known])
    found = peers.store.instances(uid("Eve"))
    assert len(found) == 3
    for i, one in enumerate(found):
        assert peers.store.file(one) == (peers.folder / "eve" / f"{i}.dcm").read_bytes()


def test_what_it_has_is_read_by_the_same_client_as_what_is_here(peers):
    """Both servers answer a search for the same study alike, as far as both have the attributes."""
    asked(peers, "retrieve", Resources=[{"Study": uid("Ann")}])
    theirs = peers.orthanc.get("/dicom-web/studies", params={"PatientID": "P-Ann"}).json()
    ours = httpx.get(f"{peers.url}/studies", params={"PatientID": "P-Ann"}).json()
    assert len(theirs) == len(ours) == 1
    same = ["00080020", "00080030", "00080050", "00100010", "00100020", "00100030", "00100040", "0020000D", "00200010",
            "00201206", "00201208"]  # fmt: skip
    assert {tag: ours[0][tag] for tag in same} == {tag: theirs[0][tag] for tag in same}
