"""A small noisy phantom: the volume that the other examples compress."""

from __future__ import annotations

import numpy as np

AIR, WATER, BONE = -1000, 0, 700  # HU


def phantom(slices: int = 48, size: int = 64, seed: int = 0) -> np.ndarray:
    """Make a cylinder of water with two rods of bone, in air: int16 [slices, size, size] in HU.

    The rods lean, so neighbouring slices differ. The noise is smoothed within a slice, as the kernel of a CT does it.
    """
    z, y, x = np.indices((slices, size, size)) * 2.0
    centre = size - 1.0
    lean = 0.2 * (z - slices)

    def disc(dy: float | np.ndarray, dx: float | np.ndarray, radius: float) -> np.ndarray:
        return (y - centre - dy) ** 2 + (x - centre - dx) ** 2 < (radius * size) ** 2

    image = np.full(z.shape, AIR, np.float64)
    image[disc(0, 0, 0.9)] = WATER
    image[disc(0.3 * size, lean, 0.15) | disc(-0.3 * size, -lean, 0.2)] = BONE
    noise = np.random.default_rng(seed).normal(0, 30, image.shape)
    noise += np.roll(noise, 1, axis=1) + np.roll(noise, 1, axis=2)
    return np.rint(image + noise / np.sqrt(3)).clip(-1024, 3071).astype(np.int16)
