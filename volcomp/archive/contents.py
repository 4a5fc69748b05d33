"""What an archive holds, entry by entry, as text and for `--json`. Only its lists of files are read."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from .describe import NO_IMAGE
from .entry import Entry, Kind, Voxels
from .opening import Source, manifest_of, name_of, opened

_TYPES = {Kind.FILE: stat.S_IFREG, Kind.FOLDER: stat.S_IFDIR, Kind.LINK: stat.S_IFLNK}
_NAMES = {Kind.FILE: "file", Kind.FOLDER: "folder", Kind.LINK: "link"}


def contents(source: Source) -> dict[str, Any]:
    """Return the root and all entries by name, each with kind, size, time, permissions and how it is kept.

    `kept` is "volume" (then `volume` is its number, and `slices` has the first and the past-the-end slice), "whole"
    (then `why` says why it is not coded as a volume), or "copy" (then `copy_of` is the file whose bytes it shares).
    """
    with opened(source) as reader:
        manifest = manifest_of(reader)
    first: dict[object, str] = {}  # name of the first file at a place
    entries = []
    for entry in manifest.entries:
        original = first.setdefault(entry.place, entry.name) if entry.place and entry.size else entry.name
        entries.append(_facts(entry, original))
    entries.sort(key=lambda facts: facts["name"].encode("utf-8", "surrogateescape"))
    return {"file": name_of(source), "root": manifest.root, "entries": entries}


def _facts(entry: Entry, original: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": entry.name, "kind": _NAMES[entry.kind], "mtime_ns": entry.mtime}
    facts["mode"] = None if entry.mode is None else f"{entry.mode:04o}"
    if entry.kind == Kind.LINK:
        return facts | {"target": entry.note}
    if entry.kind == Kind.FOLDER:
        return facts
    facts |= {"size": entry.size, "sha256": entry.sha256.hex()}
    place = entry.place
    if original != entry.name:
        return facts | {"kept": "copy", "copy_of": original}
    if isinstance(place, Voxels):
        return facts | {"kept": "volume", "volume": place.volume, "slices": [place.first, place.end]}
    return facts | {"kept": "whole", "why": entry.note or NO_IMAGE}


def as_lines(found: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each entry: permissions, size, time, how it is kept, name. What is not known is a hyphen."""
    sizes = [len(str(entry.get("size", ""))) for entry in found["entries"]]
    width = max(sizes, default=0)
    kept = [_kept(entry) for entry in found["entries"]]
    wide = max(map(len, kept), default=0)
    for entry, how in zip(found["entries"], kept, strict=True):
        name = entry["name"] + ("/" if entry["kind"] == "folder" else "")
        name += f" -> {entry['target']}" if entry["kind"] == "link" else ""
        name += f" = {entry['copy_of']}" if "copy_of" in entry else ""
        name += f" ({entry['why']})" if entry.get("why", NO_IMAGE) != NO_IMAGE else ""
        yield f"{_mode(entry):10}  {entry.get('size', ''):>{width}}  {_time(entry):16}  {how:{wide}}  {name}"


def _kept(entry: dict[str, Any]) -> str:
    if entry.get("kept") == "volume":
        return f"volume {entry['volume']}"
    return entry.get("kept") or str(entry["kind"])


def _mode(entry: dict[str, Any]) -> str:
    if entry["mode"] is None:
        return "-"
    kind = next(kind for kind, name in _NAMES.items() if name == entry["kind"])
    return stat.filemode(_TYPES[kind] | int(entry["mode"], 8))


def _time(entry: dict[str, Any]) -> str:
    """Return the local time, to the minute."""
    if entry["mtime_ns"] is None:
        return "-"
    try:
        return datetime.fromtimestamp(entry["mtime_ns"] // 10**9).strftime("%Y-%m-%d %H:%M")
    except (OverflowError, ValueError, OSError):  # beyond what the system's calendar has
        return "-"
