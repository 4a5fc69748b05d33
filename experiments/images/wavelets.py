"""Discrete wavelet transforms: Haar's, and the biorthogonal 4.4 (CDF 9/7), which JPEG 2000 has.

PyWavelets transforms an image. The synthesis is by integer matrices, which hold PyWavelets' own synthesis rounded.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from volcomp.dtypes import Float64s, Int32s, UInt8s

from . import quantisation
from .codec import PlanesCodec, Shapes
from .quantisation import FRACTION

MODE = "periodization"  # as many coefficients as pixels; the image goes on at its other side
TAPS = 14  # bits behind the point of a synthesis matrix
LEVELS = 5
DEADZONE = 0.15
MIDDLE = 128  # is taken away from all pixels


@cache
def synthesis_matrix(wavelet: str, side: int) -> Float64s:
    """Return the integers, float64 [side, side], that make a line of a side from its low and its high band."""
    import pywt

    bands = np.eye(side)
    half = side // 2
    lines = pywt.idwt(bands[:, :half], bands[:, half:], wavelet, MODE, axis=1)
    return np.ascontiguousarray((lines.T * (1 << TAPS)).round())


class Wavelet(PlanesCodec):
    """A wavelet transform of five levels, at a step."""

    multiple = 1 << LEVELS

    def __init__(self, name: str, wavelet: str, step: float) -> None:
        """Take one of PyWavelets' wavelets."""
        super().__init__(name)
        self._wavelet, self._step = wavelet, step

    def analyse(self, image: UInt8s) -> list[Int32s]:
        import pywt

        low = image.astype(np.float64) - MIDDLE
        planes: list[Float64s] = []
        for _ in range(LEVELS):
            low, others = pywt.dwt2(low, self._wavelet, MODE)
            planes = [*others, *planes]
        planes = [low, *planes]
        return [quantisation.quantised(p, self._step, DEADZONE if k else 0.0) for k, p in enumerate(planes)]

    def shapes(self, rows: int, columns: int) -> Shapes:
        levels = [(rows >> k, columns >> k) for k in range(LEVELS, 0, -1)]
        return [levels[0], *(shape for shape in levels for _ in range(3))]

    def synthesise(self, planes: Sequence[Int32s]) -> UInt8s:
        low = quantisation.numbers(planes[0], self._step)
        for k in range(1, len(planes), 3):
            h, v, d = (quantisation.numbers(plane, self._step) for plane in planes[k : k + 3])
            rows, columns = 2 * low.shape[0], 2 * low.shape[1]
            down, across = synthesis_matrix(self._wavelet, rows), synthesis_matrix(self._wavelet, columns)
            bands = np.block([[low, v], [h, d]])
            low = quantisation.shifted(down @ quantisation.shifted(bands @ across.T, TAPS), TAPS)
        return (quantisation.shifted(low, FRACTION) + MIDDLE).clip(0, 255).astype(np.uint8)
