"""Encode a volume of voxels: one header, and one payload for every slab.

    voxels ─histogram packing─▶ grey levels ─pipeline─▶ payload

A volume is cut into slabs of about 32 slices that do not depend on each other: each can be decoded alone or in
parallel, and a damaged slab leaves the others intact. A slab is prepared, predicted and packed; the pipeline defines
these steps. An engine runs them on threads or on a GPU and gets the same bytes. `docs/format.md` specifies them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any, Generic, NamedTuple

import numpy as np

from .. import models
from ..constants import EFFORT
from ..container.header import SLAB_VOXELS, SLICE_VOXELS, VolumeHeader, slab_ranges, write_header
from ..errors import DamagedError, UnsupportedError
from ..models import Model
from ..options import ENCODING, EncodeOptions
from ..pipelines.protocol import Choice, Done, Input, Levels, Predictions, Stream
from ..pipelines.registry import PIPELINES
from ..stages import histogram_packing
from .decode import Opener, Progress, decode_slabs, located, slab_checksum
from .engines import Decoded, Engine, Workers
from .place import Place, by_device
from .ready import Ready, ready
from .source import Held, Source

# Slices of a slab, as a target: up to half more if the volume then is one slab, since the first slice of a slab costs a
# sixth more than the others. The highest effort takes taller slabs.
SLAB_HEIGHT, TALL_SLAB_HEIGHT = 32, 64
# How often fine-tuning visits each voxel, by effort.
VISITS = {6: 0.25, 7: 0.5, 8: 1.0, 9: 2.0}
TUNING_VOXELS = 1 << 25  # of a larger volume that fine-tuning learns from, as slabs spread over it; 8 bytes each


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


def check_options(options: EncodeOptions) -> Model:
    """Return the model of the options. Raises UnsupportedError for options that cannot be followed."""
    model = options.model if isinstance(options.model, Model) else models.chosen(options.model)
    effort = options.effort
    if effort not in range(1, 10):
        raise UnsupportedError(
            f"effort {effort} is not known; take 1 (fastest) to 9 (smallest), {EFFORT} is the default"
        )
    if effort > EFFORT and not PIPELINES[model.pipeline].is_fine_tuned:
        raise UnsupportedError(
            f"model {model.choice or model.name} cannot be fitted to a volume: take an effort of 1 to 5"
        )
    if effort > EFFORT and not importlib.util.find_spec("torch"):
        raise UnsupportedError(
            f"effort {effort} fits the model to the volume, which needs torch: install volcomp[fit], or take {EFFORT}"
        )
    return model


def encode(
    voxels: np.ndarray, options: EncodeOptions = ENCODING, *, progress: Progress | None = None,
    place: Place = by_device,
) -> tuple[bytes, list[bytes]]:  # fmt: skip
    """Encode an array [Z, Y, X] in C order, unverified. Returns the header and all payloads; see `encode_slabs`."""
    header, slabs = encode_slabs(Held(voxels), options, progress=progress, verify=False, place=place)
    with closing(slabs):
        return header, [slab.payload for slab in slabs]


def encode_slabs(
    source: Source, options: EncodeOptions = ENCODING, *, progress: Progress | None = None,
    verify: bool | None = None, place: Place = by_device,
) -> tuple[bytes, Generator[Encoded]]:  # fmt: skip
    """Encode a volume. Returns its header, and an iterator over the slabs in ascending order.

    A slab is read when its turn comes. At most as many slabs are in memory at a time as there are threads.

    Up to effort 5, the result depends only on voxels, model and effort, not on threads, device or machine. Above 5, the
    model is fine-tuned to the volume in floating point, so two machines may write different files, which decode to the
    same voxels; and all slabs are encoded before the iterator yields the first.

    progress   called with the number of voxels done since the last call: `progress_of(…)` in total, plus all voxels
               once more if slabs are verified
    verify     overrides `options.verify`
    place      decides whether the CPU or a GPU does the work

    Raises UnsupportedError for options that cannot be followed. The iterator raises DamagedError for a payload that
    cannot be decoded.
    """
    model = check_options(options)
    depth, height, width = source.shape
    if not 0 < height * width <= SLICE_VOXELS or not depth:
        raise UnsupportedError(f"a volume of {depth} × {height} × {width} voxels has no slices of 1 to 2^27 voxels")
    verify = options.verify if verify is None else verify
    encoder: _Encoder[Any, Any, Any, Any] = _Encoder(source, model, options, place)
    if options.effort <= EFFORT:
        return write_header(encoder.header), encoder.slabs(ready(model), progress, verify)
    header, payloads = encoder.fine_tuned(ready(model), progress)
    if not verify:
        return header, (Encoded(payload, None) for payload in payloads)
    decoded = decode_slabs(
        header, dict(enumerate(payloads)), options.decoding, progress=progress, place=place, trial=model
    )
    return header, _beside(payloads, decoded)


def _beside(payloads: list[bytes], decoded: Generator[tuple[int, Decoded]]) -> Generator[Encoded]:
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


class _Encoder(Generic[Choice, Input, Predictions, Stream]):
    """Encodes one volume: holds what all its slabs share."""

    def __init__(self, source: Source, model: Model, options: EncodeOptions, place: Place) -> None:
        self._source, self._options, self._place = source, options, place
        self._packing = histogram_packing.of_histogram(*source.histogram())
        depth, height, width = source.shape
        ranges = slab_ranges(depth, _slab_count(depth, depth * height * width, options.effort))
        self.header = VolumeHeader(source.shape, source.dtype, model, ranges, self._packing.runs)
        self._sizes = {k: self.header.voxels_of(k) for k in range(len(ranges))}
        self._choices: dict[int, Choice] = {}  # for the slabs, made the first time that each is encoded

    def slabs(
        self, made: Ready[Choice, Input, Predictions, Stream], progress: Progress | None, verify: bool
    ) -> Generator[Encoded]:
        """Encode with the released model, and yield each slab as soon as it is ready."""
        ranges = self.header.slabs
        with Workers(self._options.threads, len(ranges)) as workers:
            coded = self._coded(made, self.header, workers, workers.reporting(progress), verify)
            for k, slices in enumerate(ranges):
                payload, voxels = next(coded)
                if isinstance(voxels, DamagedError):
                    raise located(k, slices, voxels)
                yield Encoded(payload, voxels)
                del payload, voxels  # which would else stay in memory until the next ones arrive

    def fine_tuned(
        self, made: Ready[Choice, Input, Predictions, Stream], progress: Progress | None
    ) -> tuple[bytes, list[bytes]]:
        """Return header and payloads with the fine-tuned or with the released model, whichever are smaller."""
        from ..learn import fine_tuning

        header, effort = self.header, self._options.effort

        def coded(made: Ready[Choice, Input, Predictions, Stream], header: VolumeHeader) -> tuple[bytes, list[bytes]]:
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
            device = self._place(made, b"", self._options.device, self._sizes).device
            delta = fine_tuning.fine_tune(
                made.weights, samples, header.voxels, VISITS[effort], workers.threads, done, device
            )
            if delta:
                changed = ready(header.model, delta)
                return min(best, coded(changed, replace(header, weight_delta=delta)), key=_size)
            done(header.voxels)
        return best

    def _coded(
        self, made: Ready[Choice, Input, Predictions, Stream], header: VolumeHeader, workers: Workers, done: Done,
        verify: bool,
    ) -> Iterator[tuple[bytes, Decoded | None]]:  # fmt: skip
        """Encode all slabs with the model of a header. Yields each payload, and its decoded voxels if `verify`."""
        section, packing, coder = write_header(header), self._packing, made.coder
        placement = self._place(made, header.weight_delta, self._options.device, self._sizes)
        engine: Engine[Input, Predictions, Stream] = placement.engine(workers, done)
        open_slabs: dict[int, tuple[bytes, Input]] = {}  # checksum, and input of `pack`, of each

        def begin(k: int) -> Input:
            voxels = self._source.slices(*header.slabs[k])
            stated = slab_checksum(section, k, voxels)
            levels: Levels = packing.forward(voxels, histogram_packing.level_type(packing.limit))
            del voxels  # which take as much memory as the levels
            if k not in self._choices:
                self._choices[k] = coder.choose(levels, packing.limit, self._options.effort, engine.fit)
            slab = coder.take(levels, packing.limit, self._choices[k])
            open_slabs[k] = stated, coder.without_levels(slab)
            return slab

        def end(k: int, predictions: Predictions) -> bytes:
            stated, slab = open_slabs.pop(k)
            return stated + coder.pack(slab, predictions)

        return engine.encode(self._sizes, begin, end, Opener(section, header, made) if verify else None)


def _size(coded: tuple[bytes, list[bytes]]) -> int:
    """Return the bytes of a header and its payloads."""
    return len(coded[0]) + sum(map(len, coded[1]))
