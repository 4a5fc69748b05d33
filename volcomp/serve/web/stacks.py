"""The frames of a series as stacks: slices of one size and direction, in the order in which they lie in space.

A series may have several (a localizer beside the slices, two orientations). A viewer shows one stack at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from threading import Lock
from typing import Any

import numpy as np

from ..store.instance import Instance
from ..store.protocol import Json, Store

_KEPT = 32  # series whose stacks are remembered
_EVEN = 0.02  # of the spacing, by which slices may miss an even spacing
_MODALITY, _CURVE, _DESCRIPTOR = "00283000", "00283010", "00283002"
_SHARED, _EACH = "52009229", "52009230"  # functional groups of an enhanced image (PS3.3, C.7.6.16)


@dataclass(frozen=True)
class Slice:
    """One frame: where it is read, where it lies (PS3.3, C.7.6.2), and how samples become values (C.11.1)."""

    instance: Instance
    frame: int  # from 1
    shape: tuple[int, int]  # rows, columns
    samples: int  # of a pixel: 1, or 3 of colours
    range: tuple[int, int]  # of the stored words, by the bits that the header states
    slope: float
    intercept: float
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, float] | None  # rows, columns; mm
    thickness: float | None
    window: tuple[float, float] | None
    inverted: bool

    @property
    def kind(self) -> tuple[Any, ...]:
        """What the slices of a stack have in common."""
        direction = tuple(round(cosine, 3) + 0.0 for cosine in self.orientation or ())
        return self.shape, self.samples, direction


@dataclass(frozen=True)
class Stack:
    """Slices of one size and direction.

    affine  float64 [4, 4]: (column, row, slice, 1) to mm in RAS; None where headers state no place, or several slices
            lie at one
    even    whether slices are evenly spaced
    """

    slices: tuple[Slice, ...]
    affine: np.ndarray | None
    even: bool

    @property
    def first(self) -> Slice:
        """Its first slice."""
        return self.slices[0]

    @cached_property
    def version(self) -> str:
        """A digest of which frames it has, in their order: slices that were asked for by it are still the same."""
        names = (
            f"{s.instance.sop} {s.frame} {s.instance.archive} {s.instance.name} {s.instance.sha256.hex()}"
            for s in self.slices
        )
        return sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return (len(self.slices), *self.first.shape)

    @property
    def spacing(self) -> tuple[float, float, float]:
        """mm along z, y, x; 1 for what headers do not state."""
        y, x = self.first.spacing or (1.0, 1.0)
        z = float(np.linalg.norm(self.affine[:3, 2])) if self.affine is not None else self.first.thickness or 1.0
        return z, y, x

    @property
    def origins(self) -> list[list[float]]:
        """Where the first voxel of each slice lies, mm in RAS; for slices that are unevenly spaced."""
        return [[-s.position[0], -s.position[1], s.position[2]] for s in self.slices if s.position]

    @property
    def type(self) -> np.dtype[Any]:
        """The smallest of int16, uint16 and float32 that holds its values, as far as headers tell."""
        ends = [w * s.slope + s.intercept for s in self.slices for w in s.range]
        whole = all(s.slope % 1 == 0 and s.intercept % 1 == 0 for s in self.slices)
        for kind in (np.int16, np.uint16) if whole else ():
            if np.iinfo(kind).min <= min(ends) and max(ends) <= np.iinfo(kind).max:
                return np.dtype(kind)
        return np.dtype(np.float32)


class Stacks:
    """The stacks of series, remembered. Safe for several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._held: OrderedDict[int, list[Stack]] = OrderedDict()
        self._lock = Lock()

    def of(self, study: str, series: str) -> list[Stack]:
        """Return the stacks of a series, the largest first; none of what has no pictures. Raises MissingError."""
        instances = self._store.instances(study, series)
        key = hash(tuple(instances))
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
        found = stacks_of([one for instance in instances for one in self._slices(instance)])
        with self._lock:
            self._held[key] = found
            while len(self._held) > _KEPT:
                self._held.popitem(last=False)
        return found

    def _slices(self, instance: Instance) -> Iterator[Slice]:
        if instance.frames:
            yield from slices_of(instance, self._store.metadata(instance, lambda path: path))


def stacks_of(slices: list[Slice]) -> list[Stack]:
    """Return slices as stacks, the largest first."""
    groups: dict[tuple[Any, ...], list[Slice]] = {}
    for one in slices:
        groups.setdefault(one.kind, []).append(one)
    return sorted((_stack(group) for group in groups.values()), key=lambda stack: -len(stack.slices))


def _stack(slices: list[Slice]) -> Stack:
    first = slices[0]
    if any(s.position is None or s.orientation is None for s in slices):
        return Stack(tuple(slices), None, True)
    row, column = np.array(first.orientation[:3]), np.array(first.orientation[3:])  # type: ignore[index]
    normal = np.cross(row, column)
    places = np.array([s.position for s in slices]) @ normal
    order = np.argsort(places, kind="stable")
    steps = np.diff(places[order])
    if len(slices) > 1 and steps.min() < 1e-3:  # several at one place, as time points: the order of their numbers
        return Stack(tuple(slices), None, True)
    ordered = tuple(slices[k] for k in order)
    low, high = (np.array(ordered[k].position) for k in (0, -1))
    step = (high - low) / (len(slices) - 1) if len(slices) > 1 else normal * (first.thickness or 1.0)
    y, x = first.spacing or (1.0, 1.0)
    lps = np.eye(4)
    lps[:3] = np.stack([row * x, column * y, step, low], axis=1)
    even = len(slices) < 3 or bool(steps.max() - steps.min() <= _EVEN * steps.mean() + 0.02)
    return Stack(ordered, np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps, even)


def slices_of(instance: Instance, header: Json) -> Iterator[Slice]:
    """Yield the frames of an instance, by its attributes."""
    rows, columns = int(_number(header, "00280010") or 0), int(_number(header, "00280011") or 0)
    if not rows or not columns:
        return
    bits = min(int(_number(header, "00280101") or _number(header, "00280100") or 16), 32)
    signed = bool(_number(header, "00280103"))
    photometric = _values(header, "00280004")
    plain = Slice(
        instance, 1, (rows, columns), int(_number(header, "00280002") or 1),
        (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1),
        1.0, 0.0, None, None, None, None, None, photometric[:1] == ["MONOCHROME1"],
    )  # fmt: skip
    plain = _tabled(_described(plain, header), header)
    shared = (_items(header, _SHARED) or [{}])[0]
    each = _items(header, _EACH)
    for k in range(instance.frames):
        one = replace(plain, frame=k + 1)
        for group in (shared, each[k] if k < len(each) else {}):
            for sequence in group.values():
                for item in (sequence.get("Value") or [])[:1]:
                    if isinstance(item, dict):
                        one = _described(one, item)
        yield one


def _described(one: Slice, header: Json) -> Slice:
    """Return a slice with what attributes say of it, where they say something."""
    position, orientation = _numbers(header, "00200032", 3), _numbers(header, "00200037", 6)
    spacing = _numbers(header, "00280030", 2) or _numbers(header, "00181164", 2)
    slope, intercept = _number(header, "00281053"), _number(header, "00281052")
    thickness = _number(header, "00180088") or _number(header, "00180050")
    centre, width = _number(header, "00281050"), _number(header, "00281051")
    return replace(
        one,
        position=position or one.position,
        orientation=orientation or one.orientation,
        spacing=(spacing[0], spacing[1]) if spacing and min(spacing) > 0 else one.spacing,
        slope=one.slope if slope is None else slope,
        intercept=one.intercept if intercept is None else intercept,
        thickness=thickness if thickness and thickness > 0 else one.thickness,
        window=(centre, width) if centre is not None and width and width >= 1 else one.window,
    )


def _tabled(one: Slice, header: Json) -> Slice:
    """Return a slice with what tables of the header say (PS3.3, C.11.1 and C.11.2): the range of values, and, where
    there is no window, one from the first to the last entry of the table that makes grey levels of values."""
    for item in _items(header, _MODALITY)[:1]:
        if described := _numbers(item, _DESCRIPTOR, 3):
            one = replace(one, slope=1.0, intercept=0.0, range=(0, (1 << min(int(described[2]), 16)) - 1))
    for item in _items(header, _CURVE)[:1]:
        if one.window is None and (described := _numbers(item, _DESCRIPTOR, 3)):
            count, begin = int(described[0]) % (1 << 16) or 1 << 16, int(described[1])
            if begin >= 1 << 15 and one.range[0] < 0:  # stated unsigned, of signed values
                begin -= 1 << 16
            one = replace(one, window=(begin + count / 2, float(count)))
    return one


def _items(header: Json, tag: str) -> list[Json]:
    return [item for item in header.get(tag, {}).get("Value") or [] if isinstance(item, dict)]


def _values(header: Json, tag: str) -> list[Any]:
    return [value for value in header.get(tag, {}).get("Value") or [] if value is not None]


def _numbers(header: Json, tag: str, count: int) -> tuple[float, ...] | None:
    """Return so many finite numbers, or None."""
    try:
        found = tuple(float(value) for value in _values(header, tag))
    except (TypeError, ValueError):
        return None
    return found if len(found) == count and bool(np.isfinite(found).all()) else None


def _number(header: Json, tag: str) -> float | None:
    """Return the first value as a finite number, or None."""
    try:
        found = float(_values(header, tag)[0])
    except (IndexError, TypeError, ValueError):
        return None
    return found if np.isfinite(found) else None
