"""Whole `.vcz` files with models that were never released: what a fold-trained model is measured by."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import numpy as np

from benchmarks.rivals import Codec
from volcomp import arrays, models
from volcomp.codec import loop
from volcomp.codec.source import Held
from volcomp.codec.volumes import write_volume
from volcomp.container.sections import Writer
from volcomp.pipelines.paper import weights as published
from volcomp.stages.lstm.weights import Weights

NUMBER = 127  # no released model will ever have it: from 128 on numbers stand for fitted ones


@dataclass(frozen=True)
class Measured:
    """A whole file: its bytes, and the seconds that it took each way."""

    size: int
    encode_s: float
    decode_s: float


class NotLossless(Exception):
    """A codec gave back something else than it was given."""


@contextmanager
def trial(weights: Weights | published.Weights) -> Iterator[str]:
    """A name by which the codec knows these weights in the meantime; one at a time in a process."""
    name = "trial"
    models.TRIALS[NUMBER], models.RELEASED[NUMBER], models.CURRENT[name] = weights, name, NUMBER
    models.chosen(name).search.runs, models.WORTHWHILE[name] = (
        models.chosen("base").search.runs,
        models.WORTHWHILE["base"],
    )
    if isinstance(weights, published.Weights):
        models.PUBLISHED.add(NUMBER)
    try:
        yield name
    finally:
        models.PUBLISHED.discard(NUMBER)
        del models.TRIALS[NUMBER], models.RELEASED[NUMBER], models.CURRENT[name]
        del models.chosen(name).search.runs, models.WORTHWHILE[name]
        loop.forget_models()


def encoded(voxels: np.ndarray, model: str, threads: int) -> bytes:
    """A whole file with a model of any name, on trial or released."""
    file = io.BytesIO()
    writer = Writer(file)
    plain = np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("<"))
    _, slabs = write_volume(writer, 0, Held(plain), model=model, threads=threads, device="cpu")
    with closing(slabs):
        for _ in slabs:  # each is written when it is asked for
            pass
    writer.finish()
    return file.getvalue()


def payload_bits(voxels: np.ndarray, model: str, threads: int) -> float:
    """Bits per voxel of header and slabs, without the container; nothing is decoded."""
    header, slabs = loop.encode(voxels, model=model, threads=threads)
    return 8 * (len(header) + sum(map(len, slabs))) / voxels.size


def measured(voxels: np.ndarray, model: str, threads: int) -> Measured:
    """Encode, decode, compare."""
    begin = time.perf_counter()
    data = encoded(voxels, model, threads)
    middle = time.perf_counter()
    back = arrays.decompress(data, threads=threads)
    end = time.perf_counter()
    if not np.array_equal(back, voxels):
        raise NotLossless(f"{model} does not give back the voxels of {voxels.shape}")
    return Measured(len(data), middle - begin, end - middle)


def timed_codec(codec: Codec, volume: np.ndarray, threads: int) -> Measured:
    """The same for a rival: a volume uint16 [Z, Y, X] from 0 on."""
    begin = time.perf_counter()
    streams = loop.encode(volume, threads)
    middle = time.perf_counter()
    back = loop.decode(streams, volume.shape, threads)
    end = time.perf_counter()
    if not np.array_equal(back, volume):
        by = " and ".join(loop.versions)
        raise NotLossless(f"{by}: {loop.name} does not give back the voxels of {volume.shape}")
    return Measured(sum(map(len, streams)), middle - begin, end - middle)
