"""Inputs and gates in plain torch, on any device.

All numbers are integers and equal those of `stages/features.py` and `stages/lstm/cell.py`.
"""

from __future__ import annotations

import torch

from ..stages import features
from .lanes import LANES

Tensor = torch.Tensor
_L, _S = features.LEVELS_IN_SLICE, len(features.LEVELS)
REST = _S + len(features.RESIDUALS)  # the first input that is not a neighbour
_BEFORE = [*range(_L, _S), *range(_S + features.RESIDUALS_IN_SLICE, REST)]  # inputs of earlier slices


def clip(value: Tensor, limit: int) -> Tensor:
    """Clip to ±limit."""
    return value.clamp(-limit, limit)


def scale_index(scale: Tensor) -> Tensor:
    """Return `features.scale_index`: the first bits of a float64, less its bias."""
    return (scale.to(torch.float64).view(torch.int64) >> 48) - ((1023 + 6) << 4)


def squash(units: Tensor) -> Tensor:
    """Convert a difference in 1/1024 of the scale, within ±8192, to an input."""
    return ((units - ((units * units.abs()) >> 14) + 16) >> 5).clamp(max=features.INPUT_LIMIT)


def sigmoid(z: Tensor) -> Tensor:
    """Return 1/2 + z/4 − z|z|/32 in 1/32768, from z in 1/1024."""
    z = clip(z, 4096)
    return 16384 + 8 * z - ((z * z.abs()) >> 10)


def tanh(z: Tensor) -> Tensor:
    """Return z − z|z|/4 in 1/32768, from z in 1/1024."""
    z = clip(z, 2048)
    return 32 * z - ((z * z.abs()) >> 7)


def observe(
    known: Tensor, error: Tensor, nearby: Tensor, prediction: Tensor, later: Tensor, active: Tensor, scales: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the inputs int8 [v, LANES] and scale indices int64 [v] of `features.observe`. Arrays are int64 by default.

    known [v, ≥ LEVELS]        grey levels at LEVELS
    error [v, REST]            residuals; only those at RESIDUALS, after LEVELS, are used
    nearby [v, ACTIVE_LANES]   residuals at ACTIVE
    prediction [v]             of the linear stage
    later bool [v]             whether there is a slice before
    active, scales int32       of `InputLanes`
    """
    back, _, _, first, weight = active.to(torch.int64)
    size = torch.where(later[:, None], weight, first) * nearby.abs()
    near, before = (size * (back == 0)).sum(dim=1), (size * (back > 0)).sum(dim=1)
    floor = features.SCALE_FLOOR
    k = scale_index(((near + before) >> 8) + floor)
    _, reciprocal, bound = scales[:, k].to(torch.int64)
    d = torch.cat([(known[:, :_S] << 4) - prediction[:, None], error[:, _S:]], dim=1)
    units = d.minimum(bound[:, None]).maximum(-bound[:, None]) * reciprocal[:, None] >> 14
    x = torch.zeros((len(k), LANES), dtype=torch.int64, device=k.device)
    x[:, :REST] = squash(clip(units, 8192))
    x[:, _BEFORE] *= later[:, None]
    spread = d[:, :_L].abs().sum(dim=1)
    ratio = scale_index((near >> 8) + floor) - scale_index((before * 15 >> 10) + floor)
    limit = features.INPUT_LIMIT
    rest = (
        clip(k - 96, limit),
        ((prediction & 15) - 8) << 3,
        64 * later,
        clip(ratio, limit) * later,
        clip(scale_index(spread * 8 // 5 + floor) - k, limit),
        squash(((prediction * reciprocal) >> 14).clamp(max=8192)),
        torch.full_like(k, 64),
    )
    x[:, REST : REST + len(rest)] = torch.stack(rest, dim=1)
    return x.to(torch.int8), k


def step(z: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return cells and hidden outputs [v, h] after a voxel, from pre-activations [v, 4h] in 1/1024 and the cells before
    it (`lstm.reference.ReferenceLstm.step`); integers of 32 bits or more."""
    i, f, o, g = z.chunk(4, dim=1)
    c = clip((sigmoid(f) * cell + ((sigmoid(i) * tanh(g)) >> 3) + (1 << 14)) >> 15, 32767)
    return c, ((sigmoid(o) * tanh(c >> 2) + (1 << 22)) >> 23).clamp(max=127)
