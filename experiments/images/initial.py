"""First weights that suit the images: every layer's outputs have the mean 0 and the variance 1.

With torch's own first weights the signal shrinks from layer to layer. Latents then differ between images by a hundredth
of the noise that stands for their rounding, and a network learns to ignore them: it gives one image for all. So weights
are drawn as by He et al. 2015, and then scaled by what the images make of them (Mishkin and Matas 2016).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .networks import Idwt, Residual

LEAST = 0.01  # a standard deviation that is smaller is not scaled up further
CONTRAST = 0.1  # of the first output of a decoder, about the mean


@torch.no_grad()
def scale(layers: nn.Sequential, x: Tensor) -> Tensor:
    """Draw and scale the weights of layers; returns their output of `x` float32 [n, c, y, x].

    Mean and variance are those of a channel of a convolution, and of a number of a matrix, over the images.
    """
    for layer in layers:
        if isinstance(layer, Residual):
            x = x + scale(layer.inner, x)
            continue
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            assert layer.bias is not None
            layer.bias.zero_()
            found = layer(x)
            over = [axis for axis in range(found.ndim) if axis != 1]
            deviation, mean = torch.std_mean(found, over, correction=0)
            factor = 1 / deviation.clamp_min(LEAST)
            layer.weight.mul_(factor.view(-1, *[1] * (layer.weight.ndim - 1)))
            layer.bias.copy_(-mean * factor)
        x = layer(x)
    return x


@torch.no_grad()
def prepare(encoder: nn.Sequential, decoder: nn.Sequential, images: Tensor, wanted: Tensor) -> None:
    """Give an autoencoder its first weights, of which the decoder gives the mean of `wanted` with little contrast.

    images, wanted   float32 [n, 1, y, x]: what the encoder is given, and what the decoder is to give
    """
    scale(decoder, scale(encoder, images))
    last = [layer for layer in decoder if isinstance(layer, nn.Conv2d | nn.Linear)][-1]
    assert last.bias is not None
    mean = wanted.mean()
    if isinstance(decoder[-1], nn.Sigmoid):
        mean = torch.logit(mean)
    last.weight.mul_(CONTRAST)
    last.bias.mul_(CONTRAST)
    if any(isinstance(layer, Idwt) for layer in list(decoder)[list(decoder).index(last) :]):
        last.bias[: len(last.bias) // 4] += 2 * mean  # of averages, which are of four pixels over 2
    else:
        last.bias += mean
