"""Archives that are replaced while the server runs: answers are of what lies there now, as a whole, or 404."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from zipfile import ZipFile

import httpx
import pydicom
import pytest

from tests.helpers import noise
from tests.serve.dicomweb.test_archives import running
from tests.serve.dicomweb.test_retrieve import parts
from tests.serve.makers import instance, packed, study, uid
from tests.serve.running import settings
from volcomp.serve.store import TreeStore, tree_store
from volcomp.serve.store.instance import Instance

SERIES = f"/studies/{uid('Ann')}/series/{uid('Ann', 0)}"
PATH = f"{SERIES}/instances/{uid('Ann', 0, 1)}"
STORED = {"Accept": "application/dicom; transfer-syntax=*"}
OCTETS = {"Accept": "application/octet-stream"}
ROUTES = {  # path and headers
    "instance": (PATH, STORED),
    "series": (SERIES, {"Accept": "multipart/related; type=application/dicom; transfer-syntax=*"}),
    "frames": (f"{PATH}/frames/1", OCTETS),
    "metadata": (f"{PATH}/metadata", {}),
    "metadata of a series": (f"{SERIES}/metadata", {}),
    "rendered": (f"{PATH}/rendered", {"Accept": "image/png"}),
    "thumbnail": (f"{SERIES}/thumbnail", {"Accept": "image/png"}),
    "bulk": (f"{PATH}/bulkdata/7FE00010", OCTETS),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same instances made twice, with other sizes, values and slopes; and others."""
    folder = tmp_path_factory.mktemp("made")
    for name, size, slope in ("a", 16, 1), ("b", 24, 3):
        for i, pixels in enumerate(noise((3, size, size), seed=size)):
            instance(folder / name / f"{i}.dcm", pixels, "Ann", 0, i, RescaleSlope=slope, PatientName=f"{name}^Ann")
        packed(folder / name, folder / f"{name}.vcz")
    study(folder / "c", "Bob", slices=3)
    for i, path in enumerate(sorted((folder / "c").rglob("*.dcm"))):
        path.rename(folder / "c" / f"{i}.dcm")  # other instances under the same names
    packed(folder / "c", folder / "c.vcz")
    return folder


def put(made: Path, name: str, target: Path) -> None:
    """Put an archive in the place of another one, at once."""
    target.parent.mkdir(exist_ok=True)
    shutil.copyfile(made / f"{name}.vcz", target.with_name(".new"))
    os.replace(target.with_name(".new"), target)


@pytest.fixture
def server(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A server that does not follow its tree by itself; `target` is its archive."""
    monkeypatch.setattr(TreeStore, "_follow", lambda self: None)
    put(made, "a", tmp_path / "tree" / "x.vcz")
    for one in running(settings(tmp_path / "tree", quiet=3600.0)):
        one.target = tmp_path / "tree" / "x.vcz"
        yield one


def asked(server: SimpleNamespace, route: str, **headers: str) -> httpx.Response:
    path, accept = ROUTES[route]
    return server.client.get(server.url + path, headers={**accept, **headers})


def seen(server: SimpleNamespace, route: str) -> tuple[Any, str | None]:
    """What is answered, without the boundary of parts, and the entity tag."""
    got = asked(server, route)
    assert got.status_code == 200, got.text
    return [data for _, data in parts(got)] if route == "series" else got.content, got.headers.get("etag")


def test_every_route_answers_what_lies_there_now(server, made):
    expected = {}
    for name in "ab":
        put(made, name, server.target)
        server.store.refresh()
        expected[name] = {route: seen(server, route) for route in ROUTES}
        files = [path.read_bytes() for path in sorted((made / name).iterdir())]
        pixels = pydicom.dcmread(BytesIO(files[1])).PixelData
        for route, data in {"instance": files[1], "series": files, "frames": pixels, "bulk": pixels}.items():
            assert expected[name][route][0] == data, route
    for route in ROUTES:
        assert expected["a"][route][0] != expected["b"][route][0]
        for name, other in ("a", "b"), ("b", "a"):
            put(made, other, server.target)
            server.store.refresh()
            put(made, name, server.target)
            tag = expected[other][route][1]
            if tag:  # the client has the other one
                assert asked(server, route, **{"If-None-Match": tag}).status_code == 200, route
            assert seen(server, route) == expected[name][route], route
            if tag:
                assert asked(server, route, **{"If-None-Match": expected[name][route][1]}).status_code == 304


@pytest.mark.parametrize("route", ROUTES)
def test_what_is_no_longer_there(server, made, tmp_path, route):
    tag = seen(server, route)[1]
    put(made, "c", server.target)
    for headers in ({}, {"If-None-Match": tag or '"x"'}):
        got = asked(server, route, **headers)
        assert got.status_code == 404 and "no " in got.json()["error"]["sentence"]
    put(made, "a", server.target)
    put(made, "b", tmp_path / "tree" / "y.vcz")
    server.store.refresh()
    put(made, "c", server.target)
    assert asked(server, route, **{"If-None-Match": tag or '"x"'}).status_code == 200
    assert server.store.instances(uid("Ann"))[0].archive == tmp_path / "tree" / "y.vcz"
    server.target.unlink()
    (tmp_path / "tree" / "y.vcz").rename(tmp_path / "tree" / "z.vcz")
    assert seen(server, route)[0] is not None


@pytest.mark.parametrize("route", [route for route in ROUTES if "series" not in route])
def test_one_that_is_replaced_while_it_is_read(server, made, monkeypatch, route):
    """After the instance was found, and before it is read: the answer is of one of them, as a whole.

    An answer of several instances ends where one of them is another.
    """
    expected = []
    for name in "ba":
        put(made, name, server.target)
        server.store.refresh()
        expected.append(seen(server, route))
    found, left = server.store.instances, ["b"]

    def replaced(*uids: str) -> list[Instance]:
        there = found(*uids)
        if left:
            put(made, left.pop(), server.target)
        return there

    monkeypatch.setattr(server.store, "instances", replaced)
    got = seen(server, route)
    assert got in (expected if route == "metadata" else expected[:1])  # attributes are those that the index has


def test_one_that_is_older_than_what_a_client_has(server, made):
    got = server.client.get(server.url + PATH, headers=STORED)
    put(made, "b", server.target)
    os.utime(server.target, (1e9, 1e9))
    since = {"If-Modified-Since": got.headers["last-modified"]}
    new = server.client.get(server.url + PATH, headers={**STORED, **since})
    assert new.status_code == 200 and new.content == (made / "b" / "1.dcm").read_bytes()


def test_clients_that_scroll_while_archives_are_replaced(made, tmp_path, monkeypatch):
    """The tree is followed, and looked at all the time. Each entity tag stands for the same bytes always."""
    monkeypatch.setattr(tree_store, "_EVERY", 0.02)
    target, stop = tmp_path / "tree" / "x.vcz", threading.Event()
    put(made, "a", target)
    known = {name: [(made / name / f"{i}.dcm").read_bytes() for i in range(3)] for name in "ab"}
    files = [[known[name][i] for name in "ab"] for i in range(3)]
    pixels = [[pydicom.dcmread(BytesIO(data)).PixelData for data in pair] for pair in files]

    def replace() -> None:
        for k in range(1 << 20):
            if stop.wait(0.1):
                break
            put(made, "ba"[k % 2], target)

    def scroll(server: SimpleNamespace, client: int) -> list[tuple[str, bytes]]:
        found = []
        for k in range(20):
            i = (client + k) % 3
            path = f"{server.url}{SERIES}/instances/{uid('Ann', 0, i)}"
            for address, headers, known in (path, STORED, files[i]), (f"{path}/frames/1", OCTETS, pixels[i]):
                got = server.client.get(address, headers=headers)
                assert got.status_code in (200, 503), got.text  # it may be replaced as often as it is read
                if got.status_code == 200:
                    assert got.content in known
                    found.append((got.headers["etag"], got.content))
            assert server.client.get(f"{path}/rendered").status_code in (200, 503)
        return found

    for server in running(settings(tmp_path / "tree", quiet=3600.0)):
        replacing = threading.Thread(target=replace)
        replacing.start()
        try:
            with ThreadPoolExecutor(4) as threads:
                pairs = [pair for found in threads.map(partial(scroll, server), range(4)) for pair in found]
        finally:
            stop.set()
            replacing.join()
        tags = dict(pairs)
        assert len(pairs) > 10 and all(tags[tag] == data for tag, data in pairs)


def test_the_pages_show_what_lies_there_now(server, made):
    """Facts, slices and files of one page are of one archive; slices of a page that was loaded before are refused."""
    page = server.url.replace("/dicom-web", f"/study/{uid('Ann')}")
    series = f"{page}/series/{uid('Ann', 0)}"
    for name, other, size in ("b", "a", 24), ("a", "b", 16):
        put(made, other, server.target)
        server.store.refresh()
        before = server.client.get(f"{series}/layout.json").json()
        put(made, name, server.target)
        shown = server.client.get(series, headers={"Accept": "text/html"}).text
        assert f"{name}, Ann" in shown and f"{other}, Ann" not in shown
        got = server.client.get(f"{series}/values?from=0&to=1&v={before['version']}")
        assert got.status_code == 409 and "changed" in got.json()["error"]["sentence"]
        layout = server.client.get(f"{series}/layout.json").json()
        assert layout["shape"] == [3, size, size]
        got = server.client.get(f"{series}/values?from=0&to=1&v={layout['version']}&type=float32")
        assert len(got.content) == 4 * size * size
        with ZipFile(BytesIO(server.client.get(f"{series}/original.zip").content)) as files:
            assert sorted(map(files.read, files.namelist())) == sorted(
                path.read_bytes() for path in (made / name).iterdir()
            )
        assert server.client.get(f"{series}/archive.vcz").content == (made / f"{name}.vcz").read_bytes()
    put(made, "c", server.target)
    for path in (page, series, f"{series}/original.zip", f"{series}/archive.vcz", f"{series}/volume.nii.gz"):
        put(made, "a", server.target)
        server.store.refresh()
        put(made, "c", server.target)
        assert server.client.get(path).status_code == 404, path


def test_an_instance_is_taken_in_again_that_a_replaced_archive_had(server, made):
    """It was answered that it is there already, and nobody kept it."""
    put(made, "c", server.target)
    with (made / "a" / "1.dcm").open("rb") as file:
        assert server.inbox.receive(file).failure == 0
    (found,) = server.store.instances(uid("Ann"), uid("Ann", 0), uid("Ann", 0, 1))
    assert found.archive is None and server.store.file(found) == (made / "a" / "1.dcm").read_bytes()


def test_a_wrong_path_of_bulk_data_looks_at_no_tree(server, monkeypatch):
    monkeypatch.setattr(server.store._follower, "look", pytest.fail)
    assert server.client.get(f"{server.url}{PATH}/bulkdata/00091001").status_code == 404
