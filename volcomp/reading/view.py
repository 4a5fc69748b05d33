"""Show a volume: three slices at right angles, and what each slab costs, as a picture or a page by itself.

All slabs are decoded once, one after another, since two of the three slices cross them all.
"""

from __future__ import annotations

import base64
import html
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..archive.files import new_file
from ..errors import UnsupportedError
from ..progress import printable
from .convert import blocks
from .series import Series

if TYPE_CHECKING:
    from .volume import Volume

INSTALL = "pip install 'volcomp[view]'"
SUFFIXES = (".png", ".html")
_SIDE, _GAP, _LINE = 400, 16, 22  # pixels: of a panel, between panels, of a line of text
_CHARACTERS = 66  # that fit the width of a panel
_DARK, _LIGHT, _BAR = (16, 16, 20), (210, 210, 215), (90, 150, 220)
_WINDOW = (0.5, 99.5)  # percentiles of the values in the three slices that are black and white


@dataclass(frozen=True)
class Look:
    """What is shown of a volume."""

    title: str
    facts: dict[str, str]
    panels: list[tuple[str, np.ndarray, float]]  # a label, values [rows, columns(, 3)], height of a pixel by its width
    slabs: list[tuple[int, int, float]]  # first and past-the-end slice, bits per voxel


def look(volume: Volume, z: int | None = None) -> Look:
    """Read what is shown of a volume: slice `z`, or the middle one, and the middle row and column of all slices; of a
    series in time, those of the time point in the middle.

    Raises UnsupportedError for a two-dimensional array, or a slice that there is not.
    """
    if volume.ndim == 2:
        raise UnsupportedError(f"{volume.name} is two-dimensional; view shows volumes")
    times = volume.shape[0] if isinstance(volume, Series) else None
    depth, height, width = volume.shape[:3] if times is None else volume.shape[1:4]
    z = depth // 2 if z is None else z
    if not 0 <= z < depth:
        raise UnsupportedError(f"{volume.name} has slices 0 to {depth - 1}, and no slice {z}")
    y, x = height // 2, width // 2
    rows, columns = [], []
    middle: Any = None
    for first, block in blocks(volume, range(depth)) if times is None else [(0, volume.rescaled(times // 2))]:
        rows.append(block[:, y].copy())
        columns.append(block[:, :, x].copy())
        if first <= z < first + len(block):
            middle = block[z - first].copy()
        del block
    dz, dy, dx = (mm or 1.0 for mm in volume.spacing)
    upwards = _upwards(volume)
    across = [np.concatenate(planes)[:: -1 if upwards else 1] for planes in (rows, columns)]
    panels = [
        (f"slice {z} of {depth}" + (f", time point {times // 2} of {times}" if times else ""), middle, dy / dx),
        (f"row {y} of {height}", across[0], dz / dx),
        (f"column {x} of {width}", across[1], dz / dy),
    ]
    ends = np.cumsum([0, *volume.chunks[0]]).tolist() if times is None else [0, depth]
    pixels = height * width * (times or 1)
    sizes = volume.slab_bytes if times is None else [sum(volume.slab_bytes)]
    slabs = [(a, b, 8 * size / ((b - a) * pixels)) for a, b, size in zip(ends, ends[1:], sizes, strict=False)]
    return Look(volume.name, _facts(volume), panels, slabs)


def _upwards(volume: Volume) -> bool:
    """Return whether slices go to the head, so that the last one belongs at the top; where it is unknown, they do."""
    try:
        return bool(volume.geometry.lps[2, 2] >= 0)
    except UnsupportedError:
        return True


def _facts(volume: Volume) -> dict[str, str]:
    size = sum(volume.slab_bytes)
    voxels = np.prod(volume.shape[: 4 if isinstance(volume, Series) else 3])
    spacing = " × ".join("?" if mm is None else f"{mm:.4g}" for mm in volume.spacing)
    facts = {
        "series": volume.series,
        "modality": " ".join(filter(None, (volume.modality, volume.description))),
        "shape": "×".join(map(str, volume.shape)) + f" {volume.dtype}",
        "spacing": f"{spacing} mm (z × y × x)",
        "size": f"{size} bytes of voxels, {8 * size / voxels:.3f} bits per voxel, {volume.model}",
    }
    return {name: printable(fact) for name, fact in facts.items() if fact}


def save(volume: Volume, target: str | os.PathLike[str], z: int | None = None, *, force: bool = False) -> Look:
    """Write a `.png`, or a `.html` page that needs no other file; see `look`.

    Raises:
        UnsupportedError: Pillow is not installed, for another suffix, and as `look`.
        TargetError: `target` exists, or cannot be written.
        DamagedError: the archive is damaged; nothing has been written.
    """
    path = Path(target)
    if path.suffix.lower() not in SUFFIXES:
        raise UnsupportedError(f"{path} ends with neither {' nor '.join(SUFFIXES)}, which say what to write")
    pillow()
    with new_file(path, force=force) as (file, _):
        seen = look(volume, z)
        picture = _picture(seen)
        file.write(picture if path.suffix.lower() == ".png" else _page(seen, picture))
    return seen


def pillow() -> tuple[Any, Any, Any]:
    """Return the modules of Pillow that make pictures. Raises UnsupportedError where it is not installed."""
    try:
        from PIL import Image, ImageDraw, ImageFont
    except ImportError as error:
        raise UnsupportedError(f"pictures need Pillow: {INSTALL}") from error
    return Image, ImageDraw, ImageFont


def _picture(seen: Look) -> bytes:
    """Return a PNG of the panels, side by side, over the facts and the costs of the slabs."""
    image_of, draw_on, font_of = pillow()
    font = font_of.load_default()
    width = 3 * _SIDE + 4 * _GAP
    top = _GAP + _LINE
    chart = top + _SIDE + 2 * _GAP + _LINE
    canvas = image_of.new("RGB", (width, chart + _SIDE // 2 + _GAP), _DARK)
    draw = draw_on.Draw(canvas)
    low, high = window([values for _, values, _ in seen.panels])
    for i, (label, values, ratio) in enumerate(seen.panels):
        left = _GAP + i * (_SIDE + _GAP)
        draw.text((left, _GAP // 2), label, _LIGHT, font)
        panel = image_of.fromarray(grey(values, low, high))
        rows, columns = values.shape[0] * ratio, float(values.shape[1])
        scale = _SIDE / max(rows, columns)
        size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
        canvas.paste(
            panel.resize(size, image_of.Resampling.BILINEAR),
            (left + (_SIDE - size[0]) // 2, top + (_SIDE - size[1]) // 2),
        )
    draw.text((_GAP, top + _SIDE + _GAP), "bits per voxel of each slab, along the slices", _LIGHT, font)
    _chart(draw, font, seen, (_GAP, chart, _GAP + 2 * _SIDE, chart + _SIDE // 2 - _LINE))
    lines = [seen.title, *(f"{name}: {fact}" for name, fact in seen.facts.items())]
    for i, line in enumerate(lines):
        draw.text((2 * _SIDE + 3 * _GAP, chart + i * _LINE), _cut(printable(line)), _LIGHT, font)
    file = io.BytesIO()
    canvas.save(file, "PNG")
    return file.getvalue()


def _cut(line: str) -> str:
    """Return of a line what the font can draw, in the width of a panel."""
    line = line.replace("×", "x").encode("ascii", "replace").decode()
    return line if len(line) <= _CHARACTERS else line[: _CHARACTERS - 3] + "..."


def _chart(draw: Any, font: Any, seen: Look, box: tuple[int, int, int, int]) -> None:
    """Draw a bar for every slab, as wide as it has slices and as high as it has bits per voxel."""
    left, top, right, bottom = box
    depth, most = seen.slabs[-1][1], max(bits for _, _, bits in seen.slabs) or 1.0
    for first, end, bits in seen.slabs:
        a, b = (left + (right - left) * at // depth for at in (first, end))
        height = round((bottom - top - _LINE) * bits / most)
        draw.rectangle((a, bottom - height, max(b - 2, a), bottom), _BAR)
        if b - a >= 32:
            draw.text((a + 2, bottom - height - _LINE // 2 - 4), f"{bits:.2f}", _LIGHT, font)
    draw.text((left, bottom + 4), "0", _LIGHT, font)
    draw.text((right - 24, bottom + 4), str(depth), _LIGHT, font)


def window(panels: list[np.ndarray]) -> tuple[float, float]:
    """Return the values that are black and white."""
    values = np.concatenate([panel.ravel() for panel in panels])
    low, high = np.percentile(values, _WINDOW).tolist()
    return low, max(high, low + 1e-6)


def grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return uint8 [rows, columns] or colours [rows, columns, 3], black at `low` and white at `high`."""
    if values.ndim == 3 and values.shape[2] == 3 and values.dtype == np.uint8:
        return np.ascontiguousarray(values)
    plane = values if values.ndim == 2 else values[..., 0]
    scaled = (plane.astype(np.float64) - low) * (255 / (high - low))
    return np.asarray(scaled.clip(0, 255).round(), np.uint8)


def _page(seen: Look, picture: bytes) -> bytes:
    """Return a page of HTML with the picture in it, the facts, and a row for every slab."""
    escape = html.escape
    facts = "".join(f"<tr><th>{escape(name)}<td>{escape(fact)}" for name, fact in seen.facts.items())
    rows = "".join(f"<tr><td>{first} to {end - 1}<td>{bits:.3f}" for first, end, bits in seen.slabs)
    title = escape(printable(seen.title))
    return (
        "<!doctype html>\n<html lang=en><meta charset=utf-8><title>" + title + "</title>\n"
        "<style>body{background:#101014;color:#d2d2d7;font:15px sans-serif;margin:2em}"
        "img{max-width:100%}th,td{text-align:left;padding:.2em 1em .2em 0}</style>\n"
        f"<h1>{title}</h1>\n<table>{facts}</table>\n"
        f'<p><img alt="three slices at right angles, and bits per voxel" '
        f'src="data:image/png;base64,{base64.b64encode(picture).decode()}">\n'
        f"<table><tr><th>slices<th>bits per voxel{rows}</table>\n</html>\n"
    ).encode()
