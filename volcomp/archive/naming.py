"""Names of volumes: that of the folder of their images in the archive, or of their one file."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from ..container.sections import Reader
from ..container.volume import Times
from .entry import Entry, Voxels
from .in_time import in_time
from .manifest import Manifest


class Named(NamedTuple):
    """A volume with its name, or all volumes of a series in time."""

    number: int  # of the first volume
    name: str
    images: list[Entry]
    times: Times | None  # of a series in time


def of_array(number: int) -> str:
    """Return the name of a volume that has no files, by which every volume is also found."""
    return f"volume {number}"


def named_volumes(reader: Reader, manifest: Manifest) -> list[Named]:
    """Return the number, the name and the images of each volume, in the order of the archive.

    A series whose voxels are those of another one is a volume of the same number. No name occurs twice.
    """
    found = [
        (number, layer, times)
        for number, images, times in in_time(reader, manifest.images)
        for layer in _layers(images)
    ]
    names = [_name(entries, manifest.root) for _, entries, _ in found]
    several, so_far = Counter(names), Counter[str]()
    named = []
    for (number, entries, times), name in zip(found, names, strict=True):
        so_far[name] += 1
        named.append(Named(number, name if several[name] == 1 else f"{name} ({so_far[name]})", entries, times))
    return named


def _layers(images: list[Entry]) -> list[list[Entry]]:
    """Split the images of a volume, in the order of their slices, into those of each folder that has all slices.

    Images of equal voxels under other headers share a volume, as those of a series that was copied without names. What
    a folder shares only in part belongs to the volume's own images: all of them, where no folder has all slices.
    """
    layers: list[list[Entry]] = []
    waiting: dict[tuple[str, int], list[int]] = {}  # layers by their folder and the slice from which they go on
    depth = 0
    for entry in images:
        assert isinstance(entry.place, Voxels)
        folder, first, end = entry.name.rpartition("/")[0], entry.place.first, entry.place.end
        depth = max(depth, end)
        if open_ones := waiting.get((folder, first)):
            number = open_ones.pop()
        elif first == 0:
            number = len(layers)
            layers.append([])
        else:
            continue  # slices before it are missing
        layers[number].append(entry)
        waiting.setdefault((folder, end), []).append(number)
    whole = {number for (_, end), numbers in waiting.items() if end == depth for number in numbers}
    return [layer for number, layer in enumerate(layers) if number in whole] or [images]


def _name(entries: list[Entry], root: str) -> str:
    """Return the name of a volume: its one file, or the folder of its first one."""
    name = entries[0].name
    if len(entries) > 1:
        name = name.rpartition("/")[0]
    return name or root or "volume"
