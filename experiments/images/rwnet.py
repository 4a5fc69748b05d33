"""RWNet, a residual wavelet network, by itself and behind adaptive non-local means (ANLM) and a truncated SVD.

ANLM and SVD change what the network is given, not what a decoder does. So such a system loses what they take away as
well, and its error is measured against the original and against what the network was given.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from volcomp.dtypes import Int32s, UInt8s

from . import synthesis
from .autoencoders import Stage
from .codec import PlanesCodec, Shapes
from .layers import Pair

_denoised: dict[bytes, UInt8s] = {}  # of this process, by digest: several systems take the same images


def denoised(image: UInt8s, strength: float) -> UInt8s:
    """Return an image after non-local means (Buades et al. 2005) whose h follows the noise that is estimated in it."""
    from skimage.restoration import denoise_nl_means, estimate_sigma

    key = hashlib.sha256(image.tobytes() + repr((image.shape, strength)).encode()).digest()
    if key not in _denoised:
        sigma = float(estimate_sigma(image.astype(np.float64)))
        smooth = denoise_nl_means(
            image.astype(np.float64), patch_size=5, patch_distance=5, h=max(strength * sigma, 1e-3), sigma=sigma,
            fast_mode=True, preserve_range=True,
        )  # fmt: skip
        _denoised[key] = smooth.round().clip(0, 255).astype(np.uint8)
    return _denoised[key]


def truncated(image: UInt8s, rank: int) -> UInt8s:
    """Return the nearest image of a rank, rounded to grey values."""
    u, s, v = np.linalg.svd(image.astype(np.float64), full_matrices=False)
    low: UInt8s = ((u[:, :rank] * s[:rank]) @ v[:rank]).round().clip(0, 255).astype(np.uint8)
    return low


class Rwnet(PlanesCodec):
    """RWNet at a step of its latents, after denoising of a strength and with a rank, where these are not 0."""

    multiple = 8

    def __init__(self, name: str, pair: Pair, path: Path, step: float, strength: float = 0.0, rank: int = 0) -> None:
        super().__init__(name)
        self._stage, self._strength, self._rank = Stage(pair, path, step), strength, rank
        self._thresholds = synthesis.thresholds()

    def given(self, image: UInt8s) -> UInt8s:
        """Return what the network is given of an image."""
        if self._strength:
            image = denoised(image, self._strength)
        return truncated(image, self._rank) if self._rank else image

    def analyse(self, image: UInt8s) -> list[Int32s]:
        return self._stage.latents(self.given(image) / synthesis.LEVELS)

    def shapes(self, rows: int, columns: int) -> Shapes:
        return self._stage.shapes(rows, columns)

    def synthesise(self, planes: Sequence[Int32s]) -> UInt8s:
        return synthesis.grey_of_sigmoid(self._stage.output(planes), self._thresholds)
