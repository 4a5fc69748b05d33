"""Layers in torch, where they are trained."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .layers import Layer, Layers


class Dwt(nn.Module):
    """Haar's transform of every channel: all averages first, then differences by column, by row, by both."""

    def forward(self, x: Tensor) -> Tensor:
        a, b, c, d = x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]
        return torch.cat([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], 1) / 2


class Idwt(nn.Module):
    """Haar's transform back."""

    def forward(self, x: Tensor) -> Tensor:
        s, h, v, d = x.chunk(4, 1)
        upper = torch.stack([s + h + v + d, s - h + v - d], -1).flatten(-2) / 2
        lower = torch.stack([s + h - v - d, s - h - v + d], -1).flatten(-2) / 2
        return torch.stack([upper, lower], -2).flatten(-3, -2)


class Shape(nn.Module):
    """A vector as an image."""

    def __init__(self, sizes: tuple[int, ...]) -> None:
        super().__init__()
        self.sizes = sizes

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, *self.sizes)


class Residual(nn.Module):
    """Layers whose output is added to their input."""

    def __init__(self, inner: Layers) -> None:
        super().__init__()
        self.inner = network(inner)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.inner(x)
        return x + inner


def network(layers: Layers) -> nn.Sequential:
    """Make the module of these layers; it takes and returns float32 [n, c, y, x]."""
    return nn.Sequential(*map(_module, layers))


def _module(layer: Layer) -> nn.Module:
    match layer.kind:
        case "conv":
            channels, out, side, stride = layer.sizes
            return nn.Conv2d(channels, out, side, stride, side // 2)
        case "dense":
            numbers, out = layer.sizes
            return nn.Linear(numbers, out)
        case "shape":
            return Shape(layer.sizes)
        case "residual":
            return Residual(layer.inner)
        case "up":
            return nn.Upsample(scale_factor=2)
    plain: dict[str, Any] = {
        "relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid, "pool": lambda: nn.MaxPool2d(2),
        "shuffle": lambda: nn.PixelShuffle(2), "unshuffle": lambda: nn.PixelUnshuffle(2), "dwt": Dwt, "idwt": Idwt,
        "flat": nn.Flatten,
    }  # fmt: skip
    module: nn.Module = plain[layer.kind]()
    return module


@contextmanager
def whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file that is at `path` only when it is whole, whoever else writes it at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(f".{os.getpid()}.part")
    with beside.open("wb") as file:
        yield file
    beside.replace(path)


def save(path: Path, **modules: nn.Module) -> None:
    """Write the weights of modules float32, whole or not at all."""
    arrays = {
        f"{name}.{key}": value.detach().cpu().numpy()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    with whole(path) as file:
        np.savez(file, **arrays)


def weights_of(path: Path, name: str) -> dict[str, np.ndarray]:
    """Read the weights of one of the modules that `save` wrote."""
    with np.load(path) as arrays:
        return {key.removeprefix(f"{name}."): arrays[key] for key in arrays.files if key.startswith(f"{name}.")}


def load(layers: Layers, weights: dict[str, np.ndarray]) -> nn.Sequential:
    """Make a module with these weights, for use and not for training."""
    module = network(layers)
    module.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    return module.eval().requires_grad_(False)


def edges(x: Tensor, width: int) -> Tensor:
    """Repeat the margins of images."""
    return functional.pad(x, (width, width, width, width), mode="replicate")
