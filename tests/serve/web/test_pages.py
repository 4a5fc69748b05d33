"""The pages by HTTP alone, as a browser without JavaScript has them."""

from __future__ import annotations

import gzip
import io
import re
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.applications import Starlette

import volcomp
from tests import helpers
from volcomp.errors import DamagedError
from volcomp.serve import web
from volcomp.serve.settings import Settings
from volcomp.serve.web import policy

from . import fakes, scenes
from .conftest import Served, served

CT = f"/study/{scenes.STUDY}/series/{scenes.CT}"
XRAY = f"/study/{scenes.OTHER}/series/{scenes.XRAY}"


@pytest.fixture
def people(server: Served) -> Iterator[httpx.Client]:
    """A browser that runs no script."""
    headers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    with httpx.Client(base_url=server.url, timeout=300, headers=headers) as client:
        yield client


class Seen(HTMLParser):
    """What a page links, and what of it a strict policy forbids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.links += [str(found[name]) for name in ("href", "src", "action") if found.get(name)]
        if tag == "style" or (tag == "script" and not found.get("src")) or "style" in found:
            self.inline.append(tag)
        self.inline += [name for name in found if name.startswith("on")]


def ok(answer: httpx.Response) -> httpx.Response:
    assert answer.status_code == 200, answer.text
    return answer


def test_home_lists_studies_with_their_sizes(people: httpx.Client, scene: dict[Path, Path]) -> None:
    text = ok(people.get("/")).text
    assert "Specimen, Anna" in text and "Specimen, Bela" in text and "2026-03-14" in text
    packed = sum(archive.stat().st_size for archive in scene.values())
    raw = sum(path.stat().st_size for folder in scene for path in folder.iterdir())
    assert f"<dd>{raw / packed:.2f}</dd>" in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"name": "anna"}, "Anna"), ({"name": "BELA"}, "Bela"), ({"id": "S-0002"}, "Bela"),
        ({"modality": "dx"}, "Bela"), ({"since": "2026-01-01"}, "Anna"), ({"until": "2025-12-31"}, "Bela"),
        ({"description": "head"}, "Anna"), ({"name": "nobody"}, ""), ({"accession": "A2"}, "Bela"),
    ],
)  # fmt: skip
def test_a_search_finds_by_every_field(people: httpx.Client, query: dict[str, str], found: str) -> None:
    text = ok(people.get("/", params=query)).text
    assert {name for name in ("Anna", "Bela") if f"Specimen, {name}" in text} == ({found} if found else set())
    assert found or "No study matches" in text
    field, value = next(iter(query.items()))
    assert re.search(f'name="{field}" value="{value}"', text)  # the form keeps what was asked for


def test_results_come_in_pages(people: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("volcomp.serve.web.listing.PAGE_ROWS", 1)
    first = ok(people.get("/", params={"name": "specimen"})).text
    assert 'href="/?name=specimen&amp;page=2"' in first and "Previous" not in first
    second = ok(people.get("/", params={"name": "specimen", "page": "2"})).text
    assert "Next<" not in second and 'href="/?name=specimen"' in second
    assert ("Anna" in first) != ("Anna" in second)
    assert "There are no more" in ok(people.get("/", params={"page": "9"})).text


def test_what_a_header_says_is_no_markup(people: httpx.Client, server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for _, header in server.store._files.values():
        monkeypatch.setattr(header, "PatientName", '<img src=x onerror="alert(1)">^"\'')
        monkeypatch.setattr(header, "StudyDescription", "<script>alert(1)</script>")
        monkeypatch.setattr(header, "SeriesDescription", "</script><b onload=x>")
    for path in ("/", f"/study/{scenes.STUDY}", CT):
        text = ok(people.get(path)).text
        assert Seen(text).inline == [] and "<b onload" not in text and "<img src=x" not in text


def test_pages_need_no_inline_script_or_style_and_nothing_from_elsewhere(people: httpx.Client) -> None:
    for path in ("/", f"/study/{scenes.STUDY}", CT, XRAY, "/tools", "/encode", "/nothing"):
        answer = people.get(path)
        seen = Seen(answer.text)
        assert seen.inline == [], path
        assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in seen.links), seen.links
        strict = answer.headers["content-security-policy"]
        assert strict == (policy.VIEWER if "/series/" in path else policy.PAGE)
        assert "unsafe" not in strict and "default-src 'none'" in strict
        assert answer.headers["cache-control"] == "no-store"
        for link in seen.links:
            if "static" in link:
                assert "immutable" in ok(people.get(link)).headers["cache-control"]


def test_a_series_is_looked_at_by_links_alone(people: httpx.Client, server: Served) -> None:
    text = ok(people.get(CT, params={"z": "7", "window": "lung"})).text
    assert "Slice <span" in text and 'rel="next"' in text and 'rel="prev"' in text
    (picture,) = re.findall(r'<img id="picture" src="([^"]+)"', text)
    data = ok(people.get(picture.replace("&amp;", "&")))
    assert data.headers["content-type"] == "image/png"
    values = np.frombuffer(ok(people.get(f"{CT}/values?from=7&to=8")).content, "<i2").reshape(64, 64)
    wanted = ((values + 600.5) / 1499 + 0.5) * 255
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data.content))), np.rint(wanted.clip(0, 255)))
    assert "20 ×" not in text and "64 × 64 × 20" in text
    assert "Where the bits go" in text


def test_own_windows_and_windows_that_there_are_not(people: httpx.Client) -> None:
    assert ok(people.get(f"{CT}/picture.png", params={"centre": "100", "width": "50"})).content.startswith(b"\x89PNG")
    for query in (
        "window=x",
        "centre=1",
        "centre=a&width=2",
        "centre=1&width=0",
        "z=99",
        "z=-1",
        "z=%C2%B2",
        "stack=5",
    ):
        answer = people.get(f"{CT}/picture.png?{query}", headers={"Accept": "application/json"})
        assert answer.status_code == 422 and answer.json()["error"]["sentence"], query


def test_the_map_of_bits_has_every_slab(people: httpx.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from volcomp.codec import encode

    monkeypatch.setattr(encode, "SLAB_HEIGHT", 20)
    scenes.ct(tmp_path / "ct", 44, 32)
    helpers.compress([tmp_path / "ct"], tmp_path / "ct.vcz", model="turbo")
    sizes = volcomp.open(tmp_path / "ct.vcz").slab_bytes
    assert len(sizes) > 1
    store = fakes.FakeStore({tmp_path / "ct": tmp_path / "ct.vcz"})
    with (
        web.opened(store, fakes.FakeInbox(), Settings(tmp_path)) as routes,
        served(Starlette(routes=routes)) as url,
    ):
        text = ok(httpx.get(url + CT, timeout=300)).text
    assert text.count('<rect class="slab"') == len(sizes)
    for number in sizes:
        assert f">{number:,}</td>" in text


def test_downloads(people: httpx.Client, scene: dict[Path, Path], tmp_path: Path) -> None:
    folders = {folder.name: folder for folder in scene}
    answer = ok(people.get(f"{CT}/original.zip"))
    assert answer.headers["content-disposition"] == f'attachment; filename="{scenes.CT}.zip"'
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert {n: archive.read(n) for n in archive.namelist()} == helpers.contents(folders["ct"])
    study = ok(people.get(f"/study/{scenes.STUDY}/original.zip"))
    with zipfile.ZipFile(io.BytesIO(study.content)) as archive:
        assert len(archive.namelist()) == 32
    packed = ok(people.get(f"{CT}/archive.vcz"))
    assert packed.content == scene[folders["ct"]].read_bytes()
    data = gzip.decompress(ok(people.get(f"{CT}/volume.nii.gz")).content)
    with volcomp.open(packed.content) as volume:
        volume.save(tmp_path / "wanted.nii")
    assert data == (tmp_path / "wanted.nii").read_bytes()
    for path in ("volume.nii.gz?volume=3", "archive.vcz?archive=7"):
        assert people.get(f"{CT}/{path}").status_code == 404


def test_layout_and_values_belong_together(client: httpx.Client) -> None:
    layout = ok(client.get(f"{CT}/layout.json")).json()
    assert (layout["shape"], layout["type"], layout["unit"]) == ([20, 64, 64], "int16", "HU")
    assert [one["key"] for one in layout["windows"]] == ["header", "brain", "lung", "bone", "soft", "abdomen", "full"]
    query = f"from=0&to=20&v={layout['version']}"
    plain = ok(client.get(f"{CT}/values?{query}", headers={"Accept-Encoding": "identity"}))
    assert len(plain.content) == 20 * 64 * 64 * 2 and "content-encoding" not in plain.headers
    changed = client.get(f"{CT}/values?from=0&to=1&v=0123456789abcdef")
    assert changed.status_code == 409 and "load the page again" in changed.json()["error"]["sentence"]
    floats = ok(client.get(f"{CT}/values?{query}&type=float32"))
    assert np.array_equal(np.frombuffer(floats.content, "<f4"), np.frombuffer(plain.content, "<i2"))


def test_errors_are_sentences_without_paths(
    client: httpx.Client, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    for path in ("/study/1.2.3", f"/study/{scenes.STUDY}/series/9.9", f"/study/{scenes.STUDY}/series/9.9/layout.json"):
        answer = client.get(path)
        assert answer.status_code == 404 and answer.json()["error"]["sentence"]

    def fail(*given: object) -> None:
        raise DamagedError(f"{server.settings.root}/deep/ct.vcz: slab 3 is damaged")

    monkeypatch.setattr(server.store, "picture", fail)
    answer = client.get(f"{CT}/picture.png")
    assert answer.status_code == 500
    assert answer.json()["error"]["sentence"] == "deep/ct.vcz: slab 3 is damaged"


def test_static_files(client: httpx.Client) -> None:
    viewer = ok(client.get("/static/niivue-0.69.0.umd.js", headers={"Accept-Encoding": "gzip"}))
    assert viewer.headers["content-encoding"] == "gzip" and viewer.headers["content-type"].startswith("text/javascript")
    digest = "47b896b77ec4a5be3ef1949c33ad393b6f45629921f326c279000bcf51bdb4af"
    assert sha256(viewer.content).hexdigest() == digest  # as it was published
    root = Path(str(files("volcomp"))).parent
    assert digest in (root / "NOTICE").read_text() if (root / "NOTICE").exists() else True
    assert client.get("/static/style.css", headers={"If-None-Match": "x"}).status_code == 200
    tag = client.get("/static/style.css").headers["etag"]
    assert client.get("/static/style.css", headers={"If-None-Match": tag}).status_code == 304
    for name in ("nothing.js", "..%2Fpages.py", "%2e%2e", ".hidden", "..%5Cpages.py"):
        assert client.get(f"/static/{name}").status_code == 404


def test_a_form_does_what_the_script_does(people: httpx.Client, tmp_path: Path) -> None:
    data = {f"study/{path.name}": path.read_bytes() for path in helpers.series(tmp_path / "study", 3).iterdir()}
    answer = people.post("/tools", files=[("files", (name, content)) for name, content in data.items()])
    assert answer.status_code == 303
    place = answer.headers["location"]
    page = finished(people, place)
    assert "Done." in page and f'href="{place}/result"' in page
    packed = ok(people.get(f"{place}/result"))
    assert packed.headers["content-disposition"] == 'attachment; filename="study.vcz"'

    answer = people.post("/tools", files=[("files", ("study.vcz", packed.content))])
    place = answer.headers["location"]
    page = finished(people, place)
    assert all(name.partition("/")[2] in page for name in data)
    with zipfile.ZipFile(io.BytesIO(ok(people.get(f"{place}/result")).content)) as archive:
        assert sorted(archive.read(name) for name in archive.namelist()) == sorted(data.values())
    assert people.post(f"{place}/drop").headers["location"] == "/tools"
    assert people.get(place).status_code == 404


def finished(client: httpx.Client, place: str) -> str:
    """Look again, as the page does by itself, until there is an end."""
    while 'http-equiv="refresh"' in (text := ok(client.get(place)).text):
        pass
    return text


@pytest.mark.parametrize("name", ["../up", "/abs", "a\\b", "a/../b"])
def test_names_of_uploads_that_lead_elsewhere_are_refused(client: httpx.Client, server: Served, name: str) -> None:
    id = client.post("/jobs").json()["id"]
    answer = client.put(f"/jobs/{id}/files", params={"name": name}, content=b"x")
    assert answer.status_code == 400 and answer.json()["error"]["file"] == name
    body = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="' + name.encode().replace(b"\\", b"\\\\")
        + b'"\r\n\r\nx\r\n--b--\r\n'
    )  # fmt: skip
    answer = client.post("/tools", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 400
    client.delete(f"/jobs/{id}")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"--b--\r\n", b"--b\r\n", b"nothing", b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n1',
        b"--b\r\n" + b"A: b\r\n" * 2000 + b"\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + b"1" * 10_000 + b"\r\n--b--\r\n",
    ],
)  # fmt: skip
def test_damaged_forms_are_refused(client: httpx.Client, server: Served, body: bytes) -> None:
    before = list(server.settings.own.rglob("*"))
    answer = client.post("/tools", content=body, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 400 and answer.json()["error"]["sentence"]
    assert client.post("/tools", content=body, headers={"Content-Type": "text/plain"}).status_code == 400
    assert [path for path in server.settings.own.rglob("*") if path not in before and path.name != "lock"] == []


def test_jobs_that_there_are_not(client: httpx.Client) -> None:
    for method, path in (("GET", ""), ("GET", "/result"), ("POST", "/start"), ("PUT", "/files?name=a"), ("DELETE", "")):
        assert client.request(method, f"/jobs/none{path}").status_code == 404
    id = client.post("/jobs").json()["id"]
    assert client.get(f"/jobs/{id}/result").status_code == 404
    assert client.post(f"/jobs/{id}/start").json()["error"]["case"] == "T07"
    assert client.delete(f"/jobs/{id}").status_code == 204


def test_more_than_is_allowed_is_refused(client: httpx.Client) -> None:
    id = client.post("/jobs").json()["id"]
    answer = client.put(f"/jobs/{id}/files", params={"name": "a"}, content=bytes((64 << 20) + 1))
    assert answer.status_code == 413
    assert client.get(f"/jobs/{id}").status_code == 404  # and all of it is gone
