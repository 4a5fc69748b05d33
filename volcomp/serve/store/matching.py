"""How values match what a search asks for (PS3.4, C.2.2.2; PS3.18, 8.3.4): as SQL on normal forms, or on attributes.

Every text of a client reaches SQL as a parameter.
"""

from __future__ import annotations

import json
import re
import unicodedata
from fnmatch import fnmatchcase
from typing import Any

from pydicom.datadict import dictionary_VR

from ...errors import UnsupportedError
from .attributes import text, values
from .protocol import Json

_MOST_CHARACTERS, _MOST_STARS = 1024, 16  # of a pattern
_MOST_VALUES = 10_000  # of a list
_RANGES = ("DA", "TM", "DT")
_NO_WILDCARDS = ("UI", "IS", "DS", *_RANGES)
_DATE_LENGTHS, _TIME_LENGTHS = (4, 6, 8), (2, 4, 6)
_WORDS = re.compile(r"[\s^=,\-.']+")

Condition = tuple[str, list[Any]]  # SQL, and its parameters


def vr_of(path: str) -> str:
    """Return the value representation of a key, a tag or tags with dots between them; "LO" of an unknown one."""
    try:
        found = dictionary_VR(int(path.rpartition(".")[2], 16))
    except (KeyError, ValueError):
        return "LO"
    return str(found)


def normal(vr: str, value: str) -> str | int | None:
    """Return the form in which a value is compared; None of one that makes no sense."""
    value = value.strip(" \0")
    if vr == "IS":
        try:
            return max(-(1 << 63), min(int(float(value)), (1 << 63) - 1))
        except (ValueError, OverflowError):
            return None
    if not value:
        return None
    if vr == "DA":
        return "".join(c for c in value if c.isdigit())[:8]
    if vr == "TM":
        return _time(value, "0")
    if vr == "PN":
        return _name(value)
    return value


def words_of(name: str) -> list[str]:
    """Return the parts of a person's name, in small letters and without accents."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", name.casefold()) if not unicodedata.combining(c))
    return [word for word in _WORDS.split(plain) if word]


def condition(column: str, vr: str, wanted: str, *, fuzzy: str | None = None) -> Condition | None:
    """Return a condition on a column of normal forms; None where all values match.

    Parameters:
        column: its name, which is no client's text.
        vr: the value representation.
        wanted: what the client asks for.
        fuzzy: the column of words, where a name of a person is matched by its parts.

    Raises:
        UnsupportedError: for what is no value, range or pattern.
    """
    wanted = wanted.encode("utf-8", "replace").decode("utf-8").strip()  # without halves of characters
    _check_length(vr, wanted)
    if (not wanted.strip("*") and vr not in _NO_WILDCARDS) or not wanted:
        return None
    if vr == "PN" and fuzzy:
        words = words_of(wanted.replace("*", " ").replace("?", " "))
        parts = [f"{fuzzy} GLOB ?" for _ in words]
        return (" AND ".join(parts), [f"* {_quoted(word)}*" for word in words]) if words else None
    options = _options(vr, wanted)
    if not options:
        return None
    if vr == "UI":
        return f"{column} IN (SELECT value FROM json_each(?))", [json.dumps(options)]
    found = [_one(column, vr, option) for option in options]
    return "(" + " OR ".join(sql for sql, _ in found) + ")", [value for _, more in found for value in more]


def check(path: str, wanted: str) -> None:
    """Raise UnsupportedError for what `fits` cannot compare with."""
    vr = vr_of(path)
    _check_length(vr, wanted)
    for option in _options(vr, wanted) if wanted.strip(" *") else ():
        if vr in _RANGES:
            _bounds(vr, option)
        elif vr == "IS" and normal(vr, option) is None:
            raise UnsupportedError(f"{option[:40]!r} is asked for, which is no whole number")
        else:
            _check_pattern(option)


def fits(found: Json, path: str, wanted: str, *, fuzzy: bool) -> bool:
    """Return whether an attribute that has no column matches: any of its values. `check` was called before."""
    vr = vr_of(path)
    wanted = wanted.strip()
    if not wanted.strip("*"):
        return True
    there = [normal(vr, text(value)) for value in values(found, path)]
    if vr == "PN" and fuzzy:
        asked = words_of(wanted.replace("*", " ").replace("?", " "))
        return any(all(any(w.startswith(a) for w in words_of(str(v))) for a in asked) for v in there if v is not None)
    return any(_fits(vr, value, option) for option in _options(vr, wanted) for value in there if value is not None)


def _check_length(vr: str, wanted: str) -> None:
    if len(wanted) > _MOST_CHARACTERS and vr != "UI":
        raise UnsupportedError(f"a value of a search has {len(wanted)} characters; {_MOST_CHARACTERS} are possible")


def _fits(vr: str, value: str | int, option: str) -> bool:
    if vr in _RANGES:
        low, high = _bounds(vr, option)
        return (low is None or str(value) >= low) and (high is None or str(value) <= high)
    if vr in _NO_WILDCARDS:
        return value == normal(vr, option)
    pattern = str(normal(vr, option) or "")
    if not _is_pattern(pattern):
        return str(value) == pattern or (vr == "PN" and pattern in str(value).split("="))
    whole = _quoted(pattern)
    return fnmatchcase(str(value), whole) or (vr == "PN" and any(fnmatchcase(v, whole) for v in str(value).split("=")))


def _options(vr: str, wanted: str) -> list[str]:
    """Return the values of a list: those of UIDs and codes may have commas between them, all may have backslashes."""
    pieces = re.split(r"[,\\]" if vr in ("UI", "CS") else r"\\", wanted)
    if len(pieces) > _MOST_VALUES:
        raise UnsupportedError(f"a search asks for a list of {len(pieces)} values; {_MOST_VALUES} are possible")
    return [piece.strip() for piece in pieces if piece.strip()]


def _one(column: str, vr: str, option: str) -> Condition:
    if vr in _RANGES:
        low, high = _bounds(vr, option)
        parts = ([f"{column} >= ?"] if low is not None else []) + ([f"{column} <= ?"] if high is not None else [])
        return "(" + " AND ".join(parts) + ")", [bound for bound in (low, high) if bound is not None]
    value = normal(vr, option)
    if vr == "IS":
        if value is None:
            raise UnsupportedError(f"{option[:40]!r} is asked for, which is no whole number")
        return f"{column} = ?", [value]
    if value is None:  # of spaces and zeros alone
        return "0", []
    if not _is_pattern(str(value)):
        if vr == "PN":  # one of its groups of components is enough
            return f"('=' || {column} || '=') GLOB ?", [f"*={_quoted(str(value))}=*"]
        return f"{column} = ?", [value]
    pattern = re.sub(r"\*+", "*", str(value))
    _check_pattern(pattern)
    if vr == "PN":
        return f"('=' || {column} || '=') GLOB ?", [f"*={_quoted(pattern)}=*"]
    return f"{column} GLOB ?", [_quoted(pattern)]


def _is_pattern(value: str) -> bool:
    return "*" in value or "?" in value


def _check_pattern(pattern: str) -> None:
    if pattern.count("*") > _MOST_STARS:
        raise UnsupportedError(f"a pattern of a search has more than {_MOST_STARS} asterisks")


def _quoted(pattern: str) -> str:
    """Return a pattern of DICOM as one of GLOB, where a bracket begins a set."""
    return pattern.replace("[", "[[]")


def _name(value: str) -> str:
    """Return a person's name in small letters, without empty components at the end of each group."""
    return "=".join(group.rstrip("^ ").strip() for group in unicodedata.normalize("NFC", value).casefold().split("="))


def _bounds(vr: str, option: str) -> tuple[str | None, str | None]:
    """Return the first and the last normal form of a range, or of a value that is less precise.

    Raises UnsupportedError.
    """
    low, dash, high = option.partition("-")
    if vr == "DT" and dash and len(high) == 4 and len(low) > 8:  # an offset from UTC, which is passed over
        high = dash = ""
    low, high = low.strip(), high.strip()
    if not dash:
        high = low
    if not low and not high:
        raise UnsupportedError("a range without ends is asked for")
    return (_bound(vr, low, "0") if low else None, _bound(vr, high, "9") if high else None)


def _bound(vr: str, value: str, fill: str) -> str:
    plain = value.replace(".", "") if vr == "DA" else value
    if vr == "TM":
        plain = plain.replace(":", "")
    digits, _, fraction = plain.partition(".")
    lengths = {"DA": _DATE_LENGTHS, "TM": _TIME_LENGTHS}.get(vr, range(4, 15, 2))
    if not (digits.isascii() and digits.isdigit() and len(digits) in lengths) or not (fraction or "0").isdigit():
        what = {"DA": "date such as 20200131", "TM": "time such as 101500"}.get(vr, "date and time")
        raise UnsupportedError(f"{value[:40]!r} is asked for, which is no {what}")
    if vr == "DA":
        return digits.ljust(8, fill)
    return _time(plain, fill) if vr == "TM" else (digits.ljust(14, fill) + (fraction or "").ljust(6, fill))[:20]


def _time(value: str, fill: str) -> str:
    """Return a time as HHMMSS and six digits; what is missing of it is the first or the last."""
    digits, _, fraction = value.replace(":", "").partition(".")
    last = "595959"[-max(6 - len(digits), 0) :] if fill == "9" and len(digits) < 6 else ""
    digits = (digits + last if fill == "9" else digits.ljust(6, "0"))[:6]
    return digits + fraction[:6].ljust(6, fill if not fraction else "0")
