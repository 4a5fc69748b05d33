"""Takes the pictures of docs/serve.md, of synthetic series: `python -m tests.serve.web.pictures docs/serve`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright
from starlette.applications import Starlette

from tests import helpers, peers
from volcomp.serve import web
from volcomp.serve.settings import Settings

from . import fakes, scenes
from .conftest import BROWSER, served
from .screen import CT, complete, drop, press

_COLOURS = 128  # of a picture, which makes it a third as large


def main(target: Path) -> None:
    """Take all pictures."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch)
        store = fakes.FakeStore(scenes.make(folder / "scene", 96, 256))
        browser = playwright.chromium.launch(executable_path=str(peers.CHROMIUM), args=BROWSER)
        with (
            web.opened(store, fakes.FakeInbox(), Settings(folder)) as routes,
            served(Starlette(routes=routes)) as url,
        ):
            look = {"viewport": {"width": 1200, "height": 760}}
            page = browser.new_page(**look)
            page.goto(f"{url}/")
            keep(page, target / "studies.png")
            page = browser.new_page(**look, color_scheme="dark")
            page.goto(url + CT)
            complete(page)
            press(page, "m", "Shift+ArrowLeft", *["Shift+ArrowUp"] * 12)
            page.evaluate("document.activeElement.blur()")
            keep(page, target / "series.png", full_page=True)
            page = browser.new_page(viewport={"width": 360, "height": 740}, color_scheme="dark")
            page.goto(url + CT)
            complete(page)
            keep(page, target / "narrow.png")
            page = browser.new_page(**look)
            page.goto(f"{url}/tools")
            helpers.series(folder / "study", 12, 64)
            drop(page, folder / "study")
            page.wait_for_selector("#job[data-state=done]")
            keep(page, target / "tools.png", clip={"x": 0, "y": 0, "width": 1200, "height": 460})
        browser.close()


def keep(page: Any, path: Path, **options: Any) -> None:
    """Take a picture."""
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path, animations="disabled", **options)
    image = Image.open(path).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    image.save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
