"""The service for X-rays, by a client that is no browser: what goes in comes out, and its seven cases."""

import io
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

import volcomp
from tests import helpers

from .conftest import Served
from .test_unzip import encrypted, zipped


def picture(shape: tuple[int, int] = (64, 48), dtype: str = "u1", seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[: shape[0], : shape[1]]
    values = 40 + x + 2 * y + np.random.default_rng(seed).normal(0, 3, shape)
    return (values.clip(0, 255) * (1 if dtype == "u1" else 200)).astype(dtype)


def png(values: np.ndarray, **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG", **options)
    return file.getvalue()


def pgm(values: np.ndarray) -> bytes:
    most = np.iinfo(values.dtype).max
    return (
        b"P5\n# made by a test\n%d %d\n%d\n" % (*values.shape[::-1], most)
        + values.astype(values.dtype.newbyteorder(">")).tobytes()
    )


def dicom(tmp_path: Path) -> bytes:
    return helpers.image(tmp_path / "a.dcm", helpers.noise((16, 16))).read_bytes()


def sent(client: httpx.Client, path: str, data: bytes, **fields: str) -> httpx.Response:
    return client.post(path, files={"file": ("images.zip", data, "application/zip")}, data=fields)


def files_of(answer: httpx.Response) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def refused(answer: httpx.Response, status: int, case: str | None = None, file: str | None = None) -> str:
    facts = answer.json()["error"]
    assert (answer.status_code, facts["status"]) == (status, status)
    assert (facts.get("case"), facts.get("file")) == (case, file)
    return str(facts["sentence"])


def test_without_loss_every_file_comes_back(client: httpx.Client, tmp_path: Path) -> None:
    given = {
        "a.png": png(picture()), "deep/er/b.png": png(picture(dtype="u2")), "c.pgm": pgm(picture(dtype="u2")),
        "d.dcm": dicom(tmp_path), "colour.png": png(np.stack([picture()] * 3, axis=-1)),
    }  # fmt: skip
    packed = files_of(sent(client, "/encode", zipped(given)))
    assert set(packed) == {f"{name}.vcz" for name in given}
    (tmp_path / "c.vcz").write_bytes(packed["c.pgm.vcz"])
    assert np.array_equal(np.squeeze(volcomp.open(tmp_path / "c.vcz")[...]), picture(dtype="u2"))
    assert files_of(sent(client, "/decode", zipped(packed))) == given


def test_with_loss_images_of_8_and_16_bits_look_alike(client: httpx.Client) -> None:
    given = {
        "a.png": png(picture((128, 96))), "b.png": png(picture((128, 96), "u2")),
        "c.pgm": pgm(picture((128, 96), "u2")),
    }  # fmt: skip
    packed = files_of(sent(client, "/encode", zipped(given), mode="lossy", ratio="10"))
    assert set(packed) == {f"{name}.vcl" for name in given}
    assert len(packed["a.png.vcl"]) <= 128 * 96 / 10 and len(packed["c.pgm.vcl"]) <= 128 * 96 * 2 / 10
    found = files_of(sent(client, "/decode", zipped(packed)))
    assert set(found) == set(given)
    for name, dtype in (("a.png", "u1"), ("b.png", "u2")):
        seen = np.asarray(Image.open(io.BytesIO(found[name])))
        wanted = picture((128, 96), dtype)
        assert seen.dtype == wanted.dtype and seen.shape == wanted.shape
        assert np.abs(seen.astype(float) - wanted).mean() < 4 * (1 if dtype == "u1" else 200)
    header, pixels = found["c.pgm"][:16], np.frombuffer(found["c.pgm"][16:], ">u2")
    assert header == b"P5\n96 128\n65535\n"[:16] and len(pixels) == 128 * 96


def test_the_zip_may_be_the_body(client: httpx.Client) -> None:
    data = zipped({"a.png": png(picture())})
    headers = {"Content-Type": "application/zip"}
    packed = files_of(client.post("/encode", content=data, headers=headers))
    lossy = files_of(client.post("/encode", content=data, headers=headers, params={"mode": "lossy", "ratio": "8"}))
    assert set(packed) == {"a.png.vcz"} and set(lossy) == {"a.png.vcl"}


def test_T01_an_empty_zip(client: httpx.Client) -> None:
    for path in ("/encode", "/decode"):
        refused(sent(client, path, zipped({})), 400, "T01")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jpg", b"\xff\xd8\xff\xe0" + bytes(100)), ("a.tif", b"II*\0" + bytes(100)),
        ("a.gif", b"GIF89a" + bytes(100)), ("a.ppm", b"P6 2 2 255\n" + bytes(12)),
        ("a.webp", b"RIFF\0\0\0\0WEBPVP8 " + bytes(99)),
    ],
)  # fmt: skip
def test_T02_another_format(client: httpx.Client, name: str, data: bytes) -> None:
    answer = sent(client, "/encode", zipped({"sub/" + name: data, "b.png": png(picture())}))
    assert "PNG, PGM, DICOM" in refused(answer, 415, "T02", "sub/" + name)


def test_T02_what_the_lossy_model_does_not_take(client: httpx.Client, tmp_path: Path) -> None:
    one_bit = png(picture() > 100)
    refused(sent(client, "/encode", zipped({"a.png": one_bit}), mode="lossy"), 415, "T02", "a.png")
    refused(sent(client, "/encode", zipped({"a.dcm": dicom(tmp_path)}), mode="lossy"), 415, "T02", "a.dcm")
    refused(sent(client, "/encode", zipped({"a.pgm": b"P2\n1 1\n9\n5\n"}), mode="lossy"), 415, "T02", "a.pgm")


def test_T03_no_images(client: httpx.Client) -> None:
    for name, data in {"notes.txt": b"no image", "a.png": b"text", "b.png": b"\x89PNG\r\n\x1a\n", "nil": b""}.items():
        refused(sent(client, "/encode", zipped({"ok.png": png(picture()), name: data})), 415, "T03", name)
    cut = png(picture())[:-200]
    refused(sent(client, "/encode", zipped({"cut.png": cut}), mode="lossy"), 415, "T03", "cut.png")
    short = pgm(picture())[:-1]
    refused(sent(client, "/encode", zipped({"cut.pgm": short}), mode="lossy"), 415, "T03", "cut.pgm")
    for name in ("a.png", "a.vcz", "a.vcl"):
        refused(sent(client, "/decode", zipped({name: b"\x89PNG\r\n\x1a\n text"})), 415, "T03", name)


def test_T04_another_size(client: httpx.Client) -> None:
    data = zipped({"a.png": png(picture((32, 32))), "b.png": png(picture((32, 33)))})
    assert "33×32" in refused(sent(client, "/encode", data, size="32x32"), 422, "T04", "b.png")
    tiny = zipped({"tiny.png": png(picture((4, 4)))})
    assert "does not fit" in refused(sent(client, "/encode", tiny, mode="lossy", ratio="16"), 422, "T04", "tiny.png")
    huge = b"P5 65536 65536 255\n" + bytes(100)
    refused(sent(client, "/encode", zipped({"huge.pgm": huge}), mode="lossy"), 422, "T04", "huge.pgm")


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_T05_colours(client: httpx.Client, channels: int) -> None:
    data = zipped({"c.png": png(np.stack([picture()] * channels, axis=-1))})
    assert "grey" in refused(sent(client, "/encode", data, mode="lossy"), 422, "T05", "c.png")
    assert set(files_of(sent(client, "/encode", data))) == {"c.png.vcz"}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
def test_T06_an_unknown_path(client: httpx.Client, method: str) -> None:
    sentence = refused(client.request(method, "/enc0de/x"), 404, "T06", "enc0de/x")
    assert "/enc0de/x" in sentence and "/dicom-web/studies lists the studies" in sentence


def test_T07_an_empty_form(client: httpx.Client) -> None:
    for path in ("/encode", "/decode"):
        refused(client.post(path), 400, "T07")
        refused(client.post(path, data={"mode": "lossy"}), 400, "T07")
        refused(client.post(path, files={"other": (None, "no file")}), 400, "T07")
        refused(client.post(path, files={"file": ("", b"")}), 400, "T07")
        refused(client.post(path, files={"file": ("a.zip", b"")}), 400, "T07")


def test_people_get_a_page(client: httpx.Client) -> None:
    answer = client.post("/encode", headers={"Accept": "text/html,*/*;q=0.8"})
    assert answer.status_code == 400 and "T07" in answer.text and "<!doctype html>" in answer.text
    answer = client.get("/<script>alert(1)</script>", headers={"Accept": "text/html"})
    assert answer.status_code == 404 and "T06" in answer.text and "<script>alert" not in answer.text


def test_what_is_no_sound_zip_is_refused(client: httpx.Client) -> None:
    data = zipped({"a.png": png(picture())})
    for bad in (b"no zip", data[:100], encrypted(data)):
        refused_case = sent(client, "/encode", bad).json()["error"]
        assert refused_case["status"] == 422 and "zip" in refused_case["sentence"]
    refused(sent(client, "/decode", zipped({"up.vcz": b"1"}).replace(b"up.vcz", b"../vcz")), 400, None, "../vcz")
    several = client.post("/encode", files=[("file", ("a.zip", data)), ("file", ("b.zip", data))])
    assert "several" in refused(several, 400)


def test_more_than_is_allowed_is_refused(client: httpx.Client, server: Served) -> None:
    assert server.settings.max_upload == 64 << 20
    bomb = zipped({"zeros.png": png(picture()) + bytes(70 << 20)})
    assert len(bomb) < 1 << 20
    refused(sent(client, "/encode", bomb), 413, None, "zeros.png")
    refused(client.post("/encode", content=bytes((64 << 20) + 1)), 413)


@pytest.mark.parametrize(
    "fields", [{"mode": "tiny"}, {"mode": "lossy", "ratio": "many"}, {"mode": "lossy", "ratio": "nan"}, {"size": "big"}]
)
def test_what_is_asked_must_make_sense(client: httpx.Client, fields: dict[str, str]) -> None:
    sentence = refused(sent(client, "/encode", zipped({"a.png": png(picture())}), **fields), 400)
    assert "was asked for" in sentence


def test_nothing_stays_behind(client: httpx.Client, server: Served) -> None:
    sent(client, "/encode", zipped({"a.png": png(picture())}))
    sent(client, "/encode", b"no zip")
    left = [path for path in server.settings.own.rglob("*") if path.is_file() and path.name != "lock"]
    assert left == []
