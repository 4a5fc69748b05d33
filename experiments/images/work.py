"""The jobs of the bench: train a network, measure a system at a point, code what a system leaves. Each is done once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from volcomp.dtypes import UInt8s

from ..config import ConfigError
from ..jobs import Job
from ..trial import NotLossless
from ..workers import Do, Tell
from . import data, delta, klt, metrics, recipes, registry, roi, standards
from .config import ImagesConfig

Rows = dict[str, list[dict[str, Any]]]

COLUMNS = {
    "training": ("network", "epochs", "seconds", "loss"),
    "curves": ("system", "point", "split", "images", "bpp", "ratio", "saving", "mse", "psnr", "psnr_as_printed",
               "ssim", "ms_ssim", "divergence", "iou", "largest", "cross_entropy", "floor", "mse_given",
               "mse_inside", "mse_outside", "encode_s", "decode_s"),
    "lossless": ("system", "point", "coder", "images", "bpp", "lossy_bpp"),
}  # fmt: skip
# Seconds of a processor: to weigh jobs against each other.
PER_EPOCH, PER_IMAGE, PER_DELTA, PER_FIT = 10.0, 0.12, 1.5, 3.0
ALONE = "alone"  # the subject of the job that codes images without any system


def plan(config: ImagesConfig) -> list[Job]:
    """All jobs, in an order in which each finds what it needs; those that train come first."""
    jobs = []
    systems = list(config.points)
    if unknown := {*systems, *config.deltas} - set(registry.SYSTEMS):
        raise ConfigError(f"{config.name}: there are no systems {sorted(unknown)}")
    for name in dict.fromkeys(net for system in systems for net in registry.SYSTEMS[system].nets):
        seconds = PER_EPOCH * max(1, config.epochs.get(name, 0))
        jobs.append(Job("train", 0, name, min(seconds, 60 * config.minutes)))
    for system in systems:
        for point in config.points[system]:
            jobs.append(Job("curve", 0, f"{system}@{point:g}", PER_FIT + 100 * PER_IMAGE))
    for system in (ALONE, *config.deltas):
        jobs.append(Job("delta", 0, f"{system}@{config.lossless}", config.lossless * PER_DELTA))
    return [*jobs, Job("sheet", 0, "first", 5.0)]


def depends(job: Job, other: Job) -> bool:
    """Whether a job reads what another one keeps: weights, or the tables of fitted coders."""
    system, of = job.subject.partition("@")[0], other.subject.partition("@")[0]
    match job.kind, other.kind:
        case "train", "train":
            return system.startswith(f"{of}.")  # a second stage learns from what the first one leaves
        case "curve", "train":
            return of in registry.SYSTEMS[system].nets
        case "delta", "curve":  # the first to use a coder fits it
            return of == system
    return (job.kind, other.kind) == ("sheet", "curve")


def begin(config: ImagesConfig, cache: Path, device: str) -> Do:
    """Return what does jobs, in a process."""
    return lambda job, tell: run(config, job, cache, tell)


def run(config: ImagesConfig, job: Job, cache: Path, tell: Tell) -> Rows:
    """Do a job; returns its rows by CSV file."""
    import torch

    torch.set_num_threads(1)
    with threadpool_limits(1):
        if job.kind == "train":
            return {"training": [{"network": job.subject, **train(config, job.subject, cache, tell)}]}
        if job.kind == "curve":
            system, point = job.subject.split("@")
            return {"curves": [curve(config, cache, system, float(point), s) for s in ("valid", "test")]}
        if job.kind == "delta":
            return {"lossless": deltas(config, cache, job.subject.partition("@")[0])}
        sheet(config, cache)
        return {}


def train(config: ImagesConfig, name: str, cache: Path, tell: Tell) -> dict[str, float]:
    """Train a network of the registry."""
    if name == "klt":
        vectors = registry.klt_basis(config, cache)
        path = recipes.weights_path(cache, name)
        return klt.learn(config, vectors.astype(np.int32), data.stacked(config, "train"), path, tell)
    return recipes.run(config, name, cache, tell)


def curve(config: ImagesConfig, cache: Path, name: str, point: float, split: str) -> dict[str, Any]:
    """Measure whole files of a system at a point: the mean of every yardstick over the images of a split.

    `mse_given` is to what the system was given, where that is a denoised image. PSNR is that of the mean MSE.
    """
    codec, given = registry.codec(config, cache, name, point), registry.SYSTEMS[name].given
    found: list[dict[str, float]] = []
    for image in data.split(config, split):
        begin = time.process_time()
        coded = codec.encode(image.pixels)
        middle = time.process_time()
        back = codec.decode(coded)
        end = time.process_time()
        of = measures(image.pixels, back, len(coded))
        of["mse_given"] = metrics.mse(given(config, image.pixels), back) if given else of["mse"]
        found.append(of | {"encode_s": middle - begin, "decode_s": end - middle})
    mean = {key: float(np.mean([one[key] for one in found])) for key in found[0]}
    mean["psnr"] = metrics.psnr_of(mean["mse"])
    row = {key: f"{value:.7g}" for key, value in mean.items()}
    return {"system": name, "point": f"{point:g}", "split": split, "images": len(found), **row}


def measures(image: UInt8s, back: UInt8s, size: int) -> dict[str, float]:
    """All yardsticks of one image and what a file of a size gives back; also the MSE inside and outside its region."""
    box = roi.box_of(image)
    squared = ((image.astype(np.int64) - back) / metrics.PEAK) ** 2
    return {
        "bpp": metrics.bits_per_pixel(size, image),
        "ratio": metrics.ratio(size, image),
        "saving": metrics.space_saving(size, image),
        "mse": metrics.mse(image, back),
        "psnr_as_printed": metrics.psnr_as_printed(image, back),
        "ssim": metrics.ssim(image, back),
        "ms_ssim": metrics.ms_ssim(image, back),
        "divergence": metrics.divergence(image, back),
        "iou": metrics.iou(image, back),
        "largest": metrics.largest_error(image, back),
        "cross_entropy": metrics.cross_entropy(image, back),
        "floor": metrics.cross_entropy_floor(image),
        "mse_inside": float(squared[box].mean()),
        "mse_outside": float((squared.sum() - squared[box].sum()) / (squared.size - squared[box].size)),
    }


def deltas(config: ImagesConfig, cache: Path, name: str) -> list[dict[str, Any]]:
    """Code the test images without loss, by a system and each coder of differences; every file is decoded."""
    every = [image.pixels for image in data.split(config, "test")]
    images = every[:: max(1, len(every) // config.lossless)][: config.lossless]
    rows = []
    if name == ALONE:
        by: dict[str, Callable[[UInt8s], bytes]] = {
            "huffman": lambda image: delta.CODERS["huffman"].encode(image, np.full_like(image, delta.MIDDLE)),
            "png": standards.png,
            "jpegxl": standards.lossless_jpeg_xl,
            "volcomp": lambda image: delta.volcomp_bytes(image, None),
        }
        for coder, encode in by.items():
            bpp = [metrics.bits_per_pixel(len(encode(image)), image) for image in images]
            rows.append(_lossless(name, 0.0, coder, bpp, [0.0]))
        return rows
    point = config.deltas[name]
    lossy = registry.codec(config, cache, name, point)
    parts = [metrics.bits_per_pixel(len(lossy.encode(image)), image) for image in images]
    for coder, how in delta.CODERS.items():
        codec, bpp = delta.Lossless(lossy, how), []
        for image in images:
            coded = codec.encode(image)
            if not np.array_equal(codec.decode(coded), image):
                raise NotLossless(f"{name} with {how.title} does not give back an image")
            bpp.append(metrics.bits_per_pixel(len(coded), image))
        rows.append(_lossless(name, point, coder, bpp, parts))
    return rows


def _lossless(name: str, point: float, coder: str, bpp: list[float], lossy: list[float]) -> dict[str, Any]:
    said = {"bpp": f"{np.mean(bpp):.5g}", "lossy_bpp": f"{np.mean(lossy):.5g}"}
    return {"system": name, "point": f"{point:g}", "coder": coder, "images": len(bpp), **said}


def sheet(config: ImagesConfig, cache: Path) -> None:
    """Draw the first test image, what each system gives back of it near the target, and the error, into the cache.

    Pictures of patients do not belong beside the results, whatever their licence.
    """
    from . import figures

    image = data.split(config, "test")[0]
    shown = []
    for name, points in config.points.items():
        tried = []
        for point in points:
            codec = registry.codec(config, cache, name, point)
            coded = codec.encode(image.pixels)
            bpp = metrics.bits_per_pixel(len(coded), image.pixels)
            tried.append((abs(np.log(bpp / config.target)), bpp, coded, codec))
        _, bpp, coded, codec = min(tried, key=lambda one: one[0])
        shown.append((figures.plain(name), bpp, codec.decode(coded)))
    figures.sheet(cache / "sheets" / f"{config.name}.png", image, shown)
