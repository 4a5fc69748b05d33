"""The yardsticks of the publications, of 8-bit images [y, x] as integers. One module, so that all systems share it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from volcomp.dtypes import Float64s, UInt8s

PEAK = 255
K1, K2 = 0.01, 0.03  # SSIM's, of Wang et al. 2004
SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # MS-SSIM's exponents, of Wang et al. 2003
SIDE, _SIGMA = 11, 1.5  # of SSIM's window


def bits_per_pixel(size: int, image: UInt8s) -> float:
    """Bits of a whole file over pixels."""
    return 8 * size / image.size


def ratio(size: int, image: UInt8s) -> float:
    """Compression ratio (CR): bytes of the pixels over bytes of the file."""
    return image.nbytes / size


def space_saving(size: int, image: UInt8s) -> float:
    """1 − 1 / CR."""
    return 1 - size / image.nbytes


def mse(image: UInt8s, other: UInt8s) -> float:
    """Mean squared error of values in 0 … 1."""
    return float(((image.astype(np.int64) - other) ** 2).mean()) / PEAK**2


def psnr(image: UInt8s, other: UInt8s) -> float:
    """Peak² over MSE, in dB; infinite for equal images."""
    return psnr_of(mse(image, other))


def psnr_of(error: float) -> float:
    """PSNR of a mean squared error of values in 0 … 1."""
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def psnr_as_printed(image: UInt8s, other: UInt8s) -> float:
    """PSNR as the review prints it: m·n over MSE, with pixels instead of the squared peak, of values in 0 … 255.

    An image of 256×256 then has nearly the usual value, since 65536 is nearly 255²; others do not.
    """
    error = mse(image, other) * PEAK**2
    return float("inf") if error == 0 else float(10 * np.log10(image.size / error))


def window() -> Float64s:
    """SSIM's Gaussian, float64 [11] with sum 1."""
    taps = np.exp(-0.5 * (np.arange(SIDE) - SIDE // 2) ** 2 / _SIGMA**2)
    normalised: Float64s = taps / taps.sum()
    return normalised


def _smoothed(x: Float64s, kernel: Float64s) -> Float64s:
    """Smooth where the whole window is inside."""
    rows, columns = (side - kernel.size + 1 for side in x.shape)
    down = sum(weight * x[k : k + rows] for k, weight in enumerate(kernel))
    across: Float64s = sum(weight * down[:, k : k + columns] for k, weight in enumerate(kernel))
    return across


def _similarity(image: Float64s, other: Float64s) -> tuple[float, float]:
    """Return the means of SSIM, and of its factor of contrast and structure."""
    kernel = window()
    mx, my = _smoothed(image, kernel), _smoothed(other, kernel)
    xx = _smoothed(image * image, kernel) - mx * mx
    yy = _smoothed(other * other, kernel) - my * my
    xy = _smoothed(image * other, kernel) - mx * my
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    structure = (2 * xy + c2) / (xx + yy + c2)
    luminance = (2 * mx * my + c1) / (mx * mx + my * my + c1)
    return float((luminance * structure).mean()), float(structure.mean())


def ssim(image: UInt8s, other: UInt8s) -> float:
    """Structural similarity with a Gaussian window of 11×11, σ = 1.5, where it is inside the image."""
    return _similarity(image.astype(np.float64), other.astype(np.float64))[0]


def ms_ssim(image: UInt8s, other: UInt8s) -> float:
    """Multi-scale SSIM; images with a side below 176 pixels have fewer scales, whose exponents grow to 1 in sum."""
    x, y = image.astype(np.float64), other.astype(np.float64)
    scales = [k for k in range(len(SCALES)) if min(image.shape) >> k >= SIDE]
    total, product = sum(SCALES[k] for k in scales), 1.0
    for k in scales:
        whole, structure = _similarity(x, y)
        product *= max(whole if k == scales[-1] else structure, 0.0) ** (SCALES[k] / total)
        x, y = _halved(x), _halved(y)
    return product


def _halved(x: Float64s) -> Float64s:
    even = x[: x.shape[0] // 2 * 2, : x.shape[1] // 2 * 2]
    mean: Float64s = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    return mean


def divergence(image: UInt8s, other: UInt8s) -> float:
    """KL divergence of the histogram of `other` from that of `image`, in bits; each of 256 values counts one more."""
    p, q = (np.bincount(x.ravel(), minlength=PEAK + 1) + 1.0 for x in (image, other))
    p, q = p / p.sum(), q / q.sum()
    return float((p * np.log2(p / q)).sum())


def iou(image: UInt8s, other: UInt8s) -> float:
    """Intersection over union of grey values: the sum of the lesser over the sum of the greater; 1 for two of zeros."""
    more = int(np.maximum(image, other).sum(dtype=np.int64))
    return int(np.minimum(image, other).sum(dtype=np.int64)) / more if more else 1.0


def largest_error(image: UInt8s, other: UInt8s) -> int:
    """The largest difference of two pixels."""
    return int(np.abs(image.astype(np.int64) - other).max(initial=0))


def cross_entropy(image: UInt8s, other: UInt8s) -> float:
    """Binary cross-entropy of grey values, in nats; an output of 0 or 255 counts as half a grey value off them."""
    v, q = image / PEAK, (other / PEAK).clip(0.5 / PEAK, 1 - 0.5 / PEAK)
    return float(-(v * np.log(q) + (1 - v) * np.log(1 - q)).mean())


def cross_entropy_floor(image: UInt8s) -> float:
    """The least binary cross-entropy of grey values that any output has, in nats: that of the image with itself."""
    v = image[(image > 0) & (image < PEAK)].astype(np.float64) / PEAK
    return float(-(v * np.log(v) + (1 - v) * np.log(1 - v)).sum() / image.size)


def bd_rate(
    rates: Sequence[float], errors: Sequence[float], to_rates: Sequence[float], to_errors: Sequence[float]
) -> float:
    """Bjøntegaard's mean difference of rates, in per cent of those of `to`, over the PSNR that both curves have.

    rates, errors   bits per pixel and PSNR of each point of a curve, at least two

    Logarithms of rates are interpolated linearly over PSNR, so no polynomial can swing between few points. NaN where
    the curves share no PSNR.
    """
    curves = []
    for rate, error in ((rates, errors), (to_rates, to_errors)):
        order = np.argsort(error)
        curves.append((np.asarray(error, float)[order], np.log(np.asarray(rate, float)[order])))
    low, high = max(c[0][0] for c in curves), min(c[0][-1] for c in curves)
    if not low < high:
        return float("nan")
    at = np.linspace(low, high, 1001)
    mine, theirs = (np.interp(at, *curve) for curve in curves)
    return float(100 * (np.exp(np.trapezoid(mine - theirs, at) / (high - low)) - 1))
