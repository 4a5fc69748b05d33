"""All systems by name: what they are, what is published of them, and how a codec of one is made at a point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from volcomp import lossy
from volcomp.dtypes import UInt8s
from volcomp.errors import DamagedError

from . import data, klt, recipes, roi, standards, vq
from .autoencoders import Autoencoder, TwoStages
from .codec import SIDE, ImageCodec, PlanesCodec
from .config import ImagesConfig
from .networks import whole
from .rwnet import Rwnet, denoised, truncated
from .svd import Svd
from .symbols import Coder
from .wavelets import Wavelet

Build = Callable[[ImagesConfig, Path, float], ImageCodec]


class System(NamedTuple):
    """A system.

    title    for tables
    nets     networks that are trained before a codec can be made
    build    makes a codec at a point; its coder is not fitted yet
    given    what the system is given of an image, where that is not the image
    """

    title: str
    nets: tuple[str, ...]
    build: Build
    given: Callable[[ImagesConfig, UInt8s], UInt8s] | None = None


def _autoencoder(name: str) -> Build:
    def build(config: ImagesConfig, cache: Path, point: float) -> ImageCodec:
        pair = recipes.recipes(config)[name].pair
        return Autoencoder(name, pair, recipes.weights_path(cache, name), point, config.side)

    return build


def _two_stages(config: ImagesConfig, cache: Path, point: float) -> ImageCodec:
    names, known = ("two_stage", "two_stage.second"), recipes.recipes(config)
    first, second = names
    pairs, paths = (known[first].pair, known[second].pair), [recipes.weights_path(cache, name) for name in names]
    return TwoStages("two_stage", pairs, (paths[0], paths[1]), point, config.side)


def _rwnet(name: str, smooth: bool, low: bool) -> Build:
    def build(config: ImagesConfig, cache: Path, point: float) -> ImageCodec:
        pair, path = recipes.recipes(config)["rwnet"].pair, recipes.weights_path(cache, "rwnet")
        return Rwnet(name, pair, path, point, config.denoise if smooth else 0.0, config.rank if low else 0)

    return build


def _given(smooth: bool, low: bool) -> Callable[[ImagesConfig, UInt8s], UInt8s]:
    def given(config: ImagesConfig, image: UInt8s) -> UInt8s:
        image = denoised(image, config.denoise) if smooth else image
        return truncated(image, config.rank) if low else image

    return given


def klt_basis(config: ImagesConfig, cache: Path) -> np.ndarray:
    """The KLT's basis, from `cache` where it has been computed before."""
    images = data.stacked(config, "train")
    return _kept(cache / "work" / "klt-basis.npy", lambda: klt.basis(list(images)))


def _klt(learned: bool) -> Build:
    def build(config: ImagesConfig, cache: Path, point: float) -> ImageCodec:
        path = recipes.weights_path(cache, "klt") if learned else None
        return klt.Klt("klt" if learned else "klt_plain", klt_basis(config, cache), point, config.width, path)

    return build


def _vq(config: ImagesConfig, cache: Path, point: float) -> ImageCodec:
    images = list(data.stacked(config, "train"))
    path = cache / "work" / f"codebook-{point:g}.npy"
    return vq.Vq("vq", _kept(path, lambda: vq.codebook(images, round(point), config.blocks)))


def _kept(path: Path, make: Callable[[], np.ndarray]) -> np.ndarray:
    if not path.exists():
        made = make()
        with whole(path) as file:
            np.save(file, made)
    return np.asarray(np.load(path))


class Released:
    """The codec with loss that volcomp releases, at a ratio."""

    name = "lossy"

    def __init__(self, point: float) -> None:
        self._ratio = point

    def encode(self, image: UInt8s) -> bytes:
        """Return a file of at most a share of the pixels' bytes."""
        return lossy.encode(image, ratio=self._ratio)

    def decode(self, data: bytes) -> UInt8s:
        """Return what comes back."""
        image = lossy.decode(data, most_pixels=SIDE * SIDE)
        if image.dtype != np.uint8:
            raise DamagedError(f"an image has 8 bits, not those of {image.dtype}")
        return np.asarray(image, np.uint8)


def _standard(name: str) -> Build:
    return lambda config, cache, point: standards.standard(name, point)


def _wavelet(name: str, wavelet: str) -> Build:
    return lambda config, cache, point: Wavelet(name, wavelet, point)


REGION = "roi_"  # before the name of the codec that is outside


def _roi(outside: str) -> Build:
    return lambda config, cache, point: roi.Roi(REGION + outside, SYSTEMS[outside].build(config, cache, point))


SYSTEMS: dict[str, System] = {
    "dense128": System("dense network, 65536 → 128", ("dense128",), _autoencoder("dense128")),
    "cnn1": System("CNN, latent 128, 1 − MS-SSIM", ("cnn1",), _autoencoder("cnn1")),
    "cnn2": System("CNN 2.0, latent 512, ½ MSE + ½ (1 − MS-SSIM)", ("cnn2",), _autoencoder("cnn2")),
    "two_stage": System("two stages, 1 − IoU", ("two_stage", "two_stage.second"), _two_stages),
    "cae16": System("convolutional autoencoder, as worded", ("cae16",), _autoencoder("cae16")),
    "cae16_better": System("… residual, without pooling", ("cae16_better",), _autoencoder("cae16_better")),
    "rwnet": System("RWNet", ("rwnet",), _rwnet("rwnet", False, False)),
    "rwnet_anlm": System("ANLM, RWNet", ("rwnet",), _rwnet("rwnet_anlm", True, False), _given(True, False)),
    "rwnet_svd": System("SVD, RWNet", ("rwnet",), _rwnet("rwnet_svd", False, True), _given(False, True)),
    "rwnet_anlm_svd": System("ANLM, SVD, RWNet", ("rwnet",), _rwnet("rwnet_anlm_svd", True, True), _given(True, True)),
    "svd": System("SVD", (), lambda config, cache, point: Svd("svd", point)),
    "haar": System("Haar", (), _wavelet("haar", "haar")),
    "dwt": System("DWT, biorthogonal 4.4", (), _wavelet("dwt", "bior4.4")),
    "vq": System("vector quantisation, 4×4", (), _vq),
    "klt_plain": System("KLT of 8×8", (), _klt(False)),
    "klt": System("KLT of 8×8, learned decoder", ("klt",), _klt(True)),
    "lossy": System("**volcomp's own codec with loss**", (), lambda config, cache, point: Released(point)),
    "roi_jpeg2000": System("region without loss, JPEG 2000 outside", (), _roi("jpeg2000")),
    "roi_lossy": System("region without loss, volcomp's codec with loss outside", (), _roi("lossy")),
    "jpeg": System("JPEG", (), _standard("jpeg")),
    "jpeg2000": System("JPEG 2000", (), _standard("jpeg2000")),
    "jpegxl": System("JPEG XL", (), _standard("jpegxl")),
    "webp": System("WebP", (), _standard("webp")),
    "avif": System("AVIF", (), _standard("avif")),
}


def codec(config: ImagesConfig, cache: Path, name: str, point: float) -> ImageCodec:
    """Make a codec at a point, with its coder fitted, or read from `cache` where it has been fitted before."""
    made = SYSTEMS[name].build(config, cache, point)
    if isinstance(made, PlanesCodec):
        path = cache / "work" / f"coder-{name}-{point:g}.npz"
        if path.exists():
            with np.load(path) as arrays:
                made.coder = Coder(arrays["predict"], arrays["own"], arrays["counts"])
        else:
            every = data.split(config, "train")
            made.fit([image.pixels for image in every[:: max(1, len(every) // config.fitted)]])
            assert made.coder
            with whole(path) as file:
                np.savez_compressed(file, **made.coder.arrays())  # type: ignore[arg-type]
    return made
