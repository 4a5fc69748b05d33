"""Networks as lists of layers, which torch trains (`networks.py`) and integers run (`synthesis.py`)."""

from __future__ import annotations

from typing import NamedTuple


class Layer(NamedTuple):
    """One layer.

    kind    conv, dense, relu, tanh, sigmoid, pool, up, shuffle, unshuffle, dwt, idwt, flat, shape, residual
    sizes   channels in and out, side of the kernel and stride of `conv`; numbers in and out of `dense`; channels, rows
            and columns of `shape`
    inner   the layers of `residual`, whose output is added to their input
    """

    kind: str
    sizes: tuple[int, ...] = ()
    inner: tuple[Layer, ...] = ()


Layers = tuple[Layer, ...]


def conv(channels: int, out: int, side: int = 3, stride: int = 1) -> Layer:
    """A convolution with zeros around the image, and biases."""
    return Layer("conv", (channels, out, side, stride))


def dense(numbers: int, out: int) -> Layer:
    """A matrix and biases."""
    return Layer("dense", (numbers, out))


def shape(channels: int, rows: int, columns: int) -> Layer:
    """A vector as an image."""
    return Layer("shape", (channels, rows, columns))


def residual(*inner: Layer) -> Layer:
    """Layers whose output is added to their input."""
    return Layer("residual", inner=inner)


RELU, TANH, SIGMOID = Layer("relu"), Layer("tanh"), Layer("sigmoid")
POOL, UP = Layer("pool"), Layer("up")  # the largest of four pixels; each pixel four times
SHUFFLE, UNSHUFFLE = Layer("shuffle"), Layer("unshuffle")  # four channels to the pixels of 2×2, and back
DWT, IDWT = Layer("dwt"), Layer("idwt")  # Haar's transform of each channel: to four of half the side, and back
FLAT = Layer("flat")


def residual_block(channels: int) -> Layer:
    """Two convolutions around a ReLU, added to their input."""
    return residual(conv(channels, channels), RELU, conv(channels, channels))


class Pair(NamedTuple):
    """An autoencoder.

    encoder, decoder    from an image [1, y, x] of values in 0 … 1 to its latents, and back
    latents             channels of the latents
    scale               sides of the image over those of the latents; 0 where the latents are one vector
    """

    encoder: Layers
    decoder: Layers
    latents: int
    scale: int


def dense_pair(side: int, latents: int) -> Pair:
    """The dense network as published: all pixels to `latents` numbers, and back."""
    return Pair((FLAT, dense(side * side, latents)), (dense(latents, side * side), shape(1, side, side)), latents, 0)


def cnn_pair(side: int, latents: int, widths: tuple[int, ...]) -> Pair:
    """A CNN whose latents are one vector: convolutions of stride 2, one for each width, and a matrix."""
    rows = side >> len(widths)
    middle = widths[-1] * rows * rows
    down: list[Layer] = []
    for channels, out in zip((1, *widths), widths, strict=False):
        down += [conv(channels, out, stride=2), RELU]
    up: list[Layer] = []
    for channels, out in zip(widths[::-1], (*widths[-2::-1], 1), strict=True):
        up += [RELU, conv(channels, 4 * out), SHUFFLE]
    return Pair(
        (*down, FLAT, dense(middle, latents), TANH),
        (dense(latents, middle), shape(widths[-1], rows, rows), *up),
        latents,
        0,
    )


def pooled_pair(width: int) -> Pair:
    """The autoencoder for chest X-rays as worded: convolutions and pooling to one number for 16 pixels."""
    return Pair(
        (conv(1, width), RELU, POOL, conv(width, width), RELU, POOL, conv(width, 1), SIGMOID),
        (conv(1, width), RELU, UP, conv(width, width), RELU, UP, conv(width, 1)),
        1,
        4,
    )


def strided_pair(width: int) -> Pair:
    """A better one of the same rate: pixels become channels instead of being pooled, and blocks are residual."""
    blocks = (residual_block(width), residual_block(width))
    return Pair(
        (UNSHUFFLE, UNSHUFFLE, conv(16, width), RELU, *blocks, conv(width, 1), TANH),
        (conv(1, width), RELU, *blocks, conv(width, 16), SHUFFLE, SHUFFLE),
        1,
        4,
    )


def wavelet_pair(width: int, latents: int) -> Pair:
    """RWNet as understood here: Haar's transform between convolutions and residual blocks, three times down and up."""
    half = width // 2
    return Pair(
        (
            DWT, conv(4, half), RELU, DWT, conv(4 * half, width), RELU, residual_block(width),
            DWT, conv(4 * width, width), RELU, residual_block(width), conv(width, latents), TANH,
        ),
        (
            conv(latents, width), RELU, residual_block(width), conv(width, 4 * width), IDWT,
            RELU, residual_block(width), conv(width, 4 * half), IDWT, RELU, conv(half, 4), IDWT, SIGMOID,
        ),
        latents,
        8,
    )  # fmt: skip


def correction(width: int) -> Layers:
    """A decoder's correction of an image: the image and the step of its quantiser in, what to add out."""
    return (
        UNSHUFFLE, conv(8, width), RELU, residual_block(width), residual_block(width), conv(width, 4), SHUFFLE,
    )  # fmt: skip
