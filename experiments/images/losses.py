"""What the published networks minimise, in torch: images are float32 [n, 1, y, x] of values in 0 … 1."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from .metrics import K1, K2, SCALES, SIDE, window

Loss = Callable[[Tensor, Tensor], Tensor]


def mse(output: Tensor, image: Tensor) -> Tensor:
    """Mean squared error."""
    return functional.mse_loss(output, image)


def cross_entropy(output: Tensor, image: Tensor) -> Tensor:
    """Binary cross-entropy of grey values, in nats: least where the output is the image, and then not 0."""
    return functional.binary_cross_entropy(output.clamp(1e-6, 1 - 1e-6), image)


FLOOR = 0.05  # a factor of MS-SSIM that is less goes on without becoming 0, so that it has a gradient
STRIDES = (4, 2, 1, 1, 1)  # between the windows that a loss looks at, by scale: neighbours say much the same


def _windows(side: int, stride: int, like: Tensor) -> Tensor:
    """Return the matrix float32 [windows, side] that smooths a line. Torch multiplies matrices many times as fast as it
    convolves one channel."""
    kernel = torch.from_numpy(window()).to(like)
    matrix = torch.zeros((side - kernel.numel()) // stride + 1, side)
    for k, row in enumerate(matrix):
        row[k * stride : k * stride + kernel.numel()] = kernel
    return matrix


def _similarity(x: Tensor, y: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Return the means over each image of SSIM, and of its factor of contrast and structure."""
    rows, columns = (_windows(side, stride, x) for side in x.shape[-2:])
    maps = rows @ (torch.cat([x, y, x * x, y * y, x * y]) @ columns.T)
    mx, my, xx, yy, xy = maps.split(x.shape[0])
    c1, c2 = K1**2, K2**2
    structure = (2 * (xy - mx * my) + c2) / ((xx - mx * mx) + (yy - my * my) + c2)
    luminance = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    return (luminance * structure).mean((1, 2, 3)), structure.mean((1, 2, 3))


def power(x: Tensor, exponent: Tensor) -> Tensor:
    """Return x^exponent where x is over FLOOR, and below it the exponential function that meets it there.

    A structure that is opposite to the image's has a factor below 0, which has no power; cut off, it had no gradient.
    """
    below = FLOOR**exponent * (exponent * (x.clamp_max(FLOOR) / FLOOR - 1)).exp()
    return torch.where(x > FLOOR, x.clamp_min(FLOOR) ** exponent, below)


def ms_ssim(output: Tensor, image: Tensor) -> Tensor:
    """Multi-scale SSIM (Wang et al. 2003), mean over the images; `metrics.ms_ssim` is the one that is reported.

    Scales whose images are smaller than the window are left out, and the exponents of the others grow to 1 in sum.
    """
    possible = [k for k in range(len(SCALES)) if min(image.shape[-2:]) >> k >= SIDE]
    exponents = torch.tensor([SCALES[k] for k in possible])
    exponents = exponents / exponents.sum()
    product = torch.ones(len(image))
    for k in possible:
        whole, structure = _similarity(output, image, STRIDES[k])
        product = product * power(whole if k == possible[-1] else structure, exponents[k])
        output, image = functional.avg_pool2d(output, 2), functional.avg_pool2d(image, 2)
    return product.mean()


def one_minus_ms_ssim(output: Tensor, image: Tensor) -> Tensor:
    """1 − MS-SSIM."""
    return 1 - ms_ssim(output, image)


def half_and_half(output: Tensor, image: Tensor) -> Tensor:
    """½ MSE + ½ (1 − MS-SSIM)."""
    return (mse(output, image) + one_minus_ms_ssim(output, image)) / 2


def one_minus_iou(output: Tensor, image: Tensor) -> Tensor:
    """1 − IoU of grey values: the sum of the lesser values over the sum of the greater ones."""
    output = output.clamp_min(0)
    less, more = torch.minimum(output, image), torch.maximum(output, image)
    return 1 - (less.sum((1, 2, 3)) / more.sum((1, 2, 3)).clamp_min(1e-6)).mean()


LOSSES: dict[str, Loss] = {
    "mse": mse,
    "cross_entropy": cross_entropy,
    "ms_ssim": one_minus_ms_ssim,
    "half": half_and_half,
    "iou": one_minus_iou,
}
