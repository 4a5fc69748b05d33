"""The codec: a volume of voxels to a header and one payload for every slab, and back. Read this first.

    voxels ─mapping─▶ grey levels ─linear─▶ prediction ─features, lstm─▶ mean, class ─residual─▶ symbols ─entropy─▶ bits

A volume is cut into slabs of 32 slices or so that know nothing of each other: they are decoded alone, in parallel,
and a damaged one leaves the others whole. In a slab, encoder and decoder are one loop over fronts of independent voxels
(`slab.py`). The encoder knows the voxels and notes where the network put them; the decoder asks the entropy coder for
them. `docs/format.md` has the bytes.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np

from neighbourhoods import pad

from . import coding, differences, least_squares, linear, mapping, models, rice, spike
from .cursor import Cursor, string, varint
from .errors import DamagedError, UnsupportedError
from .lstm import cpu, reference
from .lstm.weights import Weights
from .paper import cpu as paper_cpu
from .paper import reference as published
from .paper import slab as paper_slab
from .slab import RADIUS, Slab, Team

MODELS = tuple(models.CURRENT)
# Slices of a slab, as an aim: a half more where that makes it one slab, since a slab's first slice costs a sixth more
# than the others. The highest effort takes taller ones.
SLAB_HEIGHT, TALL_SLAB_HEIGHT = 32, 64
SLAB_VOXELS = 1 << 26  # a slab takes about 25 bytes of memory per voxel, whatever a header says
SLICE_VOXELS = 1 << 27
SLABS = 1 << 16
DTYPES = ("u1", "i1", "<u2", "<i2")
DIGEST = 8  # bytes of a SHA-256 that name a model, or check a slab
# Voxels; for fewer, importing torch takes longer than it saves. A `paper` model has a step for every neighbour.
SMALL, PUBLISHED_SMALL = 1 << 20, 1 << 14
EFFORT = 5  # the default
# How often a fit to the volume visits each voxel, by effort.
VISITS = {6: 0.25, 7: 0.5, 8: 1.0, 9: 2.0}
FIT_VOXELS = 1 << 25  # a fit learns from slabs of about so many voxels, spread over a larger volume; 8 bytes each
RowNetwork = cpu.Network | reference.Network
Network = RowNetwork | published.Network
Progress = Callable[[int], None]
Result = TypeVar("Result")


@dataclass(frozen=True)
class VolumeHeader:
    """What the header section of a volume says."""

    shape: tuple[int, int, int]  # Z, Y, X
    dtype: np.dtype  # u1, i1, little-endian u2 or i2
    model: str  # name of the released model, as "base-1"
    number: int  # its number in the file
    slabs: tuple[tuple[int, int], ...]  # first and past-the-end slice of every slab
    mapping: mapping.Mapping
    differences: bytes = b""  # of the model that was fitted to the volume, if one was


class _Stopped(Exception):
    """Raised in the workers when the caller has gone away."""


# ---------------------------------------------------------------------------------------------------------- the header


def _slab_count(depth: int, voxels: int, effort: int) -> int:
    height = SLAB_HEIGHT if effort < 9 else TALL_SLAB_HEIGHT
    count = 1 if 2 * depth <= 3 * height else -(-depth // height)
    return max(count, min(depth, -(-voxels // SLAB_VOXELS)))


def _slab_ranges(depth: int, count: int) -> tuple[tuple[int, int], ...]:
    """`count` slabs as equal as can be."""
    return tuple((depth * k // count, depth * (k + 1) // count) for k in range(count))


def _write_header(
    shape: tuple[int, ...], dtype: np.dtype, number: int, changed: bytes, slabs: int, found: mapping.Mapping
) -> bytes:
    runs = found.runs.ravel().tolist()
    first = runs[0]
    fields = [*shape, slabs, len(found.runs), -2 * first - 1 if first < 0 else 2 * first]
    model = number + (models.FITTED if changed else 0)
    head = bytes([model, DTYPES.index(dtype.str.replace("|", ""))]) + models.digest(number)[:DIGEST]
    head += string(changed) if changed else b""
    return head + b"".join(varint(field) for field in fields) + rice.encode(np.diff(runs) - 1)


def read_header(data: bytes) -> VolumeHeader:
    """Parse a header section; raises DamagedError, or UnsupportedError for a model that this version does not know."""
    reader = Cursor(data, "the volume's header")
    number, code = reader.take(2)
    if code >= len(DTYPES):
        raise DamagedError(f"the volume's header has pixel type {code}; 0 to {len(DTYPES) - 1} are known")
    dtype = np.dtype(DTYPES[code])
    fitted, number = divmod(number, models.FITTED)
    models.check(number, reader.take(DIGEST))
    changed = reader.string() if fitted else b""
    if fitted:
        _weights(number, changed)  # so that a file with an unsound model is refused here
    z, y, x, slabs = (reader.varint() for _ in range(4))
    if not (0 < slabs <= min(z, SLABS) and z < 1 << 31 and 0 < y * x <= SLICE_VOXELS):
        raise DamagedError(f"the volume's header has an impossible shape: {z} × {y} × {x} in {slabs} slabs")
    ranges = _slab_ranges(z, slabs)
    tallest = max(b - a for a, b in (ranges[0], ranges[-1]))
    if tallest > 255 or (tallest > 1 and tallest * y * x > 2 * SLAB_VOXELS):
        raise DamagedError(f"the volume's header has slabs of {tallest} × {y} × {x} voxels, more than a file may have")
    count = reader.varint()
    if not 0 < count <= 1 << 16:
        raise DamagedError(f"the volume's header maps {count} runs of values; 1 to 65536 are possible")
    zigzag = reader.varint()
    lengths = rice.decode(reader.rest(), 2 * count - 1) + 1
    first = -(zigzag + 1) // 2 if zigzag & 1 else zigzag // 2
    info = np.iinfo(dtype)
    if lengths.min() < 1 or first < info.min or first + int(lengths.sum()) > info.max + 1:
        raise DamagedError(f"the volume's header maps values that {dtype} does not have")
    runs = np.cumsum([first, *lengths.tolist()]).reshape(count, 2)
    return VolumeHeader((z, y, x), dtype, models.RELEASED[number], number, ranges, mapping.Mapping(runs), changed)


# ----------------------------------------------------------------------------------------------------- both directions


@lru_cache(maxsize=8)
def _weights(number: int, changed: bytes) -> Weights:
    """A released model, or what differences make of it; DamagedError where these are not sound."""
    released = models.weights(number)
    return differences.apply(released, differences.from_bytes(changed, released)) if changed else released


@lru_cache(maxsize=8)
def _network(number: int, changed: bytes, backend: str, without_torch: bool) -> Network:
    """The backend of this name with a model loaded."""
    product = cpu.float_product if without_torch else None
    if number in models.PUBLISHED:
        sequence = models.paper(number)
        return published.Network(sequence) if backend == "reference" else paper_cpu.Network(sequence, product)
    weights = _weights(number, changed)
    if backend == "reference":
        return reference.Network(weights)
    return cpu.Network(weights, product)


def _leave_torch(number: int, voxels: int) -> bool:
    """Whether importing torch would take longer than it saves."""
    small = PUBLISHED_SMALL if number in models.PUBLISHED else SMALL
    return voxels < small and "torch" not in sys.modules


def _reporter(workers: _Workers, progress: Progress | None) -> Progress:
    """What to call with the number of voxels done since the last call, where a caller may have gone away."""

    def done(count: int) -> None:
        if workers.stop.is_set():
            raise _Stopped
        if progress:
            progress(count)

    return done


def _digest(header: bytes, k: int, voxels: np.ndarray) -> bytes:
    """What slab k is checked by. The header and the number are part of it: a slab of another volume, in another's
    place, or under a header that was altered is as damaged as one whose voxels are wrong."""
    sha = hashlib.sha256(header + varint(k))
    sha.update(np.ascontiguousarray(voxels).data)
    return sha.digest()[:DIGEST]


class _Workers:
    """Threads for slabs, and for the rows of a front where there are fewer slabs than threads."""

    def __init__(self, threads: int | None, slabs: int) -> None:
        available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self.threads = max(1, threads or available)
        self.slabs = max(1, min(self.threads, slabs))
        self.stop = threading.Event()
        self._helpers = self.threads // self.slabs  # threads for each slab at work
        self._stack = ExitStack()

    def __enter__(self) -> _Workers:
        self._stack.enter_context(cpu.one_thread_each())
        self.pool = self._stack.enter_context(ThreadPoolExecutor(self.slabs, initializer=cpu.alone))
        helpers = self._helpers - 1
        more = ThreadPoolExecutor(helpers * self.slabs, initializer=cpu.alone) if helpers else None
        self.team = Team(self._stack.enter_context(more) if more else None, self._helpers)
        self._stack.callback(self.stop.set)
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def in_order(self, jobs: list[Callable[[], Result]]) -> Iterator[Result]:
        """The results of jobs, in order, with few of them waiting to be fetched."""
        waiting: list[Future[Result]] = []
        for job in jobs:
            waiting.append(self.pool.submit(job))
            if len(waiting) > self.slabs:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def _device(device: str) -> None:
    if device not in ("auto", "cpu", "cuda"):
        raise UnsupportedError(f"device {device!r} is not known; take auto, cpu or cuda")
    if device == "cuda":
        raise UnsupportedError("this version has no CUDA backend; use --device cpu, which writes the same bytes")


# ---------------------------------------------------------------------------------------------------------- encoding


def progress_of(voxels: int, effort: int) -> int:
    """How many voxels `encode` reports as progress for a volume of so many."""
    if effort <= EFFORT:
        return voxels
    from . import fit

    return 2 * voxels + fit.visits(voxels, VISITS[effort])


def check_effort(effort: int) -> None:
    """Raise UnsupportedError for an effort that cannot be made."""
    if effort not in range(1, 10):
        raise UnsupportedError(f"effort {effort} is not known; take 1 (fastest) to 9 (smallest), 5 is the default")
    if effort > EFFORT and not importlib.util.find_spec("torch"):
        raise UnsupportedError(
            f"effort {effort} fits the model to the volume, which needs torch: install volcomp[cpu], or take {EFFORT}"
        )


def encode(
    voxels: np.ndarray, *, model: str = "base", threads: int | None = None, device: str = "auto",
    progress: Progress | None = None, backend: str = "cpu", effort: int = EFFORT,
) -> tuple[bytes, list[bytes]]:  # fmt: skip
    """Code a volume [Z, Y, X] of u1, i1, u2 or i2 (little-endian); returns its header section and one payload per slab.

    Up to effort 5 the result depends on voxels, model and effort alone: not on threads, device, backend or machine.
    Above, the model is fitted to the volume, in floats, so that two machines may write two files that decode alike.
    `progress` is called with the number of voxels done since the last call, `progress_of` them altogether.
    """
    _device(device)
    check_effort(effort)
    depth, height, width = shape = (int(voxels.shape[0]), int(voxels.shape[1]), int(voxels.shape[2]))
    if not 0 < height * width <= SLICE_VOXELS or not depth:
        raise UnsupportedError(f"a volume of {depth} × {height} × {width} voxels has no slices of 1 to 2^27 voxels")
    if model not in models.CURRENT:
        raise UnsupportedError(f"model {model!r} is not known; take one of {', '.join(MODELS)}")
    number = models.CURRENT[model]
    if effort > EFFORT and number in models.PUBLISHED:
        raise UnsupportedError(f"model {model} cannot be fitted to a volume: take an effort of 1 to {EFFORT}")
    found = mapping.find(voxels)
    count = _slab_count(depth, voxels.size, effort)
    ranges = _slab_ranges(depth, count)
    stages: dict[int, linear.Weights] = {}  # of the slabs, from the first time that they are coded

    def coded(changed: bytes, workers: _Workers) -> tuple[bytes, list[bytes]]:
        network = _network(number, changed, backend, effort <= EFFORT and _leave_torch(number, voxels.size))
        header = _write_header(shape, voxels.dtype, number, changed, count, found)

        def job(k: int, a: int, b: int) -> Callable[[], bytes]:
            def run() -> bytes:
                levels = found.forward(voxels[a:b])
                if isinstance(network, published.Network):
                    done = _reporter(workers, progress)
                    payload = paper_slab.encode(levels, found.limit, network, workers.team.share, done)
                else:
                    if k not in stages:
                        stages[k] = least_squares.fit_by_effort(levels, models.RUNS[model], effort)
                    payload = _encode_slab(levels, found.limit, stages[k], number, network, workers, progress)
                return _digest(header, k, voxels[a:b]) + payload

            return run

        return header, list(workers.in_order([job(k, *ends) for k, ends in enumerate(ranges)]))

    with _Workers(threads, count) as workers:
        best = coded(b"", workers)
        if effort > EFFORT:
            changed = _fit(voxels, found, ranges, stages, model, VISITS[effort], workers, progress)
            if changed:
                best = min(best, coded(changed, workers), key=_size)
            elif progress:
                progress(voxels.size)
    return best


def _size(coded: tuple[bytes, list[bytes]]) -> int:
    """Bytes of a header section and its payloads."""
    return len(coded[0]) + sum(map(len, coded[1]))


def _fit(
    voxels: np.ndarray, found: mapping.Mapping, ranges: tuple[tuple[int, int], ...], stages: dict[int, linear.Weights],
    model: str, visits: float, workers: _Workers, progress: Progress | None,
) -> bytes:  # fmt: skip
    """The differences of a model fitted to the volume; empty where it does not pay."""
    from . import fit
    from .training import data

    step = max(1, voxels.size // FIT_VOXELS)
    slabs = [
        data.prepare(found.forward(voxels[a:b]), models.RUNS[model], stages[k])
        for k, (a, b) in enumerate(ranges)
        if k % step == step // 2
    ]

    done = _reporter(workers, progress)
    return fit.fit(models.CURRENT[model], slabs, voxels.size, visits, workers.threads, done)


def _encode_slab(
    levels: np.ndarray, limit: int, fitted: linear.Weights, number: int, network: RowNetwork, workers: _Workers,
    progress: Progress | None,
) -> bytes:  # fmt: skip
    shape = (len(levels), int(levels.shape[1]), int(levels.shape[2]))
    known = pad(levels, 0, RADIUS).reshape(-1)
    slab = Slab(shape, limit, fitted, network.weights)
    voxel, mean, classes = (np.empty(levels.size, dtype) for dtype in (np.int32, np.int32, np.uint8))
    sizes = []
    end = 0
    # Learning passes over a grey level that flags may take out of the network's hands.
    common = spike.candidate(levels.ravel(), limit)
    quiet = common if network.weights.learns else None
    for t, lo, hi in slab.ranges():
        if workers.stop.is_set():
            raise _Stopped
        begin, end = end, end + hi - lo
        workers.team.predict(slab, network, t, lo, hi)
        mean[begin:end], classes[begin:end] = slab.mean[lo:hi], slab.classes[lo:hi]
        np.take(known, slab.places(t, lo, hi), out=voxel[begin:end])
        slab.perceive(network, t, lo, hi, voxel[begin:end], quiet)
        sizes.append(hi - lo)
        if progress:
            progress(hi - lo)

    def contexts(value: int) -> np.ndarray:
        ends = np.cumsum(sizes).tolist()
        fronts = zip(slab.ranges(), [0, *ends], ends, strict=False)
        return np.concatenate([slab.contexts(*front, value, mean[a:b], classes[a:b]) for front, a, b in fronts])

    tables, silent = models.tables(number), quiet is not None
    coded = coding.write(tables, voxel, mean, classes, np.array(sizes), limit, common, silent, contexts)
    return linear.to_bytes(fitted) + coded


# ---------------------------------------------------------------------------------------------------------- decoding


def decode_slabs(
    header: bytes, payloads: Mapping[int, bytes], *, threads: int | None = None, device: str = "auto",
    progress: Progress | None = None, backend: str = "cpu",
) -> Iterator[tuple[int, np.ndarray | DamagedError]]:  # fmt: skip
    """Decode the slabs given by number; yields (number, voxels [z, Y, X] of the header's dtype), or the error where a
    payload is damaged, in ascending order. No more slabs are in memory at a time than there are threads."""
    _device(device)
    h = read_header(header)
    numbers = sorted(payloads)
    if numbers and not 0 <= numbers[0] <= numbers[-1] < len(h.slabs):
        raise DamagedError(f"the volume has {len(h.slabs)} slabs, and is given one of number {numbers[-1]}")
    voxels = sum(h.slabs[k][1] - h.slabs[k][0] for k in numbers) * h.shape[1] * h.shape[2]
    network = _network(h.number, h.differences, backend, _leave_torch(h.number, voxels))
    with _Workers(threads, len(numbers)) as workers:

        def job(k: int) -> Callable[[], np.ndarray | DamagedError]:
            def run() -> np.ndarray | DamagedError:
                try:
                    voxels = _decode_slab(h, k, payloads[k][DIGEST:], network, workers, progress)
                    if _digest(header, k, voxels) != payloads[k][:DIGEST]:
                        raise DamagedError("its voxels do not have the checksum that it states")
                    return voxels
                except DamagedError as error:
                    return DamagedError(f"slab {k} (slices {h.slabs[k][0]} to {h.slabs[k][1] - 1}) is damaged: {error}")

            return run

        yield from zip(numbers, workers.in_order([job(k) for k in numbers]), strict=True)


def _decode_slab(
    header: VolumeHeader, k: int, payload: bytes, network: Network, workers: _Workers, progress: Progress | None
) -> np.ndarray:
    shape = (header.slabs[k][1] - header.slabs[k][0], *header.shape[1:])
    limit = header.mapping.limit
    reader = Cursor(payload, "what it holds")
    if isinstance(network, published.Network):
        done = _reporter(workers, progress)
        ranks = paper_slab.decode(reader, shape, limit, network, workers.team.share, done)
        return header.mapping.backward(ranks, header.dtype)
    slab = Slab(shape, limit, linear.from_bytes(reader, shape[0]), network.weights)
    fronts = slab.ranges()
    longest = max(hi - lo for _, lo, hi in fronts)
    symbols = coding.Reader(models.tables(header.number), reader, limit, longest)
    value = symbols.spike

    for t, lo, hi in fronts:
        if workers.stop.is_set():
            raise _Stopped
        workers.team.predict(slab, network, t, lo, hi)
        mean, classes = slab.mean[lo:hi], slab.classes[lo:hi]
        context = None if value is None else slab.contexts(t, lo, hi, value, mean, classes)
        slab.perceive(network, t, lo, hi, symbols.take(mean, classes, context), symbols.quiet)
        if progress:
            progress(hi - lo)
    symbols.finish()
    return header.mapping.backward(slab.voxels(), header.dtype)
