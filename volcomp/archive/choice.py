"""Choose files of an archive by names, folders, shell patterns, and series."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from ..container.sections import Reader
from ..errors import DamagedError, UnsupportedError
from ..formats import registry
from ..wording import spelled
from .entry import Voxels
from .header_reader import Records
from .manifest import Manifest
from .naming import named_volumes, of_array
from .series_of_whole import whole_by_series


def choose(reader: Reader, manifest: Manifest, names: Collection[str], series: Collection[str]) -> set[str]:
    """Return the names of the entries that any of these asks for.

    Parameters:
        names: names as `volcomp list` has them, folders (for all that is in them), or shell patterns, whose `*` also
            stands for slashes. A name that exists is no pattern.
        series: what `volcomp info` calls a volume: its series, its name, or its number as "volume 3".

    Raises:
        UnsupportedError: where a name or a series is not in the archive.
    """
    found: set[str] = set()
    missing: list[str] = []
    there = {name for entry in manifest.entries for name in (entry.name, *above(entry.name))}
    for name in names:
        plain = _plain(name)
        if plain in there:
            chosen = {entry.name for entry in manifest.entries if plain in (entry.name, *above(entry.name))}
        else:
            fitting = {name for name in there if fnmatchcase(name, plain)}
            chosen = {e.name for e in manifest.entries if not fitting.isdisjoint((e.name, *above(e.name)))}
        found |= chosen
        if not chosen:
            missing.append(repr(name))
    if series:
        by_series = _by_name(reader, manifest, series)
        others = [uid for uid in series if uid not in by_series]
        by_series |= _by_series(reader, manifest, others)
        for uid, of_whole in whole_by_series(reader, manifest, others).items():
            by_series[uid] |= of_whole
        missing += [f"volume or series {uid}" for uid, of_series in by_series.items() if not of_series]
        found = found.union(*by_series.values())
    if missing:
        what = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise UnsupportedError(
            f"it holds no {what}; {spelled('volcomp.list_files')} has the names, {spelled('volcomp.info')} the series"
        )
    return found


def _plain(name: str) -> str:
    """Return a name as archives have it, of one that was typed: "./ct//" is "ct"."""
    return "/".join(piece for piece in name.split("/") if piece not in ("", "."))


def above(name: str) -> Iterator[str]:
    """Yield the folders that a name lies in, the inner ones first."""
    end = name.rfind("/")
    while end > 0:
        yield name[:end]
        end = name.rfind("/", 0, end)


def _by_name(reader: Reader, manifest: Manifest, wanted: Collection[str]) -> dict[str, set[str]]:
    """Return the names of the images of those volumes that are wanted by their names or numbers."""
    named = named_volumes(reader, manifest)
    found = {one.name: {entry.name for entry in one.images} for one in named if one.name in wanted}
    for number, images in manifest.images.items():
        if of_array(number) in wanted:
            found.setdefault(of_array(number), {entry.name for entry in images})
    return found


def _by_series(reader: Reader, manifest: Manifest, wanted: Collection[str]) -> dict[str, set[str]]:
    """Return the names of the images of each series. An image whose headers cannot be salvaged belongs to none."""
    records = Records(reader)
    found: dict[str, set[str]] = {uid: set() for uid in wanted}
    for entries in manifest.images.values():
        for entry in entries:  # each, since images of equal voxels share a volume
            assert isinstance(entry.place, Voxels)
            try:
                before = records.get(entry.place).before
            except DamagedError:
                if not reader.salvage:
                    raise
                continue
            # Most images are told by this glance alone; a format takes a millisecond for each.
            if any(os.fsencode(uid) in before for uid in wanted):
                found.get(registry.describe([before]).series, set()).add(entry.name)
    return found
