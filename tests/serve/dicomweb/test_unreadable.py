"""Archives of a newer version, damaged ones, and those that the system does not let the server read: what is told."""

from __future__ import annotations

import logging
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers import noise
from tests.serve.dicomweb.test_archives import running
from tests.serve.dicomweb.test_replaced import OCTETS, STORED
from tests.serve.dicomweb.test_retrieve import parts
from tests.serve.makers import instance, packed, uid
from tests.serve.running import settings
from volcomp import models
from volcomp.container.sections import SERIES_VERSION
from volcomp.serve.store import TreeStore

STUDY = f"/studies/{uid('Ann')}"
SERIES = f"{STUDY}/series/{uid('Ann', 0)}"
PATH = f"{SERIES}/instances/{uid('Ann', 0, 0)}"
PATHS = (
    STUDY, SERIES, f"{SERIES}/metadata", PATH, f"{PATH}/metadata", f"{PATH}/frames/1", f"{PATH}/rendered",
    f"{PATH}/bulkdata/7FE00010", f"{STUDY}/thumbnail",
)  # fmt: skip
NEWER = "the archive of this series was written by a newer version of volcomp; update the server"


def newer(data: bytes) -> bytes:
    """An archive with the next format version."""
    length, _, mark = struct.unpack("<II4s", data[-12:])
    header = data[:8] + struct.pack("<HH", SERIES_VERSION + 1, 0)
    crc = zlib.crc32(header + data[-12 - length : -8])
    return header + data[12:-8] + struct.pack("<I4s", crc, mark)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """A server that does not follow its tree by itself; `target` is its archive."""
    monkeypatch.setattr(TreeStore, "_follow", lambda self: None)
    for i, pixels in enumerate(noise((2, 16, 16))):
        instance(tmp_path / "in" / f"{i}.dcm", pixels, "Ann", 0, i)
    target = packed(tmp_path / "in", tmp_path / "tree" / "of Ann.vcz")
    for one in running(settings(tmp_path / "tree", quiet=3600.0)):
        one.target = target
        yield one


def put(target: Path, data: bytes) -> None:
    target.with_name(".new").write_bytes(data)
    os.replace(target.with_name(".new"), target)


def told(server: SimpleNamespace, path: str) -> tuple[int, str]:
    """The status and the sentence; of what is there none."""
    accept = {PATH: STORED, f"{PATH}/frames/1": OCTETS}.get(path, {})
    got = server.client.get(server.url + path, headers=accept)
    sentence = "" if got.status_code == 200 else got.json()["error"]["sentence"]
    assert "of Ann" not in sentence and str(server.target.parent) not in sentence
    return got.status_code, sentence


@pytest.mark.parametrize("what", ["newer", "cut", "text"])
def test_one_that_takes_the_place_of_a_sound_one(server, what, caplog):
    sound = server.target.read_bytes()
    status, part = {"newer": (501, NEWER), "cut": (500, "damaged"), "text": (500, "damaged")}[what]
    put(server.target, {"newer": newer(sound), "cut": sound[:-20], "text": b"no archive"}[what])
    with caplog.at_level(logging.WARNING, "volcomp.serve"):
        for looked in (False, True):
            for path in PATHS:
                found = told(server, path)
                assert found[0] == status and part in found[1], (path, found)
            if not looked:
                server.store.refresh()
    lines = [record.getMessage() for record in caplog.records if "an archive of the tree" in record.getMessage()]
    assert len(lines) == 1 and "Ann" not in lines[0]
    page = server.client.get(server.url.replace("/dicom-web", "/"), headers={"Accept": "text/html"}).text
    assert "1 archive cannot be read" in page and "of Ann.vcz: " in page and str(server.target.parent) not in page
    for ending in ("", f"/series/{uid('Ann', 0)}", "/original.zip"):
        got = server.client.get(server.url.replace("/dicom-web", f"{STUDY.replace('studies', 'study')}{ending}"))
        assert got.status_code == status and "of Ann" not in got.text and str(server.target.parent) not in got.text
    put(server.target, sound)
    assert [told(server, path)[0] for path in PATHS] == [200] * len(PATHS)
    server.store.refresh()
    assert server.store.damaged() == {}
    assert told(server, "/studies/1.2.3")[0] == 404


def test_another_source_has_it(server):
    sound = server.target.read_bytes()
    put(server.target.with_name("z.vcz"), sound)
    server.store.refresh()
    put(server.target, newer(sound))
    assert [told(server, path)[0] for path in PATHS] == [200] * len(PATHS)


def test_a_study_of_which_a_part_cannot_be_read_is_not_called_whole(server, tmp_path):
    for i, pixels in enumerate(noise((3, 16, 16), seed=1)):
        instance(tmp_path / "more" / f"{i}.dcm", pixels, "Ann", 1, i)
    more = packed(tmp_path / "more", tmp_path / "tree" / "more.vcz")
    server.store.refresh()
    whole = server.client.get(server.url + STUDY)
    assert whole.status_code == 200 and "warning" not in whole.headers and len(parts(whole)) == 5
    put(more, newer(more.read_bytes()))
    for path, status in ((STUDY, 206), (f"{STUDY}/metadata", 200)):
        got = server.client.get(server.url + path)
        assert got.status_code == status and "3 instances are in archives that cannot be read" in got.headers["warning"]
        assert server.client.head(server.url + path).headers["warning"] == got.headers["warning"]
    assert len(parts(server.client.get(server.url + STUDY))) == 2
    assert "warning" not in server.client.get(f"{server.url}{SERIES}").headers
    assert server.client.get(f"{server.url}{STUDY}/series/{uid('Ann', 1)}").status_code == 501


def test_one_that_needs_a_newer_model(server, monkeypatch):
    """The index has it, made by another version: what needs no voxels is answered."""
    assert told(server, f"{PATH}/metadata")[0] == 200
    server.store._pool.close()
    known = dict(models.RELEASED)
    models.RELEASED.clear()  # as if none of its models were
    try:
        found = [told(server, path) for path in (PATH, f"{PATH}/frames/1", f"{PATH}/rendered", SERIES)]
        assert found == [(501, NEWER)] * 4
        assert told(server, f"{PATH}/metadata")[0] == 200
    finally:
        models.RELEASED.update(known)
    assert told(server, PATH)[0] == 200


def refused(monkeypatch: pytest.MonkeyPatch, target: Path) -> None:
    """Let nobody open an archive. (The superuser may, so that the refusal is made up.)"""
    genuine = Path.open

    def opened(self: Path, *args: Any, **named: Any) -> Any:
        if self == target:
            raise PermissionError(13, "Permission denied", str(self))
        return genuine(self, *args, **named)

    monkeypatch.setattr(Path, "open", opened)


def test_one_that_may_not_be_read(server, monkeypatch):
    sound = server.target.read_bytes()
    for replaced in (False, True):
        with monkeypatch.context() as patch:
            server.store._pool.close()
            refused(patch, server.target)
            if replaced:
                put(server.target, sound)
                server.store.refresh()
                assert server.store.damaged() == {"of Ann.vcz": "it cannot be read: Permission denied"}
            for path in PATHS:
                if replaced or not path.endswith("metadata"):
                    status, sentence = told(server, path)
                    assert status == 503 and "cannot be read now" in sentence, path
        server.store.refresh()  # the file is as it was, and may be read
        assert [told(server, path)[0] for path in PATHS] == [200] * len(PATHS)


def test_a_disk_that_fails_is_no_damage(server, monkeypatch):
    server.store._pool.close()

    def failed(self: Any, offset: int, count: int) -> bytes:
        try:
            raise OSError(5, "Input/output error")
        except OSError as error:
            from volcomp.errors import DamagedError

            raise DamagedError("the file cannot be read") from error

    with monkeypatch.context() as patch:
        patch.setattr("volcomp.container.sections.Reader._bytes", failed)
        assert told(server, PATH)[0] == 503
        server.target.touch()
        server.store.refresh()
        assert told(server, PATH)[0] == 503
    server.store.refresh()
    assert told(server, PATH)[0] == 200
