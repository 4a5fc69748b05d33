"""Files in a browser: downloads without JavaScript, drops with progress, the service and its cases."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import volcomp
from tests import helpers

from .conftest import Served
from .screen import Open, drop
from .test_service import picture, png
from .test_unzip import zipped

pytestmark = pytest.mark.xdist_group("browser")


def test_without_javascript_lists_and_downloads_work(opened: Open, scene: dict[Path, Path]) -> None:
    page = opened("/", java_script_enabled=False)
    page.click("text=Specimen, Anna")
    page.click("text=Chest, soft kernel")
    assert page.locator("#picture").is_visible()
    page.click("text=Lung")
    page.click("text=Next")
    assert "Slice 12 of 20" in " ".join(page.inner_text(".steps").split())
    assert page.get_attribute("[aria-current=true]", "href").endswith("window=lung")
    with page.expect_download() as waiting:
        page.click("text=Original files (zip)")
    folders = {folder.name: folder for folder in scene}
    with zipfile.ZipFile(waiting.value.path()) as archive:
        assert {n: archive.read(n) for n in archive.namelist()} == helpers.contents(folders["ct"])
    with page.expect_download() as waiting:
        page.click("text=Archive (.vcz")
    assert Path(waiting.value.path()).read_bytes() == scene[folders["ct"]].read_bytes()


# Notes all that the page says about the progress of a job.
WATCH = """() => {
  const text = (id) => document.querySelector(id).textContent;
  window.said = [];
  new MutationObserver(() => window.said.push(text('#job-title') + ': ' + text('#job-text')))
    .observe(document.querySelector('#job'), { subtree: true, childList: true, characterData: true, attributes: true });
}"""


def downloaded(page: Any) -> Path:
    page.wait_for_selector("#job[data-state=done], #job[data-state=failed]")
    assert page.get_attribute("#job", "data-state") == "done", page.inner_text("#job")
    with page.expect_download() as waiting:
        page.click("#job-result")
    return Path(waiting.value.path())


def test_a_dropped_zip_becomes_an_archive_with_progress(opened: Open, tmp_path: Path) -> None:
    helpers.series(tmp_path / "study", 6, 48)
    given = helpers.contents(tmp_path / "study")
    (tmp_path / "study.zip").write_bytes(zipped({f"study/{name}": bytes(data or b"") for name, data in given.items()}))  # type: ignore[arg-type]
    page = opened("/tools")
    page.evaluate(WATCH)
    drop(page, tmp_path / "study.zip")
    packed = downloaded(page)
    assert page.get_attribute("#job-result", "download") == "study.vcz"
    said = page.evaluate("window.said")
    assert any(line.startswith("Sending: 1 of 1 files") for line in said)
    assert any(line.startswith("Compressing: ") and "%" in line for line in said)
    assert "Bits per voxel" in page.inner_text("#job-facts")
    (tmp_path / "study.vcz").write_bytes(packed.read_bytes())
    volcomp.decompress_files(tmp_path / "study.vcz", tmp_path / "back")
    assert helpers.contents(tmp_path / "back") == given

    page.click("#job-again")
    page.evaluate(WATCH)
    drop(page, tmp_path / "study.vcz")
    restored = downloaded(page)
    assert page.locator("#job-files tbody tr").count() == 6
    with zipfile.ZipFile(restored) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == given


def test_a_dropped_folder_is_sent_file_by_file(opened: Open, tmp_path: Path) -> None:
    helpers.series(tmp_path / "study" / "deep", 3, 16)
    (tmp_path / "study" / "note.txt").write_text("note")
    page = opened("/tools")
    drop(page, tmp_path / "study")
    packed = tmp_path / "packed.vcz"
    packed.write_bytes(downloaded(page).read_bytes())
    assert page.get_attribute("#job-result", "download") == "study.vcz"
    volcomp.decompress_files(packed, tmp_path / "back")
    assert helpers.contents(tmp_path / "back") == helpers.contents(tmp_path / "study")


def test_a_job_is_cancelled(opened: Open, server: Served, tmp_path: Path) -> None:
    helpers.series(tmp_path / "study", 3)
    page = opened("/tools", refused=True)
    held: list[Any] = []
    page.route("**/start", lambda route: held.append(route))
    drop(page, tmp_path / "study")
    while not held:
        page.wait_for_timeout(50)
    page.click("#job-cancel")
    page.wait_for_selector("#job[data-state=cancelled]")
    assert not any(path.name == "IM0001.dcm" for path in server.settings.own.rglob("*"))
    page.click("#job-again")
    assert page.locator("#form").is_visible()


def test_what_is_refused_is_said(opened: Open, tmp_path: Path) -> None:
    (tmp_path / "bad.vcz").write_bytes(b"no archive")
    page = opened("/tools", refused=True)
    drop(page, tmp_path / "bad.vcz")
    page.wait_for_selector("#job[data-state=failed]")
    assert "no volcomp archive" in page.inner_text("#job-error")
    page.click("#job-again")
    page.click("#send")
    assert "No file was chosen" in page.inner_text("#job-error")


def cases() -> dict[str, tuple[str, dict[str, bytes] | None, dict[str, str], str]]:
    """The seven cases: what the form sends, and what the page says."""
    grey = png(picture())
    colour = png(np.stack([picture()] * 3, axis=-1))
    return {
        "T01": ("/encode", {}, {}, "empty"),
        "T02": ("/encode", {"a.jpg": b"\xff\xd8\xff\xe0" + bytes(100)}, {}, "a.jpg"),
        "T03": ("/encode", {"notes.txt": b"no image"}, {}, "notes.txt"),
        "T04": ("/encode", {"a.png": grey}, {"size": "256x256"}, "a.png"),
        "T05": ("/encode", {"c.png": colour}, {"mode": "lossy"}, "c.png"),
        "T07": ("/encode", None, {}, "choose a zip"),
    }


@pytest.mark.parametrize("case", ["T01", "T02", "T03", "T04", "T05", "T07"])
def test_the_cases_of_the_service_on_the_page(opened: Open, tmp_path: Path, case: str) -> None:
    path, content, fields, said = cases()[case]
    page = opened(path, refused=True)
    form = page.locator("form[action='/encode']")
    if content is not None:
        (tmp_path / "images.zip").write_bytes(zipped(content))
        form.locator("input[type=file]").set_input_files(tmp_path / "images.zip")
    for name, value in fields.items():
        if name == "mode":
            form.locator(f"input[value={value}]").check()
        else:
            form.locator(f"input[name={name}]").fill(value)
    form.locator("button").click()
    page.wait_for_selector(".notice.bad")
    assert page.inner_text(".case") == case and said in page.inner_text(".notice.bad")


def test_T06_an_unknown_path_on_the_page(opened: Open) -> None:
    page = opened("/enc0de", refused=True)
    assert page.inner_text(".case") == "T06" and "/enc0de" in page.inner_text(".notice.bad")


def test_the_service_on_the_page_gives_images_back(opened: Open, tmp_path: Path) -> None:
    given = {"a.png": png(picture())}
    (tmp_path / "images.zip").write_bytes(zipped(given))
    page = opened("/encode")
    for action, source in (("/encode", "images.zip"), ("/decode", "small.zip")):
        form = page.locator(f"form[action='{action}']")
        form.locator("input[type=file]").set_input_files(tmp_path / source)
        with page.expect_download() as waiting:
            form.locator("button").click()
        (tmp_path / "small.zip").write_bytes(Path(waiting.value.path()).read_bytes())
    with zipfile.ZipFile(tmp_path / "small.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == given
