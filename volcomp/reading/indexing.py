"""Indexes of an array that is read in pieces along its first axis: what of it they need, by the rules of numpy."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

Blocks = Callable[
    [int, int], Iterable[tuple[int, Any]]
]  # first slice and end → (first slice, block [z, …]) in any order


# Time points in rising order, first slice and end → (time point, first slice, block [z, …]) in any order
Pieces = Callable[[range, int, int], Iterable[tuple[int, int, Any]]]


def take(index: Any, shape: tuple[int, ...], dtype: np.dtype[Any], blocks: Blocks) -> Any:
    """Return `array[index]` of an array that `blocks` yields in pieces: an array, or a scalar as numpy would.

    Basic indexes (integers, slices, `...`, `newaxis`) ask for the pieces that they need alone, which may come in any
    order. Indexes with arrays, lists or truth values ask for all slices from the lowest to the highest that they name.
    Raises numpy's own IndexError.
    """
    items = index if isinstance(index, tuple) else (index,)
    if not all(_is_basic(item) for item in items):
        return _advanced(items, shape, dtype, blocks)
    found = np.broadcast_to(np.zeros((), dtype), shape)[items]  # costs no memory, and raises what numpy raises
    whole = _without_new_axes(items, len(shape))
    first, others = whole[0], whole[1:]
    wanted = range(shape[0])[first] if isinstance(first, slice) else _one(first, shape[0])
    rest = np.broadcast_to(np.zeros((), dtype), shape[1:])[others].shape
    out = np.empty((len(wanted), *rest), dtype)
    if out.size:
        for part in _parts(wanted, blocks):
            out[part.begin : part.end] = part.block[(part.inside, *others)]
    out = out.reshape(found.shape)
    return out[()] if isinstance(found, np.generic) else out


def take_times(index: Any, shape: tuple[int, ...], dtype: np.dtype[Any], pieces: Pieces) -> Any:
    """Return `array[index]` of an array [t, z, …], as `take` does of one [z, …].

    Basic indexes ask for the time points and slices alone that they need; others for all slices of the time points from
    the first to the last that they name.
    """
    items = index if isinstance(index, tuple) else (index,)
    if not all(_is_basic(item) for item in items):

        def blocks(first: int, end: int) -> Iterator[tuple[int, Any]]:
            part = np.empty((end - first, *shape[1:]), dtype)
            for t, z, block in pieces(range(first, end), 0, shape[1]):
                part[t - first, z : z + len(block)] = block
            yield first, part

        return _advanced(items, shape, dtype, blocks)
    found = np.broadcast_to(np.zeros((), dtype), shape)[items]
    whole = _without_new_axes(items, len(shape))
    times, slices = (
        range(length)[one] if isinstance(one, slice) else _one(one, length)
        for one, length in zip(whole[:2], shape[:2], strict=True)
    )
    others = whole[2:]
    rest = np.broadcast_to(np.zeros((), dtype), shape[2:])[others].shape
    out = np.empty((len(times), len(slices), *rest), dtype)
    if out.size:
        low, high = min(slices[0], slices[-1]), max(slices[0], slices[-1]) + 1
        for t, z, block in pieces(times if times.step > 0 else times[::-1], low, high):
            if part := _part_of(slices, z, block):
                out[times.index(t), part.begin : part.end] = part.block[(part.inside, *others)]
            del block
    out = out.reshape(found.shape)
    return out[()] if isinstance(found, np.generic) else out


class _Part(NamedTuple):
    """Some of the slices that are wanted: their places in the result, and in a block."""

    begin: int
    end: int
    inside: slice
    block: Any


def _parts(wanted: range, blocks: Blocks) -> Iterator[_Part]:
    low, high = min(wanted[0], wanted[-1]), max(wanted[0], wanted[-1]) + 1
    for first, block in blocks(low, high):
        if part := _part_of(wanted, first, block):
            yield part
        del block, part


def _part_of(wanted: range, first: int, block: Any) -> _Part | None:
    """Return what is wanted of a block that begins with this slice; None where nothing is."""
    step, end = wanted.step, first + len(block)
    if step > 0:
        begin, stop = -((wanted.start - first) // step), -((wanted.start - end) // step)
    else:
        begin, stop = (wanted.start - end) // -step + 1, (wanted.start - first) // -step + 1
    begin, stop = max(begin, 0), min(stop, len(wanted))
    if begin >= stop:
        return None
    start, last = wanted[begin] - first, wanted[stop - 1] - first
    past = last + (1 if step > 0 else -1)
    return _Part(begin, stop, slice(start, past if past >= 0 else None, step), block)


def _is_basic(item: Any) -> bool:
    if item is None or item is Ellipsis or isinstance(item, slice):
        return True
    return hasattr(item, "__index__") and not isinstance(item, bool | np.bool_ | np.ndarray)


def _one(item: Any, length: int) -> range:
    """Return the range of one slice, which exists."""
    at = operator.index(item)
    at += length if at < 0 else 0
    return range(at, at + 1)


def _without_new_axes(items: tuple[Any, ...], axes: int) -> tuple[Any, ...]:
    """Return an integer or a slice for each axis."""
    items = tuple(item for item in items if item is not None)
    at = next((i for i, item in enumerate(items) if item is Ellipsis), len(items))
    before, after = items[:at], items[at + 1 :]
    return (*before, *[slice(None)] * (axes - len(before) - len(after)), *after)


def _advanced(items: tuple[Any, ...], shape: tuple[int, ...], dtype: np.dtype[Any], blocks: Blocks) -> Any:
    low, high = 0, shape[0]
    first = np.asarray(items[0]) if isinstance(items[0], list | np.ndarray) else None
    if first is not None and first.dtype.kind in "iu" and first.size:
        at = np.where(first < 0, first.astype(np.int64) + shape[0], first)
        if at.min() < 0 or at.max() >= shape[0]:
            bad = int(first[(at < 0) | (at >= shape[0])].flat[0])
            raise IndexError(f"index {bad} is out of bounds for axis 0 with size {shape[0]}")
        low, high = int(at.min()), int(at.max()) + 1
        items = (at - low, *items[1:])
    part = np.empty((high - low, *shape[1:]), dtype)
    for begin, block in blocks(low, high):
        a, b = max(begin, low), min(begin + len(block), high)
        part[a - low : b - low] = block[a - begin : b - begin]
    return part[items]
