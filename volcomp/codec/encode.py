"""Encode a volume of voxels: one header, and one payload for every slab.

    voxels ─histogram packing─▶ grey levels ─pipeline─▶ payload

A volume is cut into slabs of about 32 slices that do not depend on each other: each can be decoded alone or in
parallel, and a damaged slab leaves the others intact. A slab is prepared, predicted and packed; the pipeline defines
these steps. An engine runs them on threads or on a GPU and gets the same bytes. `docs/format.md` specifies them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import numpy as np

from .. import models
from ..constants import EFFORT
from ..container.sections import PREVIEW, SERIES_VERSION, SLAB, SectionId, Writer
from ..container.volume import (
    SLAB_VOXELS,
    SLABS,
    SLICE_VOXELS,
    Times,
    Volume,
    VolumeHeader,
    read_header,
    slab_checksum,
    slab_ranges,
    write_header,
    write_volume_header,
)
from ..encoder.relation import FEWEST, are_unrelated
from ..errors import DamagedError, UnsupportedError
from ..models import Model
from ..options import ENCODING, EncodeOptions
from ..pipelines.protocol import Done, Levels
from ..pipelines.registry import PIPELINES, Ready, SomeChoice, SomeInput, SomePredictions, ready
from ..stages import histogram_packing
from .decode import Key, Opener, Progress, Slab, decode_slabs, refer
from .engines import Decoded, EngineChoice, Workers, by_device, referring
from .layer import Layer, pays

if TYPE_CHECKING:
    from ..stages import linear
    from ..stages.lstm.weights import LstmWeights

# Slices of a slab, as a target: up to half more if the volume then is one slab, since the first slice of a slab costs a
# sixth more than the others. The highest effort takes taller slabs.
SLAB_HEIGHT, TALL_SLAB_HEIGHT = 32, 64
# How often fine-tuning visits each voxel, by effort.
VISITS = {6: 0.25, 7: 0.5, 8: 1.0, 9: 2.0}
TUNING_VOXELS = 1 << 25  # of a larger volume that fine-tuning learns from, as slabs spread over it; 8 bytes each


class VoxelSource(Protocol):
    """A volume [Z, Y, X] of u1, i1, u2 or i2 (little-endian) that an encoder reads slab by slab, so that it need not be
    in memory as a whole: an array here, a series of files in `archive.stack`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Z, Y, X."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Type of the voxels."""
        ...

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the voxels, little-endian in C order."""
        ...

    def histogram(self) -> tuple[int, np.ndarray]:
        """Count all values that occur; see `histogram_packing.histogram`."""
        ...

    def slices(self, first: int, end: int) -> np.ndarray:
        """Read the slices `first` … `end` - 1 [z, Y, X]. Several threads may call this at once."""
        ...


class ArraySource:
    """The `VoxelSource` of an array [Z, Y, X] in C order."""

    def __init__(self, voxels: np.ndarray) -> None:
        depth, height, width = voxels.shape
        self._voxels = voxels
        self.shape, self.dtype = (depth, height, width), voxels.dtype

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the voxels in C order."""
        return hashlib.sha256(self._voxels.data).digest()

    def histogram(self) -> tuple[int, np.ndarray]:
        """Count all values that occur; see `histogram_packing.histogram`."""
        return histogram_packing.histogram(self._voxels)

    def slices(self, first: int, end: int) -> np.ndarray:
        """Return slices as a view."""
        return self._voxels[first:end]


class Encoded(NamedTuple):
    """An encoded slab: its payload, and the voxels [z, Y, X] decoded from the payload if slabs are verified."""

    payload: bytes
    voxels: np.ndarray | None


def progress_of(voxels: int, effort: int) -> int:
    """Return how many voxels `encode_slabs` reports in total as progress on a volume, verification aside."""
    if effort <= EFFORT:
        return voxels
    from ..learn import fine_tuning

    return 2 * voxels + fine_tuning.visits(voxels, VISITS[effort])


def write_volume(
    writer: Writer,
    number: int,
    source: VoxelSource,
    options: EncodeOptions,
    *,
    two_dimensional: bool = False,
    progress: Progress | None = None,
    key: tuple[int, VoxelSource] | None = None,
    time_point: bool = False,
    times: Times | None = None,
    loose: bool = False,
) -> tuple[Volume, Generator[Slab]]:
    """Append the header section, and prepare to append the slabs.

    `key` has the number and the voxels of another volume of the file, of the same shape, that does not refer to one
    itself; the slabs of this volume then refer to it where that pays. It may be written before or after. `time_point`
    marks the volumes of a 4-D array, `times` the volume, or the first of the volumes, of a series of files. `loose`
    says that slices may be pictures of different things, and that no other volume has to have the same slabs: slices
    that do not predict each other then are a slab each.

    Returns the volume as a reader sees it, and an iterator that encodes and appends slab after slab. If slabs are
    verified, it yields (number, voxels) for each, as decoded from the payload, and raises DamagedError for a payload
    that cannot be decoded. Else it yields nothing.
    """
    number_of_key, reference = key or (None, None)
    layer = None if reference else _layer(source, options)
    section, slabs = encode_slabs(source, options, progress=progress, reference=layer or reference, loose=loose)
    layout = read_header(section, {**models.RELEASED, options.record.number: options.record})
    layered = layer is not None
    volume = Volume(number, section, layout, source.sha256, two_dimensional, number_of_key, time_point, times, layered)
    if layer:
        writer.need(SERIES_VERSION)
        for k, (first, end) in enumerate(layout.slabs):
            writer.add(SectionId(PREVIEW, number, k), layer.payload(first, end))
    write_volume_header(writer, volume)
    return volume, _write_slabs(writer, volume, slabs)


def _layer(source: VoxelSource, options: EncodeOptions) -> Layer | None:
    """Encode the lossy layer of a volume; None where none is asked for, or slices are too small to show anything."""
    if not (options.preview and pays(source.shape, source.dtype.itemsize, options.preview)):
        return None
    if not PIPELINES[options.record.pipeline].refers:
        raise UnsupportedError(f"model {options.record.choice} has no previews; take another one")
    return Layer(source, options.preview, options.threads)


def _write_slabs(writer: Writer, volume: Volume, slabs: Generator[Encoded]) -> Generator[Slab]:
    with closing(slabs):  # so that the threads stop at once, however this ends
        for k in range(len(volume.layout.slabs)):
            payload, voxels = next(slabs)
            writer.add(SectionId(SLAB, volume.number, k), payload)
            del payload  # which would else stay in memory until the next one arrives, as would the voxels
            if voxels is not None:
                yield k, voxels
            del voxels


def encode(
    voxels: np.ndarray, options: EncodeOptions = ENCODING, *, progress: Progress | None = None,
    engine: EngineChoice = by_device,
) -> tuple[bytes, list[bytes]]:  # fmt: skip
    """Encode an array [Z, Y, X] in C order, unverified. Returns the header and all payloads; see `encode_slabs`."""
    options = replace(options, verify=False)
    header, slabs = encode_slabs(ArraySource(voxels), options, progress=progress, engine=engine)
    with closing(slabs):
        return header, [slab.payload for slab in slabs]


def encode_slabs(
    source: VoxelSource, options: EncodeOptions = ENCODING, *, progress: Progress | None = None,
    engine: EngineChoice = by_device, reference: VoxelSource | None = None, loose: bool = False,
) -> tuple[bytes, Generator[Encoded]]:  # fmt: skip
    """Encode a volume. Returns its header, and an iterator over the slabs in ascending order.

    A slab is read when its turn comes. At most as many slabs are in memory at a time as there are threads.

    Up to effort 5, the result depends only on voxels, model and effort, not on threads, device or machine. Above 5, the
    model is fine-tuned to the volume in floating point, so two machines may write different files, which decode to the
    same voxels; and all slabs are encoded before the iterator yields the first.

    progress   called with the number of voxels done since the last call: `progress_of(…)` in total, plus all voxels
               once more if slabs are verified
    engine     chooses whether the CPU or a GPU does the work
    reference  a volume of the same shape that slabs may refer to, where that pays
    loose      whether slices that do not predict each other become a slab each

    Raises UnsupportedError for a shape that no file may have. The iterator raises DamagedError for a payload that
    cannot be decoded.
    """
    model = options.record
    depth, height, width = source.shape
    if not 0 < height * width <= SLICE_VOXELS or not depth:
        raise UnsupportedError(f"a volume of {depth} × {height} × {width} voxels has no slices of 1 to 2^27 voxels")
    count = _slab_count(depth, depth * height * width, options.effort)
    if loose and count < depth <= SLABS and are_unrelated(source):
        count = depth
    if count == depth and height * width >= FEWEST:  # no slice has one before it
        model = model.for_slices
    over = model.over_preview if isinstance(reference, Layer) else model
    encoder = _Encoder(source, over, options, engine, count, reference)
    if options.effort <= EFFORT:
        return write_header(encoder.header), encoder.slabs(ready(over), progress)
    coded = _Encoder(source, model, options, engine, count).fine_tuned(ready(model), progress)
    if reference is not None:  # either: what is fine-tuned refers to nothing
        coded = min(coded, encoder.released(ready(over)), key=_size)
    header, payloads = coded
    if not options.verify:
        return header, (Encoded(payload, None) for payload in payloads)
    # Two results are encoded and one is kept, so verification waits until it is known which. Below, an engine decodes
    # each payload while its thread still has the slab at hand.
    decoded = decode_slabs(
        header, dict(enumerate(payloads)), options.decoding, progress=progress, engine=engine, trial=model,
        key=encoder.key,
    )  # fmt: skip
    return header, _beside(payloads, decoded)


def _beside(payloads: list[bytes], decoded: Generator[Slab]) -> Generator[Encoded]:
    with closing(decoded):
        for payload in payloads:
            _, voxels = next(decoded)
            if isinstance(voxels, DamagedError):
                raise voxels
            yield Encoded(payload, voxels)
            del voxels  # which would else stay in memory until the next ones arrive


def _slab_count(depth: int, voxels: int, effort: int) -> int:
    height = SLAB_HEIGHT if effort < 9 else TALL_SLAB_HEIGHT
    count = 1 if 2 * depth <= 3 * height else -(-depth // height)
    return max(count, min(depth, -(-voxels // SLAB_VOXELS)))


class _Encoder:
    """Encodes one volume: holds what all its slabs share."""

    def __init__(
        self, source: VoxelSource, model: Model, options: EncodeOptions, engine: EngineChoice, count: int,
        reference: VoxelSource | None = None,
    ) -> None:  # fmt: skip
        self._source, self._options, self._reference = source, options, reference
        self._engine = engine if reference is None else referring(engine)
        self._packing = histogram_packing.of_histogram(*source.histogram())
        ranges = slab_ranges(source.shape[0], count)
        self.header = VolumeHeader(source.shape, source.dtype, model, ranges, self._packing.runs)
        self._sizes = {k: self.header.voxels_of(k) for k in range(len(ranges))}
        self._choices: dict[int, SomeChoice] = {}  # for the slabs, made the first time that each is encoded

    @property
    def key(self) -> Key | None:
        """The slabs that those of this volume may refer to."""
        reference, ranges = self._reference, self.header.slabs
        return None if reference is None else lambda k: reference.slices(*ranges[k])

    def slabs(self, made: Ready, progress: Progress | None) -> Generator[Encoded]:
        """Encode with the released model, and yield each slab as soon as it is ready."""
        ranges = self.header.slabs
        with Workers(self._options.threads, len(ranges)) as workers:
            coded = self._coded(made, self.header, workers, workers.reporting(progress), self._options.verify)
            for k in range(len(ranges)):
                payload, voxels = next(coded)
                if isinstance(voxels, DamagedError):
                    raise self.header.located(k, voxels)
                yield Encoded(payload, voxels)
                del payload, voxels  # which would else stay in memory until the next ones arrive

    def released(self, made: Ready) -> tuple[bytes, list[bytes]]:
        """Return header and payloads with the released model, and report no progress."""
        with Workers(self._options.threads, len(self.header.slabs)) as workers:
            coded = self._coded(made, self.header, workers, workers.reporting(None), False)
            return write_header(self.header), [payload for payload, _ in coded]

    def fine_tuned(self, made: Ready, progress: Progress | None) -> tuple[bytes, list[bytes]]:
        """Return header and payloads with the fine-tuned or with the released model, whichever are smaller."""
        from ..learn import fine_tuning

        header, effort = self.header, self._options.effort

        def coded(made: Ready, header: VolumeHeader) -> tuple[bytes, list[bytes]]:
            return write_header(header), [one for one, _ in self._coded(made, header, workers, done, False)]

        with Workers(self._options.threads, len(header.slabs)) as workers:
            done = workers.reporting(progress)
            best = coded(made, header)
            step = max(1, header.voxels // TUNING_VOXELS)
            samples = (
                (self._packing.forward(self._source.slices(a, b)), self._choices[k])
                for k, (a, b) in enumerate(header.slabs)
                if k % step == step // 2
            )
            device = self._engine(made, self._options.device, self._sizes, workers, done).device
            # Those models that are tunable have these weights and choices.
            released, stages = (
                cast("LstmWeights", made.weights),
                cast("Iterable[tuple[Levels, linear.LinearWeights]]", samples),
            )
            delta = fine_tuning.fine_tune(
                released, stages, header.voxels, VISITS[effort], workers.threads, done, device
            )
            if delta:
                changed = ready(header.model, delta)
                return min(best, coded(changed, replace(header, weight_delta=delta)), key=_size)
            done(header.voxels)
        return best

    def _coded(
        self, made: Ready, header: VolumeHeader, workers: Workers, done: Done,
        verify: bool,
    ) -> Iterator[tuple[bytes, Decoded | None]]:  # fmt: skip
        """Encode all slabs with the model of a header. Yields each payload, and its decoded voxels if `verify`."""
        section, packing, coder, key = write_header(header), self._packing, made.coder, self.key
        engine = self._engine(made, self._options.device, self._sizes, workers, done)
        open_slabs: dict[int, tuple[bytes, SomeInput]] = {}  # checksum, and input of `pack`, of each

        def begin(k: int) -> SomeInput:
            voxels = self._source.slices(*header.slabs[k])
            stated = slab_checksum(section, k, voxels)
            levels: Levels = packing.forward(voxels, histogram_packing.level_type(packing.limit))
            del voxels  # which take as much memory as the levels
            reference = None if key is None else refer(packing, key, k, levels.shape)
            if k not in self._choices:
                self._choices[k] = coder.choose(levels, packing.limit, self._options.effort, engine.fit, reference)
            slab = coder.take(levels, packing.limit, self._choices[k], reference)
            open_slabs[k] = stated, coder.without_levels(slab)
            return slab

        def end(k: int, predictions: SomePredictions) -> bytes:
            stated, slab = open_slabs.pop(k)
            return stated + coder.pack(slab, predictions)

        return engine.encode(self._sizes, begin, end, Opener(section, header, made, key) if verify else None)


def _size(coded: tuple[bytes, list[bytes]]) -> int:
    """Return the bytes of a header and its payloads."""
    return len(coded[0]) + sum(map(len, coded[1]))
