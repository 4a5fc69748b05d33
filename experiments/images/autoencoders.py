"""The published autoencoders: latents of a network, quantised and coded; an image from a network in integers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from volcomp.dtypes import Float64s, Int32s, UInt8s
from volcomp.errors import UnsupportedError

from . import synthesis
from .codec import PlanesCodec, Shapes
from .layers import Pair
from .networks import load, weights_of


class Stage:
    """One trained autoencoder, at a step of its latents."""

    def __init__(self, pair: Pair, path: Path, step: float) -> None:
        self.pair = pair
        self.step = max(1, round(step * (1 << synthesis.ACTIVATION)))
        self._encoder = load(pair.encoder, weights_of(path, "encoder"))
        self._decoder = synthesis.Network(pair.decoder, weights_of(path, "decoder"))

    def latents(self, image: Float64s) -> list[Int32s]:
        """Return the quantised latents of an image of values in 0 … 1: planes, of one value for a vector."""
        with torch.no_grad():
            found = self._encoder(torch.from_numpy(image).float()[None, None])[0].double().numpy()
        scaled = np.rint(found * ((1 << synthesis.ACTIVATION) / self.step)).astype(np.int32)
        return list(scaled.reshape(self.pair.latents, 1, 1) if scaled.ndim == 1 else scaled)

    def shapes(self, rows: int, columns: int) -> Shapes:
        """Return the shapes of these planes."""
        scale = self.pair.scale
        return [(rows // scale, columns // scale) if scale else (1, 1)] * self.pair.latents

    def output(self, planes: Sequence[Int32s]) -> Float64s:
        """Return what the decoder makes of quantised latents: numbers [y, x] of `synthesis`."""
        stacked = np.stack(planes).astype(np.int64)
        return self._decoder(synthesis.fixed(stacked if self.pair.scale else stacked.ravel(), self.step))[0]


class Autoencoder(PlanesCodec):
    """A system of one network."""

    def __init__(self, name: str, pair: Pair, path: Path, step: float, side: int) -> None:
        """Take the weights at `path`; `side` is that of the images, where the latents are one vector."""
        super().__init__(name)
        self.stage = Stage(pair, path, step)
        self.multiple = pair.scale or 1
        self._side = side

    def analyse(self, image: UInt8s) -> list[Int32s]:
        return self.stage.latents(image / synthesis.LEVELS)

    def shapes(self, rows: int, columns: int) -> Shapes:
        _check(self.stage.pair, rows, columns, self._side)
        return self.stage.shapes(rows, columns)

    def synthesise(self, planes: Sequence[Int32s]) -> UInt8s:
        return synthesis.grey(self.stage.output(planes))


class TwoStages(PlanesCodec):
    """A second network codes what the first one leaves, both with latents of their own."""

    def __init__(self, name: str, pairs: tuple[Pair, Pair], paths: tuple[Path, Path], step: float, side: int) -> None:
        super().__init__(name)
        self._first, self._second = (Stage(pair, path, step) for pair, path in zip(pairs, paths, strict=True))
        self._side = side

    def analyse(self, image: UInt8s) -> list[Int32s]:
        first = self._first.latents(image / synthesis.LEVELS)
        given = self._first.output(first) / (1 << synthesis.ACTIVATION)
        return [*first, *self._second.latents(image / synthesis.LEVELS - given.clip(0, 1))]

    def shapes(self, rows: int, columns: int) -> Shapes:
        _check(self._first.pair, rows, columns, self._side)
        return [*self._first.shapes(rows, columns), *self._second.shapes(rows, columns)]

    def synthesise(self, planes: Sequence[Int32s]) -> UInt8s:
        count = self._first.pair.latents
        given = self._first.output(planes[:count]).clip(0, 1 << synthesis.ACTIVATION)
        return synthesis.grey(given + self._second.output(planes[count:]))


def _check(pair: Pair, rows: int, columns: int, side: int) -> None:
    if not pair.scale and (rows, columns) != (side, side):
        raise UnsupportedError(f"this network takes {side}×{side} pixels, not {rows}×{columns}")
