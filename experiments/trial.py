"""Whole `.vcz` files with models that were never released: what a fold-trained model is measured by."""

from __future__ import annotations

import io
import time
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from benchmarks.rivals import Codec
from benchmarks.trial import decompress
from volcomp import models
from volcomp.codec.encode import ArraySource, encode, write_volume
from volcomp.container.sections import Writer
from volcomp.models import Model
from volcomp.options import DecodeOptions, EncodeOptions
from volcomp.pipelines.paper import weights as published
from volcomp.stages.lstm.weights import LstmWeights


@dataclass(frozen=True)
class Measured:
    """A whole file: its bytes, and the seconds that it took each way."""

    size: int
    encode_s: float
    decode_s: float


class NotLossless(Exception):
    """A codec gave back something else than it was given."""


def trial(weights: LstmWeights | published.PaperWeights, like: str = "base") -> Model:
    """A model of these weights; where they are of a row model, an encoder searches for it as for the one of that
    name."""
    choice = "paper" if isinstance(weights, published.PaperWeights) else like
    return models.chosen(choice).trial(weights, weights.digest())


def encoded(voxels: np.ndarray, model: str | Model, threads: int) -> bytes:
    """A whole file with a model on trial, or a released one."""
    file = io.BytesIO()
    writer = Writer(file)
    plain = np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("<"))
    options = EncodeOptions(model, verify=False, threads=threads, device="cpu")
    _, slabs = write_volume(writer, 0, ArraySource(plain), options)
    with closing(slabs):
        for _ in slabs:  # each is written when it is asked for
            pass
    writer.finish()
    return file.getvalue()


def payload_bits(voxels: np.ndarray, model: str | Model, threads: int) -> float:
    """Bits per voxel of header and slabs, without the container; nothing is decoded."""
    header, slabs = encode(voxels, EncodeOptions(model, threads=threads))
    return 8 * (len(header) + sum(map(len, slabs))) / voxels.size


def measured(voxels: np.ndarray, model: Model, threads: int) -> Measured:
    """Encode, decode, compare."""
    begin = time.perf_counter()
    data = encoded(voxels, model, threads)
    middle = time.perf_counter()
    back = decompress(data, model, DecodeOptions(threads))
    end = time.perf_counter()
    if not np.array_equal(back, voxels):
        raise NotLossless(f"{model.name} does not give back the voxels of {voxels.shape}")
    return Measured(len(data), middle - begin, end - middle)


def timed_codec(codec: Codec, volume: np.ndarray, threads: int) -> Measured:
    """The same for a rival: a volume uint16 [Z, Y, X] from 0 on."""
    begin = time.perf_counter()
    streams = codec.encode(volume, threads)
    middle = time.perf_counter()
    back = codec.decode(streams, volume.shape, threads)
    end = time.perf_counter()
    if not np.array_equal(back, volume):
        by = " and ".join(codec.versions)
        raise NotLossless(f"{by}: {codec.name} does not give back the voxels of {volume.shape}")
    return Measured(sum(map(len, streams)), middle - begin, end - middle)
