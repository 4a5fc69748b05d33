"""The pages in the whole server: a tree of archives, its index, its inbox, and the door before all."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pydicom
import pytest

import volcomp
from tests import helpers
from tests.serve import running
from volcomp.serve.inbox import open_inbox
from volcomp.serve.settings import Settings
from volcomp.serve.store import open_store
from volcomp.serve.web import policy, voxels
from volcomp.serve.work import sending

from . import scenes
from .screen import CT, Open, at, complete

pytestmark = pytest.mark.xdist_group("browser")


@pytest.fixture(scope="module")
def server(scene: dict[Path, Path]) -> Iterator[Any]:
    """The server of the tree of the scene; `values` has the chest CT [z, y, x]."""
    folders = {folder.name: folder for folder in scene}
    root = scene[folders["ct"]].parent
    settings = replace(Settings(root, port=0), max_upload=64 << 20)
    store = open_store(settings, follow=False)
    store.refresh()
    inbox = open_inbox(store, settings)
    headers = [pydicom.dcmread(path) for path in folders["ct"].iterdir()]
    headers.sort(key=lambda header: float(header.ImagePositionPatient[2]))
    values = np.stack([header.pixel_array.astype(int) - 1024 for header in headers])
    with running.served(store, inbox, settings) as url:
        yield SimpleNamespace(url=url, values=values, folders=folders, scene=scene, store=store, settings=settings)


def test_pages_of_a_real_store(opened: Open, server: Any) -> None:
    page = opened("/")
    page.click("text=Specimen, Anna")
    page.wait_for_function("() => [...document.images].every(one => one.complete && one.naturalWidth > 0)")
    page.click("text=Chest, soft kernel")
    complete(page)
    (i, j, k), value = at(page)
    assert value == server.values[k, j, i]
    page.keyboard.press("Tab")
    page.fill("#slider", "5")
    (i, j, k), value = at(page)
    assert k == 4 and value == server.values[k, j, i]


def test_a_viewer_decodes_each_slab_once(tmp_path: Path, low_slabs: None) -> None:
    scenes.ct(tmp_path / "ct", 44, 32)
    (tmp_path / "tree").mkdir()
    helpers.compress([tmp_path / "ct"], tmp_path / "tree" / "ct.vcz", model="turbo")
    with volcomp.open(tmp_path / "tree" / "ct.vcz") as volume:
        slabs, values = len(volume.chunks[0]), volume.rescaled()
    settings = Settings(tmp_path / "tree", port=0)
    store = open_store(settings, follow=False)
    store.refresh()
    with running.served(store, open_inbox(store, settings), settings) as url, ThreadPoolExecutor(3) as threads:

        def asked(first: int) -> np.ndarray:
            answer = httpx.get(f"{url}{CT}/values?from={first}&to={first + 4}", timeout=300)
            return np.frombuffer(answer.content, "<i2").reshape(4, 32, 32)

        found = np.concatenate(list(threads.map(asked, range(0, 44, 4))))
        state = store.state
    assert np.array_equal(found, values)
    assert state["slabs_decoded"] == slabs > 1


def test_many_clients_wait_for_room_and_all_are_answered(server: Any) -> None:
    def asked(k: int) -> bool:
        answer = httpx.get(f"{server.url}{CT}/values?from={k % 20}&to={k % 20 + 1}&type=float32", timeout=600)
        found = np.frombuffer(answer.content, "<f4").reshape(64, 64)
        return answer.status_code == 200 and np.array_equal(found, server.values[k % 20])

    assert sending(server.settings.memory) < 3 * voxels.MOST_BYTES * 64  # not all at once
    with ThreadPoolExecutor(64) as threads:
        assert all(threads.map(asked, range(128)))
    answer = httpx.get(f"{server.url}{CT}/picture.png?z=99", timeout=300)  # an error takes no room for ever
    assert answer.status_code == 422 and answer.json()["error"]["sentence"]


def test_headers_of_the_door_and_of_the_pages(server: Any) -> None:
    with httpx.Client(base_url=server.url, timeout=300) as client:
        page = client.get("/", headers={"Accept": "text/html"})
        assert page.headers["content-security-policy"] == policy.PAGE
        assert page.headers["x-frame-options"] == "DENY" and page.headers["x-content-type-options"] == "nosniff"
        assert client.get(CT).headers["content-security-policy"] == policy.VIEWER
        assert "default-src 'none'" in client.get(f"{CT}/layout.json").headers["content-security-policy"]
        missing = client.get("/enc0de").json()["error"]
        assert (missing["case"], missing["status"]) == ("T06", 404)
        foreign = client.post("/jobs", headers={"Origin": "https://example.org"})
        assert foreign.status_code == 403
        large = client.post("/encode", content=bytes((64 << 20) + 1))
        assert large.status_code == 413 and large.json()["error"]["sentence"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("name=anna", "Anna"), ("name=SPECIMEN&id=S-0002", "Bela"), ("modality=ct", "Anna"),
        ("since=2026-01-01", "Anna"), ("until=2025-12-31", "Bela"), ("description=chest x-RAY", "Bela"),
        ("accession=a1", "Anna"), ("name=nobody", ""),
    ],
)  # fmt: skip
def test_searches_of_a_real_store(server: Any, query: str, found: str) -> None:
    text = httpx.get(f"{server.url}/?{query}", headers={"Accept": "text/html"}, timeout=300).text
    assert {name for name in ("Anna", "Bela") if f"Specimen, {name}" in text} == ({found} if found else set())
    assert found or "No study matches" in text


def test_downloads_of_a_real_store(server: Any) -> None:
    with httpx.Client(base_url=server.url, timeout=300) as client:
        answer = client.get(f"{CT}/original.zip")
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            found = {name: archive.read(name) for name in archive.namelist()}
        assert found == helpers.contents(server.folders["ct"])
        packed = client.get(f"{CT}/archive.vcz")
        assert packed.content == server.scene[server.folders["ct"]].read_bytes()
        assert client.get(f"/study/{scenes.STUDY}/series/{scenes.SAGITTAL}/volume.nii.gz").status_code == 200


def test_what_came_in_is_seen_before_it_is_packed(opened: Open, server: Any, tmp_path: Path) -> None:
    path = helpers.image(tmp_path / "new.dcm", helpers.noise((24, 24)), series="1.2.3.4.5", StudyInstanceUID="1.2.3.9")
    body = (
        b"--b\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n--b--\r\n"
    )  # fmt: skip
    kind = 'multipart/related; type="application/dicom"; boundary=b'
    stored = httpx.post(f"{server.url}/dicom-web/studies", content=body, headers={"Content-Type": kind}, timeout=300)
    assert stored.status_code == 200, stored.text
    page = opened("/study/1.2.3.9/series/1.2.3.4.5")
    complete(page)
    assert "not packed yet" in page.inner_text(".side")
    (i, j, _), value = at(page)
    assert value == helpers.noise((24, 24))[j, i]
