"""The images of series in time: several volumes of an archive, or one, that belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace

from ..container.sections import FORMAT_VERSION, Reader
from ..container.volume import Order, Times, read_volume
from ..errors import DamagedError
from .entry import Entry, Voxels

Found = tuple[int, list[Entry], Times | None]  # number of a volume, its images, its time points


def in_time(reader: Reader, images: Mapping[int, list[Entry]]) -> Iterator[Found]:
    """Yield the images of an archive by volume, all time points of a series together and in their order.

    Their places are then in the first volume, as if slice z of time point t of Z slices were slice t · Z + z of it.
    """
    left = dict(images)
    for number in images:
        if number not in left:
            continue
        entries = left.pop(number)
        times, depth = _times_of(reader, number)
        if times is None:
            yield number, entries, None
            continue
        place = entries[0].place
        assert isinstance(place, Voxels)
        if times.order == Order.APART:
            for t in range(1, times.points):
                for entry in left.pop(number + t * place.planes, []):
                    entries.append(_placed(entry, number, t * depth))
        elif times.order == Order.BESIDE:
            entries = [_turned(entry, times.points, depth // times.points) for entry in entries]
        yield number, sorted(entries, key=_first), times


def _times_of(reader: Reader, number: int) -> tuple[Times | None, int]:
    """Return the time points that begin in a volume, if it is of a series, and its slices."""
    if reader.version != FORMAT_VERSION and (reader.version is None or reader.version > FORMAT_VERSION):
        with suppress(DamagedError):
            volume = read_volume(reader, number)
            times = volume.times
            if times and (times.order != Order.APART or times.points <= len(reader.places)):
                return times, volume.layout.shape[0]
    return None, 0


def _placed(entry: Entry, volume: int, more: int) -> Entry:
    assert isinstance(entry.place, Voxels)
    return replace(entry, place=replace(entry.place, volume=volume, first=entry.place.first + more))


def _turned(entry: Entry, points: int, height: int) -> Entry:
    place = entry.place
    assert isinstance(place, Voxels)
    z, t = divmod(place.first, points)
    return entry if place.frames > 1 else replace(entry, place=replace(place, first=t * height + z))


def _first(entry: Entry) -> int:
    assert isinstance(entry.place, Voxels)
    return entry.place.first
