"""Networks in integers, so that a decoder gives the same image on every machine.

A number is a multiple of 2^-ACTIVATION, a weight one of 2^-WEIGHT. Products are computed in float64 by BLAS: all are
integers, and a network is refused if any sum of them could reach 2^53. Below it float64 holds integers exactly, so the
order of summation does not matter. Divisions are by powers of two and round halves up.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

import numpy as np

from volcomp.dtypes import Float64s, Int64s, UInt8s
from volcomp.errors import UnsupportedError

from .layers import Layer, Layers

ACTIVATION, WEIGHT = 12, 14  # bits behind the point
BOUND = 1 << 20  # of a number, in multiples of 2^-ACTIVATION
EXACT = 1 << 53
LEVELS = 255


class Network:
    """Runs layers with weights that torch trained, rounded."""

    def __init__(self, layers: Layers, weights: Mapping[str, np.ndarray]) -> None:
        """Round the weights; UnsupportedError where a sum could leave the exact integers.

        weights   float32, by the names that `torch.nn.Sequential` gives them
        """
        self._layers = [_Layer(layer, weights, str(k)) for k, layer in enumerate(layers)]

    def __call__(self, x: Float64s) -> Float64s:
        """Return the output, integers in float64 [c, y, x], of such an input, or of a vector [n]."""
        for layer in self._layers:
            x = layer(x)
        return x


class _Layer:
    def __init__(self, layer: Layer, weights: Mapping[str, np.ndarray], name: str) -> None:
        self.kind, self.sizes = layer.kind, layer.sizes
        if layer.kind in ("conv", "dense"):
            weight = (weights[f"{name}.weight"].astype(np.float64) * (1 << WEIGHT)).round()
            self.bias = (weights[f"{name}.bias"].astype(np.float64) * (1 << (WEIGHT + ACTIVATION))).round()
            rows = np.abs(weight).reshape(len(weight), -1)
            if (rows.sum(1) * BOUND + np.abs(self.bias)).max() + (1 << WEIGHT) >= EXACT:
                raise UnsupportedError("the weights of a network are too large for exact sums: train it again")
            # [out, side, side, in], the order of `_patches`
            self.weight = weight if weight.ndim == 2 else weight.transpose(0, 2, 3, 1).reshape(len(weight), -1)
        elif layer.kind == "residual":
            prefix = f"{name}.inner."
            inner = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            self.inner = Network(layer.inner, inner)
        elif layer.kind not in ("relu", "up", "shuffle", "unshuffle", "idwt", "shape", "sigmoid"):
            raise UnsupportedError(f"a decoder has no layer of kind {layer.kind}")

    def __call__(self, x: Float64s) -> Float64s:
        match self.kind:
            case "conv":
                _, rows, columns = x.shape
                return _scaled(self.weight @ _patches(x, self.sizes[2]) + self.bias[:, None]).reshape(-1, rows, columns)
            case "dense":
                return _scaled(self.weight @ x.ravel() + self.bias)
            case "sigmoid":  # is left to `grey_of_sigmoid`, which is last
                return x
            case "relu":
                return np.maximum(x, 0)
            case "up":
                return x.repeat(2, 1).repeat(2, 2)
            case "shape":
                return x.reshape(self.sizes)
            case "shuffle":
                c, rows, columns = x.shape
                return x.reshape(c // 4, 2, 2, rows, columns).transpose(0, 3, 1, 4, 2).reshape(c // 4, 2 * rows, -1)
            case "unshuffle":
                c, rows, columns = x.shape
                parts = x.reshape(c, rows // 2, 2, columns // 2, 2).transpose(0, 2, 4, 1, 3)
                return parts.reshape(4 * c, rows // 2, columns // 2)
            case "idwt":
                return _idwt(x)
        return _bounded(x + self.inner(x))


def _bounded(x: Float64s) -> Float64s:
    bounded: Float64s = np.clip(x, -BOUND, BOUND)
    return bounded


def _scaled(x: Float64s) -> Float64s:
    """Return products as numbers."""
    return _bounded(np.floor((x + (1 << (WEIGHT - 1))) / (1 << WEIGHT)))


def _patches(x: Float64s, side: int) -> Float64s:
    """Return what a kernel sees at each place, with zeros around: [side·side·c, y·x]."""
    channels, rows, columns = x.shape
    margin = side // 2
    padded = np.zeros((channels, rows + 2 * margin, columns + 2 * margin))
    padded[:, margin : margin + rows, margin : margin + columns] = x
    seen = np.empty((side, side, channels, rows, columns))
    for dy in range(side):
        for dx in range(side):
            seen[dy, dx] = padded[:, dy : dy + rows, dx : dx + columns]
    return seen.reshape(-1, rows * columns)


def _idwt(x: Float64s) -> Float64s:
    """Haar's transform back, as `networks.Idwt` has it."""
    s, h, v, d = np.split(x, 4)
    out = np.empty((len(s), 2 * s.shape[1], 2 * s.shape[2]))
    out[:, ::2, ::2], out[:, ::2, 1::2] = s + h + v + d, s - h + v - d
    out[:, 1::2, ::2], out[:, 1::2, 1::2] = s + h - v - d, s - h - v + d
    return _bounded(np.floor((out + 1) / 2))


def fixed(planes: Int64s, step: int) -> Float64s:
    """Return latents, integers [c, y, x] in steps of `step` · 2^-ACTIVATION, as numbers."""
    return _bounded(planes.astype(np.float64) * step)


def grey(x: Float64s) -> UInt8s:
    """Return numbers in 0 … 1 as uint8."""
    return np.floor((x * LEVELS + (1 << (ACTIVATION - 1))) / (1 << ACTIVATION)).clip(0, LEVELS).astype(np.uint8)


def thresholds() -> Int64s:
    """Return the number from which on the sigmoid gives each grey value 1 … 255 rather than the one below.

    Logarithms are those of `decimal`, which are rounded correctly on every machine.
    """
    limits = [(Decimal(2 * k + 1) / Decimal(2 * (LEVELS - k) - 1)).ln() for k in range(LEVELS)]
    return np.array([int((limit * (1 << ACTIVATION)).to_integral_value()) for limit in limits], np.int64)


def grey_of_sigmoid(x: Float64s, limits: Int64s) -> UInt8s:
    """Return the sigmoid of numbers as uint8, by the `thresholds`."""
    return np.searchsorted(limits, x.astype(np.int64), side="right").astype(np.uint8)
