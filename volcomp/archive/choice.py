"""Choose files of an archive by names, folders, shell patterns, and series."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase

from ..container.sections import Reader
from ..errors import DamagedError, UnsupportedError
from ..formats import registry
from .entry import Entry, Voxels
from .header_reader import Records
from .manifest import Manifest


def choose(reader: Reader, manifest: Manifest, names: Collection[str], series: Collection[str]) -> set[str]:
    """Return the names of the entries that any of these asks for.

    Parameters:
        names: names as `volcomp list` has them, folders (for all that is in them), or shell patterns, whose `*` also
            stands for slashes. A name that exists is no pattern.
        series: what `volcomp info` calls the series of a volume.

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
        by_series = _by_series(reader, manifest)
        missing += [f"series {uid}" for uid in series if uid not in by_series]
        for uid in series:
            found |= {entry.name for entry in by_series.get(uid, [])}
    if missing:
        what = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise UnsupportedError(f"it holds no {what}; volcomp list has the names, volcomp info the series")
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


def _by_series(reader: Reader, manifest: Manifest) -> dict[str, list[Entry]]:
    """Return the images by series. A volume with damaged headers has none, in an archive that is salvaged."""
    records = Records(reader)
    found: dict[str, list[Entry]] = {}
    for entries in manifest.images.values():
        place = entries[0].place
        assert isinstance(place, Voxels)
        try:
            uid = registry.describe([records.get(place).before]).series
        except DamagedError:
            if not reader.salvage:
                raise
        else:
            if uid:
                found.setdefault(uid, []).extend(entries)
    return found
