"""The codec: a volume of voxels to a header and one payload for every slab, and back. Read this first.

    voxels ─mapping─▶ grey levels ─linear─▶ prediction ─features, lstm─▶ mean, class ─residual─▶ symbols ─entropy─▶ bits

A volume is cut into slabs of 32 slices or so that know nothing of each other: they are decoded alone, in parallel,
and a damaged one leaves the others whole. Every slab is begun, walked over, and ended. The walk is one loop over fronts
of independent voxels (`walk.py`): the encoder knows them and surveys where the network puts them; the decoder asks the
entropy coder for them. Threads do it or a GPU (`engines.py`), and the bytes are the same. `docs/format.md` has them.
"""

from __future__ import annotations

import hashlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from . import coding, differences, features, linear, mapping, models, rice, spike, walk
from .cursor import Cursor, string, varint
from .engines import Engine, OnDevice, OnThreads, Slabs, Workers
from .errors import DamagedError, UnsupportedError
from .lstm import cpu, reference
from .lstm.weights import Weights
from .paper import cpu as paper_cpu
from .paper import reference as paper_reference
from .paper import slab as paper_slab
from .paper import weights as published
from .slab import lay_out
from .walk import Done, Given, Opened

if TYPE_CHECKING:
    from .gpu import device as gpu

MODELS = tuple(models.CURRENT)
# Slices of a slab, as an aim: a half more where that makes it one slab, since a slab's first slice costs a sixth more
# than the others. The highest effort takes taller ones.
SLAB_HEIGHT, TALL_SLAB_HEIGHT = 32, 64
SLAB_VOXELS = 1 << 26  # a slab takes about 25 bytes of memory per voxel, whatever a header says
SLICE_VOXELS = 1 << 27
SLABS = 1 << 16
DTYPES = ("u1", "i1", "<u2", "<i2")
DIGEST = 8  # bytes of a SHA-256 that name a model, or check a slab
SMALL = 1 << 20  # voxels; for fewer, importing torch takes longer than it saves,
LARGE = 1 << 23  # and getting a GPU to work, a matter of seconds,
PUBLISHED_COST = 32  # and a voxel of a `paper` model, which has a step for every neighbour, is as much work as so many
EFFORT = 5  # the default
# How often a fit to the volume visits each voxel, by effort.
VISITS = {6: 0.25, 7: 0.5, 8: 1.0, 9: 2.0}
FIT_VOXELS = 1 << 25  # a fit learns from slabs of about so many voxels, spread over a larger volume; 8 bytes each
# Backends that do on the CPU what a GPU does, for tests, and what a fit takes for the device there.
LIKE_A_GPU = {"torch": "cpu:0", "triton": "cpu:0"}
Progress = Callable[[int], None]


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
def _weights(number: int, changed: bytes) -> Weights | published.Weights:
    """A released model, or what differences make of it; DamagedError where these are not sound."""
    if number in models.PUBLISHED and not changed:
        return models.paper(number)
    released = models.weights(number)
    return differences.apply(released, differences.from_bytes(changed, released)) if changed else released


@lru_cache(maxsize=8)
def _network(number: int, changed: bytes, backend: str, without_torch: bool) -> object:
    """The backend of this name with a model loaded: of `lstm`, or of `paper`."""
    weights, product = _weights(number, changed), None
    if isinstance(weights, published.Weights):
        return paper_reference.Network(weights) if backend == "reference" else paper_cpu.Network(weights, product)
    if backend == "reference":
        return reference.Network(weights)
    return cpu.Network(weights.without(features.SPARED), product)


def _leave_torch(work: int) -> bool:
    """Whether importing torch would take longer than it saves."""
    return work < SMALL and "torch" not in sys.modules


def forget_models() -> None:
    """Drop the models that are kept in memory, for a number that is to stand for another one (experiments try models
    that were never released)."""
    for kept in (models.weights, models.paper, models.tables, _weights, _network, _on_device):
        kept.cache_clear()


def _digest(header: bytes, k: int, voxels: np.ndarray) -> bytes:
    """What slab k is checked by. The header and the number are part of it: a slab of another volume, in another's
    place, or under a header that was altered is as damaged as one whose voxels are wrong."""
    sha = hashlib.sha256(header + varint(k))
    sha.update(np.ascontiguousarray(voxels).data)
    return sha.digest()[:DIGEST]


@lru_cache(maxsize=8)
def _on_device(number: int, changed: bytes, device: str, way: str) -> gpu.Walks | UnsupportedError:
    """A model on a device as torch names it; the error where it does not compute there as it should."""
    from .gpu import device as gpu

    try:
        return gpu.Walks(gpu.network(_weights(number, changed), device, way))
    except UnsupportedError as error:
        return error


def _engine(
    number: int, changed: bytes, device: str, backend: str, slabs: Slabs, workers: Workers, done: Done
) -> Engine:
    """Who is to walk over slabs of so many voxels."""
    is_published = number in models.PUBLISHED
    work = sum(slabs.values()) * (PUBLISHED_COST if is_published else 1)
    on_gpu = backend == "cpu" and _takes_gpu(device, work)
    if on_gpu or backend in LIKE_A_GPU:
        walks = _on_device(number, changed, *(("cuda", "") if on_gpu else ("cpu", backend)))
        free = on_gpu and device == "auto"  # to take the CPU instead
        if not isinstance(walks, UnsupportedError):
            engine = OnDevice(walks, workers, done)
            if not free or engine.has_room(slabs):
                return engine
        elif not free:
            raise walks
    network_here = _network(number, changed, backend, _leave_torch(work))
    return OnThreads(paper_slab if is_published else walk, network_here, workers, done)


def _takes_gpu(device: str, work: int) -> bool:
    """Whether the work on so many voxels should go to a GPU: for `auto` where there is one, and enough for it to do."""
    if device not in ("auto", "cpu", "cuda"):
        raise UnsupportedError(f"device {device!r} is not known; take auto, cpu or cuda")
    if device == "cpu" or (device == "auto" and work < LARGE):
        return False
    from .gpu.device import missing

    reason = missing()
    if reason and device == "cuda":
        raise UnsupportedError(reason)
    return reason is None


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
    `progress` is called with the number of voxels done since the last call, `progress_of` them altogether. `backend` is
    for tests: "reference", or one of LIKE_A_GPU.
    """
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
    voxels_of = {k: (b - a) * height * width for k, (a, b) in enumerate(ranges)}
    stages: dict[int, linear.Weights] = {}  # of the slabs, from the first time that they are coded

    def coded(changed: bytes, workers: Workers) -> tuple[bytes, list[bytes]]:
        header = _write_header(shape, voxels.dtype, number, changed, count, found)
        engine = _engine(number, changed, device, backend, voxels_of, workers, workers.telling(progress))

        def begin(k: int) -> Given | paper_slab.Given:
            a, b = ranges[k]
            levels = found.forward(voxels[a:b])
            if number in models.PUBLISHED:
                return paper_slab.Given(levels, found.limit)
            if k not in stages:
                stages[k] = engine.fit(levels, models.RUNS[model], effort)
            # Learning passes over a grey level that flags may take out of the network's hands.
            common = spike.candidate(levels, found.limit)
            quiet = common if models.weights(number).learns else None
            layout = lay_out((b - a, height, width), stages[k])
            return Given(layout, levels, found.limit, stages[k], common, quiet)

        def end(k: int, given: Given | paper_slab.Given, survey: Any) -> bytes:
            a, b = ranges[k]
            checksum = _digest(header, k, voxels[a:b])
            if isinstance(given, paper_slab.Given):
                return checksum + paper_slab.write(given, survey, paper_slab.schedule_of(models.paper(number)))
            worthwhile = models.WORTHWHILE[model]
            payload = coding.write(
                models.tables(number), survey, given.limit, given.common, given.quiet is not None, worthwhile
            )
            return checksum + linear.to_bytes(given.fitted) + payload

        return header, list(engine.survey(voxels_of, begin, end))

    with Workers(threads, count) as workers:
        best = coded(b"", workers)
        if effort > EFFORT:
            done = workers.telling(progress)
            there = backend == "cpu" and _takes_gpu(device, voxels.size)
            where = "cuda" if there else LIKE_A_GPU.get(backend, "cpu")
            changed = _fit(voxels, found, ranges, stages, model, VISITS[effort], workers.threads, done, where)
            if changed:
                best = min(best, coded(changed, workers), key=_size)
            else:
                done(voxels.size)
    return best


def _size(coded: tuple[bytes, list[bytes]]) -> int:
    """Bytes of a header section and its payloads."""
    return len(coded[0]) + sum(map(len, coded[1]))


def _fit(
    voxels: np.ndarray, found: mapping.Mapping, ranges: tuple[tuple[int, int], ...], stages: dict[int, linear.Weights],
    model: str, visits: float, threads: int, done: Done, device: str,
) -> bytes:  # fmt: skip
    """The differences of a model fitted to the volume, on that device; empty where it does not pay."""
    from . import fit
    from .training import data

    step = max(1, voxels.size // FIT_VOXELS)
    slabs = [
        data.prepare(found.forward(voxels[a:b]), models.RUNS[model], stages[k])
        for k, (a, b) in enumerate(ranges)
        if k % step == step // 2
    ]
    return fit.fit(models.CURRENT[model], slabs, voxels.size, visits, threads, done, device)


# ---------------------------------------------------------------------------------------------------------- decoding


def decode_slabs(
    header: bytes, payloads: Mapping[int, bytes], *, threads: int | None = None, device: str = "auto",
    progress: Progress | None = None, backend: str = "cpu",
) -> Iterator[tuple[int, np.ndarray | DamagedError]]:  # fmt: skip
    """Decode the slabs given by number; yields (number, voxels [z, Y, X] of the header's dtype), or the error where a
    payload is damaged, in ascending order. No more slabs are in memory at a time than there are threads."""
    h = read_header(header)
    numbers = sorted(payloads)
    if numbers and not 0 <= numbers[0] <= numbers[-1] < len(h.slabs):
        raise DamagedError(f"the volume has {len(h.slabs)} slabs, and is given one of number {numbers[-1]}")
    depths = {k: h.slabs[k][1] - h.slabs[k][0] for k in numbers}
    voxels_of = {k: depth * h.shape[1] * h.shape[2] for k, depth in depths.items()}

    def begin(k: int) -> Opened | paper_slab.Opened:
        reader, shape = Cursor(payloads[k][DIGEST:], "what it holds"), (depths[k], *h.shape[1:])
        if h.number in models.PUBLISHED:
            return paper_slab.Opened(shape, paper_slab.Reader(reader, h.mapping.limit), h.mapping.limit)
        fitted = linear.from_bytes(reader, depths[k])
        layout = lay_out(shape, fitted)
        longest = max(hi - lo for _, lo, hi in layout.fronts)
        symbols = coding.Reader(models.tables(h.number), reader, h.mapping.limit, longest)
        return Opened(layout, symbols, h.mapping.limit, fitted)

    def end(k: int, opened: Opened | paper_slab.Opened, levels: np.ndarray) -> np.ndarray:
        voxels = h.mapping.backward(levels, h.dtype)
        if _digest(header, k, voxels) != payloads[k][:DIGEST]:
            raise DamagedError("its voxels do not have the checksum that it states")
        return voxels

    with Workers(threads, len(numbers)) as workers:
        engine = _engine(h.number, h.differences, device, backend, voxels_of, workers, workers.telling(progress))
        results = engine.restore(voxels_of, begin, end)
        for k, result in zip(numbers, results, strict=True):
            if isinstance(result, DamagedError):
                first, past = h.slabs[k]
                result = DamagedError(f"slab {k} (slices {first} to {past - 1}) is damaged: {result}")
            yield k, result
