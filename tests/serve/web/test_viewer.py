"""The viewer in headless Chromium: values on the screen are those of the files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from volcomp.serve.web import pages

from . import scenes
from .conftest import Served
from .screen import COLOUR, CT, SAGITTAL, XRAY, Open, alike, at, complete, drawn, middle, press, values

pytestmark = pytest.mark.xdist_group("browser")


def test_from_the_home_page_to_a_series(opened: Open) -> None:
    page = opened("/")
    page.fill("input[name=name]", "anna")
    page.press("input[name=name]", "Enter")
    page.wait_for_selector("caption:has-text('What was found')")
    assert page.locator("tbody tr").count() == 1
    page.click("text=Specimen, Anna")
    page.wait_for_selector("h1:has-text('Chest and head')")
    page.wait_for_function("() => [...document.images].every(one => one.complete && one.naturalWidth > 0)")
    page.click("text=Chest, soft kernel")
    complete(page)
    assert page.title() == "Chest, soft kernel – volcomp"


def test_values_at_the_crosshair_are_those_of_the_files(opened: Open, server: Served) -> None:
    page, wanted = complete(opened(CT)), values(server, scenes.CT)
    assert at(page) == ((32, 32, 10), wanted[10, 32, 32])
    seen = set()
    for keys in (["ArrowDown"] * 3, ["Shift+ArrowRight"] * 5, ["Shift+ArrowUp"] * 9, ["PageUp"], ["End"], ["Home"]):
        press(page, *keys)
        (i, j, k), value = at(page)
        assert value == wanted[k, j, i]
        seen.add((i, j, k))
    assert (37, 23, 0) in seen and (37, 23, 19) in seen and (32, 32, 13) in seen
    canvas = page.locator("#viewer canvas").bounding_box()
    for x, y in ((0.5, 0.4), (0.45, 0.6), (0.6, 0.5)):
        page.mouse.click(canvas["x"] + x * canvas["width"], canvas["y"] + y * canvas["height"])
        (i, j, k), value = at(page)
        assert value == wanted[k, j, i]


def test_every_direction_of_slices(opened: Open, server: Served) -> None:
    page, wanted = complete(opened(SAGITTAL)), values(server, scenes.SAGITTAL)
    assert page.get_attribute("[data-view='2']", "aria-pressed") == "true"  # it opens as it was acquired
    for view, axis in (("s", 2), ("a", 1), ("c", 0)):
        press(page, view, "Home")
        first, value = at(page)
        assert first[axis] == 0 and value == wanted[first[::-1]]
        press(page, "ArrowDown", "ArrowDown")
        third, value = at(page)
        assert third[axis] == 2 and value == wanted[third[::-1]]
        press(page, "End")
        last, value = at(page)
        assert last[axis] == wanted.shape[2 - axis] - 1 and value == wanted[last[::-1]]


def test_what_is_drawn_is_the_slice_the_right_way_round(opened: Open, server: Served) -> None:
    page, wanted = complete(opened(CT)), values(server, scenes.CT)
    for key, centre, width in (("3", -600, 1500), ("5", 50, 400)):
        press(page, key)
        low = centre - 0.5 - (width - 1) / 2
        grey = ((wanted[10] - low) / (width - 1)).clip(0, 1)
        seen = drawn(page)
        side = min(seen.shape)
        top, left = ((length - side) // 2 for length in seen.shape)
        square = Image.fromarray(seen[top : top + side, left : left + side]).resize((64, 64), Image.Resampling.BOX)
        found = alike(np.asarray(square), grey)
        assert found > 0.95
        for turned in (grey[::-1], grey[:, ::-1], grey.T):
            assert found > alike(np.asarray(square), turned)


def test_windows(opened: Open, server: Served) -> None:
    page, wanted = complete(opened(CT)), values(server, scenes.CT)

    def shown() -> list[float]:
        facts = page.eval_on_selector("#viewer", "viewer => ({...viewer.dataset})")
        return [float(facts["low"]), float(facts["high"])]

    assert shown() == [-160, 239]  # of the header: 40, 400
    page.click("button[data-window=lung]")
    assert shown() == [-1350, 149] and page.inner_text("#window") == "-600, 1500"
    assert page.get_attribute("button[data-window=lung]", "aria-pressed") == "true"
    bright = drawn(page)
    press(page, "4")
    assert shown() == [-769.5 + 0.0, 1729.5] or shown() == [480 - 0.5 - 2499 / 2, 480 - 0.5 + 2499 / 2]
    assert drawn(page).mean() < bright.mean()
    page.click("button[data-window=full]")
    assert shown() == [wanted.min(), wanted.max()]


def test_wheel_slider_and_planes(opened: Open) -> None:
    page = complete(opened(CT))
    page.mouse.move(*middle(page))
    page.mouse.wheel(0, 100)
    page.wait_for_function("() => document.querySelector('#viewer').dataset.voxel !== '32,32,10'")
    (_, _, k), _ = at(page)
    assert k in (9, 11)
    page.fill("#slider", "3")
    assert at(page)[0][2] == 2 and page.inner_text("#count") == "3 of 20"
    assert "3 of 20" in page.get_attribute("#slider", "aria-valuetext")
    before = drawn(page)
    page.click("text=All planes")
    assert alike(before, drawn(page)) < 0.9
    page.click("text=Coronal")
    assert page.inner_text("#count").endswith("of 64")


def test_touch_sets_the_crosshair_and_turns_over_slices(opened: Open, server: Served) -> None:
    page = complete(opened(CT, viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True))
    wanted = values(server, scenes.CT)
    page.locator("#viewer canvas").scroll_into_view_if_needed()
    x, y = middle(page)
    session = page.context.new_cdp_session(page)

    def touch(kind: str, *points: tuple[float, float]) -> None:
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": x, "y": y} for x, y in points]})

    touch("touchStart", (x - 40, y - 30))
    page.wait_for_function("() => document.querySelector('#viewer').dataset.voxel !== '32,32,10'")
    (i, j, k), value = at(page)
    assert i < 32 and j < 32 and k == 10 and value == wanted[k, j, i]
    for step in range(1, 6):
        touch("touchMove", (x - 40, y - 30 - 12 * step))
    page.wait_for_function("() => document.querySelector('#viewer').dataset.voxel.split(',')[2] < 8")
    touch("touchEnd")
    (then_i, then_j, k), value = at(page)
    assert (then_i, then_j) == (i, j) and value == wanted[k, j, i]
    page.click("button[data-window=lung]")  # which a long touch would take back
    assert page.inner_text("#window") == "-600, 1500"


def test_the_first_picture_comes_before_the_rest(opened: Open, server: Served) -> None:
    server.store.reads.clear()
    page = opened("/")
    held: list[Any] = []
    page.route(
        "**/values?*", lambda route: route.continue_() if "from=10&to=11" in route.request.url else held.append(route)
    )
    page.goto(server.url + CT)
    page.wait_for_selector("#viewer[data-state=loading]")
    page.wait_for_function("() => document.querySelector('#viewer').dataset.value !== ''")
    assert at(page)[1] == values(server, scenes.CT)[10, 32, 32]
    assert "1 of 20 slices loaded" in page.inner_text(".loading")
    press(page, "ArrowDown")
    assert page.inner_text("#value") == "is being loaded"
    while page.get_attribute("#viewer", "data-state") != "complete":
        for route in held:
            route.continue_()
        held.clear()
        page.wait_for_timeout(50)
    assert at(page)[1] == values(server, scenes.CT)[11, 32, 32]
    decoded = [read for read in server.store.reads if read[1] == 1]
    assert len(decoded) == 21  # each slice once, and the picture of the page without script


def test_a_radiograph(opened: Open, server: Served) -> None:
    page = complete(opened(XRAY))
    (_, header) = next(pair for pair in server.store._files.values() if pair[1].SeriesInstanceUID == scenes.XRAY)
    (i, j, _), value = at(page)
    assert value == header.pixel_array[j, i]
    seen = drawn(page)
    y, x = (length // 2 for length in seen.shape)
    assert seen[y + 20, x + 20] < 60 < 150 < seen[10, x + 20]  # MONOCHROME1: great values are black


def test_what_no_texture_holds_is_shown_on_a_plain_canvas(
    opened: Open, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_MOST_CELLS", 0)
    page, wanted = complete(opened(CT)), values(server, scenes.CT)
    assert page.locator("[data-view]").count() == 0  # one plane
    assert at(page) == ((32, 32, 10), wanted[10, 32, 32])
    press(page, "3")
    seen = drawn(page)
    side = min(seen.shape)
    top, left = ((length - side) // 2 for length in seen.shape)
    square = Image.fromarray(seen[top : top + side, left : left + side]).resize((64, 64), Image.Resampling.BOX)
    grey = ((wanted[10] + 1350) / 1499).clip(0, 1)
    assert alike(np.asarray(square), grey) > 0.98 > alike(np.asarray(square), grey[:, ::-1])
    press(page, "ArrowLeft", "Shift+ArrowUp", "PageDown")
    page.wait_for_function("() => document.querySelector('#viewer').dataset.voxel === '31,22,11'")
    assert at(page)[1] == wanted[11, 22, 31]
    page.mouse.move(*middle(page))
    page.mouse.wheel(0, 100)
    page.wait_for_function("() => document.querySelector('#viewer').dataset.voxel === '31,22,12'")
    x, y = middle(page)
    page.mouse.click(x + 60, y - 40)
    (i, j, k), value = at(page)
    assert i > 32 > j and value == wanted[k, j, i]
    page.mouse.down(button="right")
    page.mouse.move(x + 90, y - 20, steps=4)
    page.mouse.up(button="right")
    assert page.inner_text("#window") != "-600, 1500"
    assert page.locator("[data-window][aria-pressed=true]").count() == 0


def test_a_radiograph_on_a_plain_canvas(opened: Open, server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "_MOST_CELLS", 0)
    page = complete(opened(XRAY))
    (_, header) = next(pair for pair in server.store._files.values() if pair[1].SeriesInstanceUID == scenes.XRAY)
    seen = drawn(page)
    y, x = (length // 2 for length in seen.shape)
    assert seen[y + 40, x + 40] < 60 < 150 < seen[20, x + 40]  # MONOCHROME1
    x, y = middle(page)
    page.mouse.move(x + 100, y + 50)
    page.mouse.wheel(0, -400)
    page.wait_for_selector("#viewer[data-zoom]")
    assert alike(seen, drawn(page)) < 0.98  # it is larger now
    page.mouse.click(x + 100, y + 50)
    (i, j, _), value = at(page)
    assert value == header.pixel_array[j, i] and i > 80 and j > 100
    page.mouse.down()
    page.mouse.move(x + 30, y - 30, steps=3)
    page.mouse.up()
    assert at(page)[0] == (i, j, 0)  # what is dragged is the image
    press(page, "r")
    assert alike(seen, drawn(page)) > 0.98


def test_values_beyond_what_headers_tell_come_as_floats(
    opened: Open, server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture_of = server.store.picture

    def louder(instance: Any, frame: int) -> Any:
        found = picture_of(instance, frame)
        return found._replace(samples=found.samples.astype(np.int32) + 40_000)

    monkeypatch.setattr(server.store, "picture", louder)
    page = complete(opened(CT, refused=True))
    (i, j, k), value = at(page)
    assert value == values(server, scenes.CT)[k, j, i] + 40_000


def test_without_webgl2_pictures_are_shown(opened: Open, server: Served) -> None:
    page = opened("/")
    page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    page.goto(server.url + CT + "?window=lung")
    complete(page)
    assert page.get_attribute("#viewer", "data-state") == "plain" and "no WebGL2" in page.inner_text("#viewer")
    page.focus("#picture")
    page.keyboard.press("ArrowDown")
    assert page.inner_text("#at") == "12"
    page.click("#next")
    assert page.inner_text("#at") == "13" and "window=lung" in page.url
    page.hover("#picture")
    page.mouse.wheel(0, -100)
    page.wait_for_function("() => document.querySelector('#at').textContent === '12'")
    page.wait_for_function("() => document.querySelector('#picture').complete")
    box = page.locator("#picture").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#viewer[data-value]")
    assert float(page.get_attribute("#viewer", "data-value")) in values(server, scenes.CT)[11, 31:33, 31:33]
    complete(opened(COLOUR))
