"""How each network is trained: its layers, its loss, the noise that stands for the rounding of latents."""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import data, initial, layers
from .config import ImagesConfig
from .layers import Pair
from .losses import LOSSES
from .networks import load, network, weights_of
from .training import finish, finished, train

DENSE = 128  # latents of the dense network
INITIAL = 64  # images that first weights are scaled by, about

Tell = Callable[[float], None]


class Recipe(NamedTuple):
    """How an autoencoder is trained.

    pair     its layers
    loss     one of `losses.LOSSES`
    step     of the quantiser that noise in training stands for; 0 for none
    crops    whether it learns from crops instead of whole images
    """

    pair: Pair
    loss: str
    step: float
    crops: bool


def recipes(config: ImagesConfig) -> dict[str, Recipe]:
    """All autoencoders of the published systems."""
    side, width, widths = config.side, config.width, config.widths
    return {
        "dense128": Recipe(layers.dense_pair(side, DENSE), "mse", 0.0, False),
        "cnn1": Recipe(layers.cnn_pair(side, 128, widths), "ms_ssim", 1 / 16, False),
        "cnn2": Recipe(layers.cnn_pair(side, 512, widths), "half", 1 / 16, False),
        "two_stage": Recipe(layers.cnn_pair(side, 128, widths), "iou", 1 / 16, False),
        "two_stage.second": Recipe(layers.cnn_pair(side, 128, widths), "mse", 1 / 16, False),
        "cae16": Recipe(layers.pooled_pair(16), "mse", 1 / 255, True),
        "cae16_better": Recipe(layers.strided_pair(width), "mse", 1 / 16, True),
        "rwnet": Recipe(layers.wavelet_pair(width, 4), "cross_entropy", 1 / 16, True),
    }


def weights_path(cache: Path, name: str) -> Path:
    """Where the weights of a network are kept."""
    return cache / "work" / f"{name}.npz"


def run(config: ImagesConfig, name: str, cache: Path, tell: Tell = lambda share: None) -> dict[str, float]:
    """Train the network of this name; returns what `training.train` does."""
    if found := finished(weights_path(cache, name)):
        return found
    recipe = recipes(config)[name]
    images = torch.from_numpy(data.stacked(config, "train")).float().unsqueeze(1) / 255
    torch.manual_seed(zlib.crc32(name.encode()))  # of the first weights
    encoder, decoder = network(recipe.pair.encoder), network(recipe.pair.decoder)
    loss = LOSSES[recipe.loss]
    if name == "dense128":
        return _fitted(encoder, decoder, images, weights_path(cache, name))
    before = _first_stage(config, cache) if name == "two_stage.second" else None

    def seen(batch: Tensor) -> Tensor:
        """What the encoder is given, and the decoder is to give: of a second stage, what the first one leaves."""
        return batch - before(batch) if before else batch

    some = seen(images[:: max(1, len(images) // INITIAL)])
    initial.prepare(encoder, decoder, some, some)

    def step(batch: Tensor) -> Tensor:
        wanted = seen(batch)
        latents = encoder(wanted)
        if recipe.step:
            latents = latents + (torch.rand_like(latents) - 0.5) * recipe.step
        return loss(decoder(latents), wanted)

    return train(
        config, name, images, step, {"encoder": encoder, "decoder": decoder}, weights_path(cache, name),
        crop=config.crop if recipe.crops else 0, tell=tell,
    )  # fmt: skip


@torch.no_grad()
def _fitted(encoder: nn.Sequential, decoder: nn.Sequential, images: Tensor, path: Path) -> dict[str, float]:
    """Give a dense linear network the weights that its training converges to, and save it.

    The least MSE is that of the principal components (Baldi and Hornik 1989), so they are computed. Each latent has the
    variance 1 over the images. Where there are fewer images than latents, the others are 0.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    begin = time.process_time()
    inwards, outwards = encoder[1], decoder[0]
    assert isinstance(inwards, nn.Linear) and isinstance(outwards, nn.Linear)
    flat = images.flatten(1)
    mean = flat.mean(0)
    centred = (flat - mean).double()
    variances, vectors = torch.linalg.eigh(centred @ centred.T / len(flat))
    kept = min(inwards.out_features, len(flat) - 1)
    scales = variances.flip(0)[:kept].clamp_min(1e-12).sqrt()
    components = (vectors.flip(1)[:, :kept].T @ centred) / (scales[:, None] * len(flat) ** 0.5)
    inwards.weight.zero_()
    outwards.weight.zero_()
    inwards.weight[:kept] = (components / scales[:, None]).float()
    inwards.bias.copy_(-(inwards.weight @ mean))
    outwards.weight[:, :kept] = (components * scales[:, None]).T.float()
    outwards.bias.copy_(mean)
    loss = float(((decoder(encoder(images)) - images) ** 2).mean())
    report = {"epochs": 0, "seconds": round(time.process_time() - begin, 1), "loss": loss}
    finish(path, {"encoder": encoder, "decoder": decoder}, report)
    return report


def _first_stage(config: ImagesConfig, cache: Path) -> Callable[[Tensor], Tensor]:
    """What the first of two stages gives back of images, its latents rounded."""
    recipe, path = recipes(config)["two_stage"], weights_path(cache, "two_stage")
    encoder = load(recipe.pair.encoder, weights_of(path, "encoder"))
    decoder = load(recipe.pair.decoder, weights_of(path, "decoder"))

    @torch.no_grad()
    def back(images: Tensor) -> Tensor:
        latents = (encoder(images) / recipe.step).round() * recipe.step
        given: Tensor = decoder(latents).clamp(0, 1)
        return given

    return back
