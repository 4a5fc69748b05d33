"""What tests see of a page in a browser, and what they do to it."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import scenes
from .conftest import Served

CT = f"/study/{scenes.STUDY}/series/{scenes.CT}"
SAGITTAL = f"/study/{scenes.STUDY}/series/{scenes.SAGITTAL}"
XRAY = f"/study/{scenes.OTHER}/series/{scenes.XRAY}"
COLOUR = f"/study/{scenes.OTHER}/series/{scenes.COLOUR}"
PAGES = ("/", f"/study/{scenes.STUDY}", CT, XRAY, COLOUR, "/tools", "/encode", "/nothing")
Open = Callable[..., Any]


def complete(page: Any) -> Any:
    page.wait_for_selector("#viewer[data-state=complete], #viewer[data-state=plain], #viewer[data-state=failed]")
    assert page.get_attribute("#viewer", "data-state") != "failed", page.inner_text("#viewer")
    return page


def at(page: Any) -> tuple[tuple[int, int, int], float]:
    """The voxel at the crosshair (column, row, slice), and its value as the page shows it."""
    facts = page.eval_on_selector("#viewer", "viewer => ({...viewer.dataset})")
    i, j, k = map(int, facts["voxel"].split(","))
    shown = page.inner_text("#value").split()[0]
    assert float(shown) == float(facts["value"])
    return (i, j, k), float(shown)


def values(server: Served, series: str) -> np.ndarray:
    """The values of a series, in the order of its slices in space, by what the files say."""
    found = []
    for _, header in server.store._files.values():
        if header.SeriesInstanceUID == series:
            normal = np.cross(header.ImageOrientationPatient[:3], header.ImageOrientationPatient[3:])
            place = float(np.dot(normal, header.ImagePositionPatient))
            slope, intercept = float(header.get("RescaleSlope", 1)), float(header.get("RescaleIntercept", 0))
            found.append((place, header.pixel_array * slope + intercept))
    return np.stack([pixels for _, pixels in sorted(found, key=lambda pair: pair[0])])


def press(page: Any, *keys: str) -> None:
    page.focus("#viewer canvas")
    for key in keys:
        page.keyboard.press(key)


def drawn(page: Any) -> np.ndarray:
    """The picture on the canvas, grey [y, x]."""
    image = Image.open(io.BytesIO(page.locator("#viewer canvas").screenshot())).convert("RGB")
    return np.asarray(image).astype(float).mean(axis=-1)


def alike(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def middle(page: Any) -> tuple[float, float]:
    box = page.locator("#viewer canvas").bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drop(page: Any, *paths: Path) -> None:
    """Drop files and folders, as a hand does."""
    x, y = page.locator("#form").bounding_box()["x"] + 20, page.locator("#form").bounding_box()["y"] + 20
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
