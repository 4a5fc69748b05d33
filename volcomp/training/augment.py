"""Augmentation: variations of volumes as another scanner, matrix, kernel or orientation might have produced them.

Grey levels stay integers, and each variation goes through the codec's linear stage like a real series. What limits a
network is the number of kinds of noise that it has seen, not the number of voxels.
"""

from __future__ import annotations

import numpy as np

SLICES = 40  # of a variation, at most


def turned(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Mirror and transpose at random, so that the result always differs: another orientation of the anatomy."""
    out = volume
    while out is volume:
        if random.random() < 0.5:
            out = out.transpose(0, 2, 1)
        for axis in range(3):
            if random.random() < 0.5:
                out = np.flip(out, axis)
    return out


def thinned(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Keep every second slice: a larger distance of slices."""
    return turned(volume[::2], random) if len(volume) >= 16 else turned(volume, random)


def halved(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Keep every second pixel along both axes: noise that correlates less."""
    return turned(volume[:, ::2, ::2], random) if min(volume.shape[1:]) >= 192 else turned(volume, random)


def requantised(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Change the rescale slope by a factor of 1/3 to 3, and round: finer or coarser grey levels."""
    slope = 3 ** random.uniform(-1, 1)
    real = turned(volume, random).astype(np.float64)
    noise = random.uniform(-0.5, 0.5, real.shape) if slope > 1 else 0.0  # else the levels in between would stay empty
    return np.rint((real + noise) * slope).astype(np.int32)


def _filtered(volume: np.ndarray, response: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft2(volume.astype(np.float32), axes=(1, 2))
    return np.fft.irfft2(spectrum * response, s=volume.shape[1:], axes=(1, 2))


def smoothed(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Smooth by a Gaussian of 0.4 to 0.8 pixels in the slice: a softer reconstruction kernel."""
    out = turned(volume, random)
    y, x = np.fft.fftfreq(out.shape[1])[:, None], np.fft.rfftfreq(out.shape[2])[None, :]
    sigma = random.uniform(0.4, 0.8)
    return np.rint(_filtered(out, np.exp(-2 * (np.pi * sigma) ** 2 * (y * y + x * x)))).astype(np.int32)


def interpolated(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Zero-fill in frequency: more pixels stored than acquired, by 1 to 2 along y and 1.2 to 2 along x."""
    out = turned(volume, random)
    y, x = np.fft.fftfreq(out.shape[1])[:, None], np.fft.rfftfreq(out.shape[2])[None, :]
    edge_y, edge_x = 0.5 / random.uniform(1.0, 2.0), 0.5 / random.uniform(1.2, 2.0)
    soft = 0.05  # roll-off, like that of scanners' filters

    def pass_band(frequency: np.ndarray, edge: float) -> np.ndarray:
        return np.clip((edge - np.abs(frequency)) / soft + 1, 0, 1)

    low, high = volume.min(), volume.max()
    return np.clip(np.rint(_filtered(out, pass_band(y, edge_y) * pass_band(x, edge_x))), low, high).astype(np.int32)


def overlapping(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Smooth by a Gaussian of 0.5 to 1 slices across slices: slices thicker than their distance, correlated noise."""
    out = turned(volume, random)
    response = np.exp(-2 * (np.pi * random.uniform(0.5, 1.0) * np.fft.rfftfreq(2 * len(out))) ** 2)
    mirrored = np.concatenate([out, out[::-1]]).astype(np.float32)
    blurred = np.fft.irfft(np.fft.rfft(mirrored, axis=0) * response[:, None, None], axis=0)
    return np.rint(blurred[: len(out)]).astype(np.int32)


KINDS = (turned, thinned, halved, requantised, smoothed, interpolated, overlapping)


def variations(volume: np.ndarray, count: int, random: np.random.Generator) -> list[np.ndarray]:
    """Make `count` variations of a volume [Z, Y, X], each of another kind and of at most SLICES slices, int32."""
    out = []
    for kind in random.permutation(len(KINDS))[:count]:
        first = random.integers(0, max(1, len(volume) - SLICES + 1))
        piece = volume[first : first + SLICES].astype(np.int32)
        out.append(np.ascontiguousarray(KINDS[kind](piece, random)))
    return out
