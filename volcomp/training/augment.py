"""Variety: volumes made of the corpus' own, as another scanner, matrix, kernel or orientation might have given them.

Each keeps its grey levels integers and goes through the codec's own linear stage, as a real series would. What a
network learns from is limited by how many kinds of noise it has seen, not by how many voxels.
"""

from __future__ import annotations

import numpy as np

SLICES = 40  # of a series go into one variation


def turned(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Mirrored and transposed at random, but always different from the original: anatomy lies otherwise."""
    out = volume
    while out is volume:
        if random.random() < 0.5:
            out = out.transpose(0, 2, 1)
        for axis in range(3):
            if random.random() < 0.5:
                out = np.flip(out, axis)
    return out


def thinned(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Every second slice: slices further apart."""
    return turned(volume[::2], random) if len(volume) >= 16 else turned(volume, random)


def halved(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Every second pixel: noise that correlates less."""
    return turned(volume[:, ::2, ::2], random) if min(volume.shape[1:]) >= 192 else turned(volume, random)


def requantised(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Another rescale slope: grey levels a third to three times as coarse, with the rounding that comes with it."""
    slope = 3 ** random.uniform(-1, 1)
    real = turned(volume, random).astype(np.float64)
    noise = random.uniform(-0.5, 0.5, real.shape) if slope > 1 else 0.0  # or the levels between would stay empty
    return np.rint((real + noise) * slope).astype(np.int32)


def _filtered(volume: np.ndarray, response: np.ndarray) -> np.ndarray:
    spectrum = np.fft.rfft2(volume.astype(np.float32), axes=(1, 2))
    return np.fft.irfft2(spectrum * response, s=volume.shape[1:], axes=(1, 2))


def smoothed(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A softer reconstruction kernel: a Gaussian of 0.4 to 0.8 pixels, in the slice."""
    out = turned(volume, random)
    y, x = np.fft.fftfreq(out.shape[1])[:, None], np.fft.rfftfreq(out.shape[2])[None, :]
    sigma = random.uniform(0.4, 0.8)
    return np.rint(_filtered(out, np.exp(-2 * (np.pi * sigma) ** 2 * (y * y + x * x)))).astype(np.int32)


def interpolated(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Stored at more pixels than were acquired: zero-filled in frequency, by 1.2 to 2 along either axis."""
    out = turned(volume, random)
    y, x = np.fft.fftfreq(out.shape[1])[:, None], np.fft.rfftfreq(out.shape[2])[None, :]
    edge_y, edge_x = 0.5 / random.uniform(1.0, 2.0), 0.5 / random.uniform(1.2, 2.0)
    soft = 0.05  # a little roll-off, as scanners' filters have

    def pass_band(frequency: np.ndarray, edge: float) -> np.ndarray:
        return np.clip((edge - np.abs(frequency)) / soft + 1, 0, 1)

    low, high = volume.min(), volume.max()
    return np.clip(np.rint(_filtered(out, pass_band(y, edge_y) * pass_band(x, edge_x))), low, high).astype(np.int32)


def overlapping(volume: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Slices thicker than they are apart, whose noise correlates: a Gaussian of 0.5 to 1 slices, across them."""
    out = turned(volume, random)
    response = np.exp(-2 * (np.pi * random.uniform(0.5, 1.0) * np.fft.rfftfreq(2 * len(out))) ** 2)
    mirrored = np.concatenate([out, out[::-1]]).astype(np.float32)
    blurred = np.fft.irfft(np.fft.rfft(mirrored, axis=0) * response[:, None, None], axis=0)
    return np.rint(blurred[: len(out)]).astype(np.int32)


KINDS = (turned, thinned, halved, requantised, smoothed, interpolated, overlapping)


def variations(volume: np.ndarray, count: int, random: np.random.Generator) -> list[np.ndarray]:
    """`count` variations of different kinds of a volume [Z, Y, X], each of at most SLICES slices, int32."""
    out = []
    for kind in random.permutation(len(KINDS))[:count]:
        first = random.integers(0, max(1, len(volume) - SLICES + 1))
        piece = volume[first : first + SLICES].astype(np.int32)
        out.append(np.ascontiguousarray(KINDS[kind](piece, random)))
    return out
