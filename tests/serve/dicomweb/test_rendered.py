"""Pictures: windows, viewports, which image stands for a series; and the grey levels one by one."""

from __future__ import annotations

from io import BytesIO

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.serve.dicomweb.conftest import COLOURS, CT, MC, MONO1, MULTI, REPORT, STUDY, one, samples
from tests.serve.dicomweb.test_retrieve import parts
from volcomp.serve.dicomweb.rendered import shown
from volcomp.serve.store.protocol import Picture

PNG = {"Accept": "image/png"}


def levels(got: httpx.Response) -> np.ndarray:
    assert got.status_code == 200, got.text
    return np.asarray(Image.open(BytesIO(got.content)))


def test_windows_by_the_formulas_of_the_standard():
    """PS3.3, C.11.2.1.2.1: below, above, and between; C.11.2.1.3.1 and C.11.2.1.3.2 for the other functions."""
    values = np.arange(-300, 300, dtype="i2").reshape(20, 30)
    seen = Picture(values, 1, 0, None, False)
    x, c, w = values.astype(float), 40.0, 80.0
    expected = np.where(x <= c - 0.5 - (w - 1) / 2, 0, np.where(x > c - 0.5 + (w - 1) / 2, 255,
                        ((x - (c - 0.5)) / (w - 1) + 0.5) * 255))  # fmt: skip
    assert np.array_equal(shown(seen, (c, w, "linear")), expected.round())
    exact = np.where(x <= c - w / 2, 0, np.where(x > c + w / 2, 255, ((x - c) / w + 0.5) * 255))
    assert np.array_equal(shown(seen, (c, w, "linear-exact")), exact.round())
    assert np.array_equal(shown(seen, (c, w, "sigmoid")), (255 / (1 + np.exp(-4 * (x - c) / w))).round())
    assert np.array_equal(shown(seen, (0, 1, "linear")), np.where(x > -0.5, 255, 0))


def test_all_of_sixteen_bits_pass_the_window():
    values = np.arange(65536, dtype="u2").reshape(256, 256)
    found = shown(Picture(values, 1, 0, None, False), (40000, 257, "linear"))
    assert np.array_equal(np.unique(found), np.arange(256)) and found[0, 0] == 0 and found[-1, -1] == 255
    rescaled = shown(Picture(values, 0.5, -1000, (40000 * 0.5 - 1000, 128.5), False), None)
    assert abs(rescaled.astype(int) - found).max() <= 1


def test_the_headers_window_and_none_and_inversion():
    values = np.array([[100, 200], [300, 500]], "u2")
    assert shown(Picture(values, 1, 0, (300, 401), False), None).tolist() == [[0, 64], [128, 255]]
    assert shown(Picture(values, 1, 0, None, False), None).tolist() == [[0, 64], [128, 255]]
    assert shown(Picture(values, 1, 0, None, True), None).tolist() == [[255, 191], [127, 0]]
    assert shown(Picture(np.full((2, 2), 7, "u2"), 1, 0, None, False), None).tolist() == [[128, 128]] * 2
    assert shown(Picture(np.array([[np.nan, np.inf, -np.inf, 0, 1]], "f4"), 1, 0, None, False), None).tolist() == [
        [0, 255, 0, 0, 255]
    ]
    colours = np.array([[[0, 32768, 65535]]], "u2")
    assert shown(Picture(colours, 1, 0, None, False), None).tolist() == [[[0, 128, 255]]]


def test_a_window_of_a_request(server):
    there = one(server.store, CT)
    values = there.dataset.pixel_array * 2.0 - 1000
    got = levels(httpx.get(f"{server.url}{there.path}/rendered?window=500,4000", headers=PNG))
    expected = (((values - 499.5) / 3999 + 0.5).clip(0, 1) * 255).round()
    assert np.array_equal(got, expected)
    default = levels(httpx.get(f"{server.url}{there.path}/rendered", headers=PNG))
    assert np.array_equal(default, (((values - 999.5) / 1499 + 0.5).clip(0, 1) * 255).round())
    inverted = one(server.store, MONO1)
    got = levels(httpx.get(f"{server.url}{inverted.path}/rendered?window=50,100,linear-exact", headers=PNG))
    assert np.array_equal(got, 255 - (samples(8, 8, top=100) / 100 * 255).round())


def test_colours(server):
    got = levels(httpx.get(f"{server.url}{one(server.store, COLOURS).path}/rendered", headers=PNG))
    assert np.array_equal(got, samples(8, 8, 3, kind="u1", top=256))


def test_which_image_stands_for_what(server):
    third = levels(httpx.get(f"{server.url}{one(server.store, CT, 2).path}/rendered", headers=PNG))
    series = levels(httpx.get(f"{server.url}/studies/{STUDY}/series/{CT}/rendered", headers=PNG))
    assert np.array_equal(series, third)
    assert levels(httpx.get(f"{server.url}/studies/{STUDY}/rendered", headers=PNG)).ndim >= 2
    there = one(server.store, MULTI)
    middle = levels(httpx.get(f"{server.url}{there.path}/rendered", headers=PNG))
    assert np.array_equal(middle, levels(httpx.get(f"{server.url}{there.path}/frames/4/rendered", headers=PNG)))
    got = httpx.get(f"{server.url}/studies/{STUDY}/series/{REPORT}/rendered")
    assert got.status_code == 406 and "no image" in got.json()["error"]["sentence"]


def test_viewports(server):
    url = f"{server.url}{one(server.store, MULTI).path}/frames/1"
    whole = levels(httpx.get(f"{url}/rendered", headers=PNG))
    assert whole.shape == (10, 12)
    assert levels(httpx.get(f"{url}/rendered?viewport=24,100", headers=PNG)).shape == (20, 24)
    assert levels(httpx.get(f"{url}/rendered?viewport=6,100", headers=PNG)).shape == (5, 6)
    part = levels(httpx.get(f"{url}/rendered?viewport=4,3,2,5,4,3", headers=PNG))
    assert np.array_equal(part, whole[5:8, 2:6])
    mirrored = levels(httpx.get(f"{url}/rendered?viewport=4,3,2,5,-4,-3", headers=PNG))
    assert np.array_equal(mirrored, whole[5:8, 2:6][::-1, ::-1])
    assert levels(httpx.get(f"{url}/rendered?viewport=10,5,2,5,,", headers=PNG)).shape == (5, 10)
    assert levels(httpx.get(f"{url}/thumbnail", headers=PNG)).shape == (107, 128)
    assert levels(httpx.get(f"{url}/thumbnail?viewport=6,6", headers=PNG)).shape == (5, 6)


def test_thumbnails_of_all_levels(server):
    for path in (f"/studies/{STUDY}", f"/studies/{STUDY}/series/{CT}", one(server.store, CT).path):
        got = httpx.get(f"{server.url}{path}/thumbnail")
        assert got.headers["content-type"] == "image/jpeg" and max(levels(got).shape) == 128


def test_quality(server):
    url = f"{server.url}{one(server.store, CT).path}/rendered"
    assert len(httpx.get(f"{url}?quality=5").content) < len(httpx.get(f"{url}?quality=100").content)


def test_pictures_of_several_frames_come_in_parts(server):
    url = f"{server.url}{one(server.store, MULTI).path}/frames/2,5/rendered"
    found = parts(httpx.get(url, headers={"Accept": 'multipart/related; type="image/png"'}))
    assert [headers["Content-Type"] for headers, _ in found] == ["image/png"] * 2
    assert all(Image.open(BytesIO(data)).size == (12, 10) for _, data in found)
    assert httpx.get(url, headers=PNG).status_code == 406
    many = ",".join(["1"] * 6)
    assert len(parts(httpx.get(url.replace("2,5", many)))) == 6


@pytest.mark.parametrize("query", [
    "window=1", "window=a,b", "window=1,2,cubic", "window=1,0", "window=1,0.5", "window=nan,1", "window=1,inf",
    "window=1,-1,sigmoid", "viewport=0,1", "viewport=9999,1", "viewport=1", "viewport=1,2,3", "viewport=a,b",
    "viewport=5,5,0,0,100,100", "viewport=5,5,-1,0,3,3", "quality=0", "quality=101", "quality=x", "annotation=patient",
])  # fmt: skip
def test_what_is_no_picture(server, query):
    got = httpx.get(f"{server.url}{one(server.store, CT).path}/rendered?{query}")
    assert got.status_code == 400 and got.json()["error"]["sentence"]


def test_what_cannot_be_decoded(server):
    got = httpx.get(f"{server.url}{one(server.store, MC).path}/rendered")
    assert got.status_code in (406, 500) and got.json()["error"]["sentence"]
    got = httpx.get(f"{server.url}{one(server.store, CT).path}/rendered", headers={"Accept": "video/mp4"})
    assert got.status_code == 406
