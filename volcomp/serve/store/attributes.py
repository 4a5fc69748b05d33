"""Attributes as objects of the DICOM JSON model (PS3.18, F.2), and the values that stand outside of them.

The path of a value is its tag, or the tags and numbers of items that lead to it: "00540016/0/00181079"; items are
numbered from 0. In an object made here a `BulkDataURI` is such a path.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pydicom
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import Tag

from ...errors import MissingError
from .header import Header, lenient
from .protocol import Json

PIXELS = ("7FE00008", "7FE00009", "7FE00010")
CHARACTERS = "00080005"  # Specific Character Set
_BINARY = ("OB", "OD", "OF", "OL", "OV", "OW", "UN", "OB or OW", "US or OW", "US or SS or OW")
_NUMBERS = {"FL": 4, "FD": 8, "SL": 4, "SS": 2, "SV": 8, "UL": 4, "US": 2, "UV": 8, "US or SS": 2}  # bytes of one
_WIDTHS = _NUMBERS | {"OD": 8, "OF": 4, "OL": 4, "OV": 8, "OW": 2, "OB or OW": 2, "US or OW": 2, "US or SS or OW": 2}
_CERTAIN = {"OB or OW": "OW", "US or OW": "OW", "US or SS or OW": "OW"}
_TEXTS = ("LT", "ST", "UC", "UR", "UT")
# Bytes of a value that is not given in the object but by its path.
_LONG_BINARY, _LONG_NUMBERS, _LONG_TEXT = 1024, 16 << 10, 64 << 10
_DEEPEST = 32  # sequences in each other
_PADDING = 0xFFFCFFFC


def to_json(header: Header) -> Json:
    """Return all attributes of a file, in the order of their tags; those that make no sense without a value.

    Text is Unicode, so that the character set is stated as that of the answer, UTF-8.
    """
    with lenient():
        found = _object(header.dataset, "", header.dataset.get("PixelRepresentation") == 1, 0)
    if header.pixels is not None:
        tag = f"{header.pixels.tag:08X}"
        found[tag] = {"vr": pixel_vr(header), "BulkDataURI": tag}
    found[CHARACTERS] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return dict(sorted(found.items()))


def pixel_vr(header: Header) -> str:
    """Return the value representation of the pixels: as stated, where it is a possible one."""
    assert header.pixels is not None
    stated = header.pixels.vr.decode("ascii", "replace")
    if stated in ("OB", "OW", "OF", "OD"):
        return stated
    return {0x7FE00008: "OF", 0x7FE00009: "OD"}.get(header.pixels.tag, "OW")


def with_bulk(found: Any, bulk: Callable[[str], str]) -> Any:
    """Return an object of `to_json` with the URI that `bulk` makes of each path."""
    if isinstance(found, dict):
        return {
            key: bulk(value) if key == "BulkDataURI" and isinstance(value, str) else with_bulk(value, bulk)
            for key, value in found.items()
        }
    return [with_bulk(one, bulk) for one in found] if isinstance(found, list) else found


def value_at(header: Header, path: str) -> bytes:
    """Return the value at a path that is not of the pixels, little-endian. Raises MissingError."""
    with lenient():
        dataset = header.dataset
        *way, last = path.split("/")
        try:
            for tag, number in zip(way[::2], way[1::2], strict=True):
                dataset = dataset[_tag(tag)].value[int(number)]
            element = dataset.get_item(_tag(last))
        except (KeyError, IndexError, ValueError, TypeError):
            element = None
        if element is None or not isinstance(element.value, bytes):
            raise MissingError(f"the instance has no value at {path[:80]!r}")
        return little_endian(element.value, element.VR or "UN", big_endian=header.big_endian)


def little_endian(value: bytes, vr: str, *, big_endian: bool) -> bytes:
    """Return a value with the bytes of its words swapped, where they are big-endian."""
    width = _WIDTHS.get(vr, 1)
    if not big_endian or width == 1:
        return value
    whole = len(value) - len(value) % width
    return np.frombuffer(value[:whole], f">u{width}").astype(f"<u{width}").tobytes() + value[whole:]


def _tag(text: str) -> Any:
    if len(text) != 8:
        raise ValueError(text)
    return Tag(int(text, 16))


def _object(dataset: pydicom.Dataset, path: str, signed: bool, depth: int) -> Json:
    found: Json = {}
    for tag in dataset.keys():  # noqa: SIM118 (a data set iterates over elements)
        if tag.element == 0 or tag.group == 2 or int(tag) == _PADDING:
            continue
        name = f"{int(tag):08X}"
        found[name] = _element(dataset, tag, path + name, signed, depth)
    return dict(sorted(found.items()))


def _element(dataset: pydicom.Dataset, tag: Any, path: str, signed: bool, depth: int) -> Json:
    raw: Any = None
    try:
        raw = dataset.get_item(tag)
        element = dataset[tag]
    except Exception:  # a value that is none of its type
        vr = raw.VR if isinstance(raw, RawDataElement) and raw.VR else "UN"
        return {"vr": _CERTAIN.get(vr, vr)}
    vr = element.VR
    if vr == "SQ":
        if depth == _DEEPEST:
            return {"vr": vr}
        items = [_object(item, f"{path}/{i}/", signed, depth + 1) for i, item in enumerate(element.value or [])]
        return {"vr": vr, "Value": items} if items else {"vr": vr}
    there = raw.value if isinstance(raw, RawDataElement) else element.value
    value = there if isinstance(there, bytes) else b""
    length = len(value)
    big = isinstance(raw, RawDataElement) and not raw.is_little_endian
    if vr in _BINARY:
        vr = _CERTAIN.get(vr, vr)
        if not length:
            return {"vr": vr}
        if length > _LONG_BINARY:
            return {"vr": vr, "BulkDataURI": path}
        return {"vr": vr, "InlineBinary": base64.b64encode(little_endian(value, vr, big_endian=big)).decode("ascii")}
    if (vr in _NUMBERS and length > _LONG_NUMBERS) or (vr in _TEXTS and length > _LONG_TEXT):
        return {"vr": "US" if vr == "US or SS" else vr, "BulkDataURI": path}
    if vr == "US or SS":
        vr = "SS" if signed else "US"
        words = np.frombuffer(value[: length - length % 2], (">" if big else "<") + ("i2" if signed else "u2"))
        return {"vr": vr, "Value": words.tolist()} if len(words) else {"vr": vr}
    return _plain(element)


def _plain(element: DataElement) -> Json:
    try:
        made: Json = element.to_json_dict(None, 0)
    except Exception:  # as of a DS that is no number: F.2.3 allows a string
        value = element.value
        several = list(value) if isinstance(value, list | tuple | pydicom.multival.MultiValue) else [value]
        return (
            {"vr": element.VR, "Value": [str(one) for one in several]}
            if value not in (None, "")
            else {"vr": element.VR}
        )
    values = made.get("Value")
    if values is not None:
        made["Value"] = [_finite(one) for one in values]
        if all(one in (None, "") for one in made["Value"]):
            del made["Value"]
    return made


def _finite(value: Any) -> Any:
    """Return a value that JSON can state: no number that is none, and no half of a character."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):  # a name of a person
        return {key: _finite(one) for key, one in value.items() if one}
    return value


def values(found: Json, path: str) -> Iterator[Any]:
    """Yield the values of an attribute, by a tag or by tags with dots between them, as "00400275.00400009"."""
    tag, _, rest = path.partition(".")
    for value in found.get(tag, {}).get("Value") or []:
        if rest:
            if isinstance(value, dict):
                yield from values(value, rest)
        elif value is not None:
            yield value


def text(value: Any) -> str:
    """Return a value as text; of a name of a person its groups of components, with "=" between them."""
    if isinstance(value, dict):
        groups = [str(value.get(name, "")) for name in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1 << 53:
        return str(int(value))
    return str(value)


def first(found: Json, path: str) -> str:
    """Return the first value of an attribute as text, without spaces around it; "" without any."""
    return next((text(value).strip() for value in values(found, path)), "")


def number(found: Json, path: str) -> int | None:
    """Return the first value of an attribute as a whole number; None where it is none."""
    try:
        return int(float(first(found, path)))
    except (ValueError, OverflowError):
        return None
