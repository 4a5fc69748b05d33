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
import math
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ..stages import payload, features, level_factors, linear, histogram_packing, peak
from .. import models
from ..pipelines.row import wavefront
from ..wire.cursor import Cursor, varint
from .engines import Checked, Engine, OnDevice, OnThreads, Slabs, Workers
from ..errors import DamagedError, UnsupportedError
from ..container.header import DIGEST, SLAB_VOXELS, SLICE_VOXELS, read_header, slab_ranges, write_header
from ..container.header import DTYPES as DTYPES
from ..container.header import weights_of as _weights
from ..stages.lstm import cpu, reference
from ..options import EFFORT, MODEL
from ..options import MODELS as MODELS
from ..pipelines.paper import cpu as paper_cpu
from ..pipelines.paper import reference as paper_reference
from ..pipelines.paper import slab as paper_slab
from ..pipelines.paper import weights as published
from ..pipelines.row.slab import lay_out, level_type
from .source import Held, Source
from ..pipelines.row.wavefront import Done, Given, Opened

if TYPE_CHECKING:
    from ..gpu import device as gpu

# Slices of a slab, as an aim: a half more where that makes it one slab, since a slab's first slice costs a sixth more
# than the others. The highest effort takes taller ones.
SLAB_HEIGHT, TALL_SLAB_HEIGHT = 32, 64
LARGE = 1 << 23  # voxels; for fewer, getting a GPU to work takes longer than it saves, a matter of seconds,
PUBLISHED_COST = 32  # and a voxel of a `paper` model, which has a step for every neighbour, is as much work as so many
# How often a fit to the volume visits each voxel, by effort.
VISITS = {6: 0.25, 7: 0.5, 8: 1.0, 9: 2.0}
FIT_VOXELS = 1 << 25  # a fit learns from slabs of about so many voxels, spread over a larger volume; 8 bytes each
# Backends that do on the CPU what a GPU does, for tests, and what a fit takes for the device there.
LIKE_A_GPU = {"torch": "cpu:0", "triton": "cpu:0"}
Progress = Callable[[int], None]


def _slab_count(depth: int, voxels: int, effort: int) -> int:
    height = SLAB_HEIGHT if effort < 9 else TALL_SLAB_HEIGHT
    count = 1 if 2 * depth <= 3 * height else -(-depth // height)
    return max(count, min(depth, -(-voxels // SLAB_VOXELS)))


# ----------------------------------------------------------------------------------------------------- both directions


@lru_cache(maxsize=8)
def _network(number: int, changed: bytes, backend: str) -> object:
    """The backend of this name with a model loaded: of `lstm`, or of `paper`."""
    weights = _weights(number, changed)
    if isinstance(weights, published.Weights):
        return paper_reference.Network(weights) if backend == "reference" else paper_cpu.Network(weights)
    return reference.Network(weights) if backend == "reference" else cpu.Network(weights.without(features.SPARED))


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
    from ..gpu import device as gpu

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
    network_here = _network(number, changed, backend)
    return OnThreads(paper_slab if is_published else wavefront, network_here, workers, done)


def _takes_gpu(device: str, work: int) -> bool:
    """Whether the work on so many voxels should go to a GPU: for `auto` where there is one, and enough for it to do."""
    if device not in ("auto", "cpu", "cuda"):
        raise UnsupportedError(f"device {device!r} is not known; take auto, cpu or cuda")
    if device == "cpu" or (device == "auto" and work < LARGE):
        return False
    from ..gpu.device import may_be_there, missing

    if device == "auto" and not may_be_there():
        return False
    reason = missing()
    if reason and device == "cuda":
        raise UnsupportedError(reason)
    return reason is None


# ---------------------------------------------------------------------------------------------------------- encoding


def progress_of(voxels: int, effort: int) -> int:
    """How many voxels `encode` reports as progress for a volume of so many."""
    if effort <= EFFORT:
        return voxels
    from ..learn import fine_tuning

    return 2 * voxels + fine_tuning.visits(voxels, VISITS[effort])


def check_effort(effort: int) -> None:
    """Raise UnsupportedError for an effort that cannot be made."""
    if effort not in range(1, 10):
        raise UnsupportedError(f"effort {effort} is not known; take 1 (fastest) to 9 (smallest), 5 is the default")
    if effort > EFFORT and not importlib.util.find_spec("torch"):
        raise UnsupportedError(
            f"effort {effort} fits the model to the volume, which needs torch: install volcomp[fit], or take {EFFORT}"
        )


def encode(
    voxels: np.ndarray, *, model: str = MODEL, threads: int | None = None, device: str = "auto",
    progress: Progress | None = None, backend: str = "cpu", effort: int = EFFORT,
) -> tuple[bytes, list[bytes]]:  # fmt: skip
    """`encode_slabs` of an array [Z, Y, X] in C order, all at once: its header section and one payload per slab."""
    header, slabs = encode_slabs(
        Held(voxels), model=model, threads=threads, device=device, progress=progress, backend=backend, effort=effort
    )
    with closing(slabs):
        return header, [payload for payload, _ in slabs]


def encode_slabs(
    source: Source, *, model: str = MODEL, threads: int | None = None, device: str = "auto",
    progress: Progress | None = None, backend: str = "cpu", effort: int = EFFORT, check: bool = False,
) -> tuple[bytes, Generator[tuple[bytes, np.ndarray | None]]]:  # fmt: skip
    """Code a volume; returns its header section, and an iterator over the slabs: each one's payload, and with `check`
    the voxels [z, Y, X] that the payload has been decoded to. Raises DamagedError, from the iterator, where one cannot
    be decoded.

    A slab is read when its turn comes, and no more of them are in memory at a time than there are threads.
    Up to effort 5 the result depends on voxels, model and effort alone: not on threads, device, backend or machine.
    Above, the model is fitted to the volume, in floats, so that two machines may write two files that decode alike;
    and all is coded before the first payload comes. `progress` is called with the number of voxels done since the last
    call, `progress_of` them altogether, and with `check` once more all of them. `backend` is for tests: "reference", or
    one of LIKE_A_GPU.
    """
    check_effort(effort)
    depth, height, width = source.shape
    if not 0 < height * width <= SLICE_VOXELS or not depth:
        raise UnsupportedError(f"a volume of {depth} × {height} × {width} voxels has no slices of 1 to 2^27 voxels")
    if model not in models.CURRENT:
        raise UnsupportedError(f"model {model!r} is not known; take one of {', '.join(MODELS)}")
    if effort > EFFORT and models.CURRENT[model] in models.PUBLISHED:
        raise UnsupportedError(f"model {model} cannot be fitted to a volume: take an effort of 1 to {EFFORT}")
    encoder = _Encoder(source, model, effort, device, backend)
    if effort <= EFFORT:
        return encoder.header(b""), encoder.slabs(threads, progress, check)
    header, payloads = encoder.fitted(threads, progress)
    if not check:
        return header, ((payload, None) for payload in payloads)
    decoded = decode_slabs(
        header, dict(enumerate(payloads)), threads=threads, device=device, progress=progress, backend=backend
    )
    return header, _beside(payloads, decoded)


def _beside(
    payloads: list[bytes], decoded: Generator[tuple[int, np.ndarray | DamagedError]]
) -> Generator[tuple[bytes, np.ndarray | None]]:
    with closing(decoded):
        for payload in payloads:
            _, voxels = next(decoded)
            if isinstance(voxels, DamagedError):
                raise voxels
            yield payload, voxels
            del voxels  # or they would be here until the next ones come


class _Encoder:
    """A volume on its way there: what all its slabs share."""

    def __init__(self, source: Source, model: str, effort: int, device: str, backend: str) -> None:
        self._source, self._model, self._effort, self._device, self._backend = source, model, effort, device, backend
        self._number = models.CURRENT[model]
        self._found = histogram_packing.of_histogram(*source.histogram())
        depth, height, width = source.shape
        self._size = depth * height * width
        self._ranges = slab_ranges(depth, _slab_count(depth, self._size, effort))
        self._voxels_of = {k: (b - a) * height * width for k, (a, b) in enumerate(self._ranges)}
        self._stages: dict[int, linear.Weights] = {}  # of the slabs, from the first time that they are coded

    def header(self, changed: bytes) -> bytes:
        """The header section, with the differences of a model."""
        source = self._source
        return write_header(source.shape, source.dtype, self._number, changed, len(self._ranges), self._found)

    def slabs(
        self, threads: int | None, progress: Progress | None, check: bool
    ) -> Generator[tuple[bytes, np.ndarray | None]]:
        """Each one's payload under the released model, and what it decodes to, as soon as both are there."""
        with Workers(threads, len(self._ranges)) as workers:
            coded = self._coded(b"", workers, workers.telling(progress), check)
            for k, slices in enumerate(self._ranges):
                payload, voxels = next(coded)
                if isinstance(voxels, DamagedError):
                    raise _located(k, slices, voxels)
                yield payload, voxels
                del payload, voxels  # or they would be here until the next ones come

    def fitted(self, threads: int | None, progress: Progress | None) -> tuple[bytes, list[bytes]]:
        """Header and payloads under a model that is fitted to the volume, or the released one, whichever is less."""

        def coded(changed: bytes) -> tuple[bytes, list[bytes]]:
            return self.header(changed), [payload for payload, _ in self._coded(changed, workers, done, False)]

        with Workers(threads, len(self._ranges)) as workers:
            done = workers.telling(progress)
            best = coded(b"")
            there = self._backend == "cpu" and _takes_gpu(self._device, self._size)
            where = "cuda" if there else LIKE_A_GPU.get(self._backend, "cpu")
            changed = _fit(
                self._source, self._found, self._ranges, self._stages, self._model, VISITS[self._effort],
                workers.threads, done, where,
            )  # fmt: skip
            if changed:
                return min(best, coded(changed), key=_size)
            done(self._size)
        return best

    def _coded(self, changed: bytes, workers: Workers, done: Done, check: bool) -> Iterator[tuple[bytes, Checked]]:
        """Each slab's payload under the released model or one that differs, and what it decodes to."""
        header, number, model, limit = self.header(changed), self._number, self._model, self._found.limit
        engine = _engine(number, changed, self._device, self._backend, self._voxels_of, workers, done)
        begun: dict[int, tuple[bytes, Given | paper_slab.Given]] = {}  # their checksums, and what their ends need

        def begin(k: int) -> Given | paper_slab.Given:
            voxels = self._source.slices(*self._ranges[k])
            checksum, levels = _digest(header, k, voxels), self._found.forward(voxels, level_type(limit))
            del voxels  # which takes as much as the levels
            if number in models.PUBLISHED:
                begun[k] = checksum, paper_slab.Given(levels, limit)
                return paper_slab.Given(levels, limit)
            if k not in self._stages:
                haste = models.HASTE.get(model, 0) if self._effort <= EFFORT else 0
                self._stages[k] = engine.fit(levels, models.RUNS[model], max(1, self._effort - haste))
            # Learning passes over a grey level that flags may take out of the network's hands.
            common = peak.candidate(levels, limit)
            quiet = common if models.weights(number).learns else None
            stage = self._stages[k]
            given = Given(lay_out(levels.shape, stage), levels, limit, stage, common, quiet)
            begun[k] = checksum, given._replace(levels=_NO_LEVELS)  # the walk is all that needs them
            return given

        def end(k: int, survey: Any) -> bytes:
            checksum, given = begun.pop(k)
            if isinstance(given, paper_slab.Given):
                return checksum + paper_slab.write(given, survey, paper_slab.schedule_of(models.paper(number)))
            payload = payload.write(
                models.tables(number), survey, limit, given.common, given.quiet is not None, models.WORTHWHILE[model],
                models.LOOKED_AT.get(model, level_factors.SAMPLE),
            )  # fmt: skip
            return checksum + linear.to_bytes(given.fitted) + payload

        return engine.survey(self._voxels_of, begin, end, _Back(header) if check else None)


_NO_LEVELS = np.empty((0, 0, 0), np.int16)


def _located(k: int, slices: tuple[int, int], error: DamagedError) -> DamagedError:
    """What is wrong with slab k."""
    return DamagedError(f"slab {k} (slices {slices[0]} to {slices[1] - 1}) is damaged: {error}")


def _size(coded: tuple[bytes, list[bytes]]) -> int:
    """Bytes of a header section and its payloads."""
    return len(coded[0]) + sum(map(len, coded[1]))


def _fit(
    source: Source, found: histogram_packing.Mapping, ranges: tuple[tuple[int, int], ...], stages: dict[int, linear.Weights],
    model: str, visits: float, threads: int, done: Done, device: str,
) -> bytes:  # fmt: skip
    """The differences of a model fitted to the volume, on that device; empty where it does not pay."""
    from ..learn import fine_tuning
    from ..learn import data

    voxels = math.prod(source.shape)
    step = max(1, voxels // FIT_VOXELS)
    slabs = [
        data.prepare(found.forward(source.slices(a, b)), models.RUNS[model], stages[k])
        for k, (a, b) in enumerate(ranges)
        if k % step == step // 2
    ]
    return fine_tuning.fit(models.CURRENT[model], slabs, voxels, visits, threads, done, device)


# ---------------------------------------------------------------------------------------------------------- decoding


class _Back:
    """The two ends of a slab's way back, under a header."""

    def __init__(self, header: bytes) -> None:
        self._header, self.layout = header, read_header(header)
        self._checksums: dict[int, bytes] = {}  # that payloads state

    def begin(self, k: int, payload: bytes) -> Opened | paper_slab.Opened:
        """What the walk begins with."""
        h, (first, past) = self.layout, self.layout.slabs[k]
        self._checksums[k] = payload[:DIGEST]
        reader, shape = Cursor(payload[DIGEST:], "what it holds"), (past - first, *h.shape[1:])
        if h.number in models.PUBLISHED:
            return paper_slab.Opened(shape, paper_slab.Reader(reader, h.mapping.limit), h.mapping.limit)
        fitted = linear.from_bytes(reader, past - first)
        layout = lay_out(shape, fitted)
        longest = max(hi - lo for _, lo, hi in layout.fronts)
        symbols = payload.Reader(models.tables(h.number), reader, h.mapping.limit, longest)
        return Opened(layout, symbols, h.mapping.limit, fitted)

    def end(self, k: int, opened: Opened | paper_slab.Opened, levels: np.ndarray) -> np.ndarray:
        """The voxels, if the payload states their checksum."""
        voxels = self.layout.mapping.backward(levels, self.layout.dtype)
        if _digest(self._header, k, voxels) != self._checksums.pop(k):
            raise DamagedError("its voxels do not have the checksum that it states")
        return voxels


def decode_slabs(
    header: bytes, payloads: Mapping[int, bytes], *, threads: int | None = None, device: str = "auto",
    progress: Progress | None = None, backend: str = "cpu",
) -> Generator[tuple[int, np.ndarray | DamagedError]]:  # fmt: skip
    """Decode the slabs given by number; yields (number, voxels [z, Y, X] of the header's dtype), or the error where a
    payload is damaged, in ascending order. No more slabs are in memory at a time than there are threads, and a payload
    is asked for when its turn comes, by whatever thread; a DamagedError is then the slab's."""
    back = _Back(header)
    h, numbers = back.layout, sorted(payloads)
    if numbers and not 0 <= numbers[0] <= numbers[-1] < len(h.slabs):
        raise DamagedError(f"the volume has {len(h.slabs)} slabs, and is given one of number {numbers[-1]}")
    voxels_of = {k: (h.slabs[k][1] - h.slabs[k][0]) * h.shape[1] * h.shape[2] for k in numbers}
    with Workers(threads, len(numbers)) as workers:
        engine = _engine(h.number, h.differences, device, backend, voxels_of, workers, workers.telling(progress))
        results = engine.restore(voxels_of, lambda k: back.begin(k, payloads[k]), back.end)
        for k in numbers:
            result = next(results)
            if isinstance(result, DamagedError):
                result = _located(k, h.slabs[k], result)
            yield k, result
            del result
