"""Pictures of instances: rendered resources and thumbnails (PS3.18, 8.3.5, 10.4.1.1.3 and 10.4.1.1.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from ..store.instance import Instance
from ..store.protocol import Picture, Store
from ..work import while_connected
from . import paths, respond
from .accept import accepted
from .frames import numbers
from .retrieve import Rooms, found

_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG"}
_FUNCTIONS = ("linear", "linear-exact", "sigmoid")
_THUMBNAIL, _LARGEST = 128, 8192  # pixels of a side
_QUALITY = 90
_GROWTH = 4  # how many times larger than its stored frame what a picture is made from may be; an estimate
_SEVERAL = 64  # pictures of one answer
_KNOWN = ("window", "viewport", "quality", "accept", "charset")


@dataclass(frozen=True)
class Look:
    """How a picture is made.

    window   centre, width and function (PS3.3, C.11.2.1); None for the header's
    size     width and height that it fits into, None for its own
    region   x, y, width and height of what is shown of a frame, in its pixels; a negative width or height mirrors it
    quality  of JPEG, 1 to 100
    kind     media type
    """

    window: tuple[float, float, str] | None
    size: tuple[int, int] | None
    region: tuple[float, float, float, float] | None
    quality: int
    kind: str


def look(request: Request, *, thumbnail: bool) -> Look:
    """Parse the parameters of a rendered resource. Raises HTTPException (400, 406)."""
    given = request.query_params
    unknown = [name for name in given if name not in _KNOWN]
    if unknown:
        raise HTTPException(
            400, f"pictures have the parameters window, viewport, quality and accept, and no {unknown[0][:40]!r}"
        )
    kind = next((found for one in accepted(request) if (found := _format(one.inner))), None)
    if kind is None:
        raise HTTPException(406, "pictures are image/jpeg or image/png; accept one of them")
    quality = given.get("quality", str(_QUALITY))
    if not re.fullmatch("[0-9]{1,3}", quality) or not 1 <= int(quality) <= 100:
        raise HTTPException(400, "quality is a whole number from 1 to 100")
    size, region = _viewport(given["viewport"]) if "viewport" in given else (None, None)
    if thumbnail and size is None:
        size = (_THUMBNAIL, _THUMBNAIL)
    return Look(_window(given.get("window")), size, region, int(quality), kind)


def _format(kind: str) -> str | None:
    """Return the media type of pictures that a type or a pattern accepts."""
    return kind if kind in _FORMATS else "image/jpeg" if kind in ("*/*", "image/*", "image/jpg") else None


def _window(text: str | None) -> tuple[float, float, str] | None:
    """Parse "centre,width" or "centre,width,function" (PS3.18, 8.3.5.1.4)."""
    if text is None:
        return None
    words = [word.strip() for word in text.split(",")]
    values = _floats(words[:2])
    function = words[2].lower().replace("_", "-") if len(words) == 3 else "linear"
    if len(words) not in (2, 3) or len(values) != 2 or function not in _FUNCTIONS:
        raise HTTPException(
            400, f"window is centre,width or centre,width,function; functions are {', '.join(_FUNCTIONS)}"
        )
    if values[1] < 1 if function == "linear" else values[1] <= 0:
        raise HTTPException(400, "the window's width is at least 1, and above 0 for linear-exact and sigmoid")
    return values[0], values[1], function


def _viewport(text: str) -> tuple[tuple[int, int], tuple[float, float, float, float] | None]:
    """Parse "width,height" with ",x,y,width,height" of the region or without (PS3.18, 8.3.5.1.3)."""
    words = [word.strip() for word in text.split(",")]
    sides = [int(word) for word in words[:2] if re.fullmatch("[0-9]{1,5}", word)]
    region = _floats([word or "0" for word in words[2:]])
    if len(sides) != 2 or len(words) not in (2, 6) or len(region) != len(words) - 2:
        raise HTTPException(400, "viewport is width,height or width,height,x,y,width,height, in pixels")
    if not all(1 <= side <= _LARGEST for side in sides):
        raise HTTPException(400, f"a viewport is 1 to {_LARGEST} pixels wide and high")
    return (sides[0], sides[1]), (region[0], region[1], region[2], region[3]) if region else None


def _floats(words: list[str]) -> list[float]:
    """Parse numbers; what is none, or not finite, is left out."""
    return [float(word) for word in words if re.fullmatch(r"[+-]?([0-9]{1,12}\.?[0-9]{0,12}|\.[0-9]{1,12})", word)]


async def picture(request: Request, rooms: Rooms, *, thumbnail: bool) -> Response:
    """Answer with a picture of a frame, an instance, a series or a study; of several frames with one in each part."""
    asked = look(request, thumbnail=thumbnail)
    one = _representative(await found(request, rooms))
    text = request.path_params.get("frames")
    wanted = numbers(text, one) if text else [one.frames // 2 + 1]
    parts = len(wanted) > 1
    if parts and not any(media.parts for media in accepted(request)):
        raise HTTPException(406, "pictures of several frames come in parts: accept multipart/related, or ask for one")
    if len(wanted) > _SEVERAL:
        raise HTTPException(400, f"pictures of at most {_SEVERAL} frames are made at once")
    mark = respond.stamp(one, asked, wanted)
    if (known := respond.unchanged(request, mark)) is not None:
        return known
    headers = {**mark.headers, "Vary": "Accept"}
    if request.method == "HEAD":
        kind = respond.related(asked.kind, respond.boundary()) if parts else asked.kind
        return respond.headers_alone({**headers, "Content-Type": kind})
    async with rooms.work.room.taken(_GROWTH * one.size // one.frames):
        made = await while_connected(request, rooms.work.slowly(_pictures, rooms.store, one, wanted, asked))
    if not parts:
        return Response(made[0], headers=headers, media_type=asked.kind)
    at = f"{paths.url_of(paths.base(request), one)}/frames"
    return respond.in_parts(
        [
            ({"Content-Type": asked.kind, "Content-Location": f"{at}/{number}/rendered"}, data)
            for number, data in zip(wanted, made, strict=True)
        ],
        asked.kind,
        headers,
    )


def _representative(there: list[Instance]) -> Instance:
    """Return the instance in the middle of those with pixels. Raises HTTPException (406)."""
    images = [one for one in there if one.frames]
    if not images:
        raise HTTPException(406, "there is no image here to make a picture of")
    return images[len(images) // 2]


def _pictures(store: Store, one: Instance, wanted: list[int], asked: Look) -> list[bytes]:
    """Make pictures of frames."""
    return [draw(store.picture(one, number), asked) for number in wanted]


def draw(seen: Picture, asked: Look) -> bytes:
    """Make a picture of a frame: a file of the media type."""
    levels = shown(seen, asked.window)
    image = Image.fromarray(levels)
    if asked.region:
        image = _cut(image, asked.region)
    if asked.size:
        scale = min(asked.size[0] / image.width, asked.size[1] / image.height)
        size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
        image = image.resize(size, Image.Resampling.BOX if scale < 1 else Image.Resampling.BILINEAR)
    file = BytesIO()
    options: dict[str, Any] = {"quality": asked.quality} if asked.kind == "image/jpeg" else {"compress_level": 3}
    image.save(file, _FORMATS[asked.kind], **options)
    return file.getvalue()


def _cut(image: Image.Image, region: tuple[float, float, float, float]) -> Image.Image:
    """Return a region of a picture, mirrored where its width or height is negative; 0 is what is left of the image."""
    x, y, width, height = region
    right, lower = x + (abs(width) or image.width - x), y + (abs(height) or image.height - y)
    box = (round(x), round(y), round(right), round(lower))
    if not (0 <= box[0] < box[2] <= image.width and 0 <= box[1] < box[3] <= image.height):
        raise HTTPException(400, f"the region is not within the image, which has {image.width}×{image.height} pixels")
    image = image.crop(box)
    if width < 0:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return image.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if height < 0 else image


def shown(seen: Picture, window: tuple[float, float, str] | None) -> np.ndarray:
    """Return what is shown of a frame: grey levels uint8 [y, x], or red, green and blue [y, x, 3].

    Grey values are rescaled and pass through a window (PS3.3, C.11.2.1.2 and C.11.2.1.3), or, where none is asked for,
    through the header's table if it has one (C.11.2.1.1); without any the window is from the least to the greatest
    value.
    """
    samples = seen.samples
    if samples.ndim == 3:
        if samples.dtype == np.uint8:
            return np.ascontiguousarray(samples)
        return (samples.astype(np.float64) * (255 / max(int(np.iinfo(samples.dtype).max), 1))).round().astype(np.uint8)
    least, greatest = _range(samples)
    if window is None and seen.curve is None:
        window = _stated(seen) or _whole(seen, np.unique(samples) if seen.modality else np.array([least, greatest]))
    if samples.dtype.kind in "iu" and samples.dtype.itemsize <= 2:  # a table of all values, in place of all pixels
        codes = samples.view(f"u{samples.dtype.itemsize}")
        table = np.arange(1 << 8 * codes.dtype.itemsize).astype(codes.dtype).view(samples.dtype)
        return _levels(table, seen, window)[codes]
    levels = np.empty(samples.shape, np.uint8)
    for y in range(len(samples)):  # row by row, since numbers of 64 bits take room
        row = samples[y]
        if samples.dtype.kind == "f":  # what is no number is shown as the least
            row = np.nan_to_num(row, nan=least, posinf=greatest, neginf=least)
        levels[y] = _levels(row, seen, window)
    return levels


def _range(samples: np.ndarray) -> tuple[float, float]:
    """Return the least and the greatest finite sample, zeros where there is none."""
    finite = samples[np.isfinite(samples)] if samples.dtype.kind == "f" else samples
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)


def _stated(seen: Picture) -> tuple[float, float, str] | None:
    """Return the window of the header; None where it states none that makes sense."""
    least = 1 if seen.function == "linear" else 0
    if seen.window is None or seen.window[1] < least or seen.window[1] <= 0:
        return None
    return (*seen.window, seen.function)


def _whole(seen: Picture, samples: np.ndarray) -> tuple[float, float, str]:
    """Return the window from the least to the greatest value of samples."""
    values = seen.values(samples)
    low, high = float(values.min()), float(values.max())
    return (low + high) / 2, max(high - low, 1e-9), "linear-exact"


def _levels(samples: np.ndarray, seen: Picture, window: tuple[float, float, str] | None) -> np.ndarray:
    """Pass samples through a window, or through the header's table: uint8, of the same shape."""
    values = seen.values(samples)
    if window is None:
        assert seen.curve is not None
        scaled = seen.curve.of(values) / ((1 << seen.curve.bits) - 1)
        return _grey(scaled, inverted=seen.inverted)
    centre, width, function = window
    if function == "sigmoid":
        scaled = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    elif function == "linear":
        scaled = (values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5
    else:
        scaled = (values - centre) / width + 0.5
    return _grey(scaled, inverted=seen.inverted)


def _grey(scaled: np.ndarray, *, inverted: bool) -> np.ndarray:
    """Return numbers from 0 to 1 as grey levels."""
    levels: np.ndarray = (scaled.clip(0, 1) * 255).round().astype(np.uint8)
    return 255 - levels if inverted else levels
