"""The family of distributions that training fits and that export converts to integer tables.

A residual follows a mixture of three logistic densities around its mean. The mixture's weights and relative widths are
smooth functions of the scale in grey levels: at small scales rounding determines the shape, at large ones edges do. So
the network outputs only the mean and the width; all voxels of a scale class share the shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ..stages import symbols

LOWEST, HIGHEST = -6, 14  # log2 of the scale in grey levels at the first and last knot
COMPONENTS = 3
STEPS = 300  # of Adam that find the shape of given tables
FLOOR = 2.0**-20  # the least probability of a value: roughly the cost of an escape


class Shape(torch.nn.Module):
    """The shape of the distributions: mixture weights and log2 width ratios, [knots, 3] each."""

    def __init__(self) -> None:
        super().__init__()
        knots = HIGHEST - LOWEST + 1
        self.logits = torch.nn.Parameter(torch.tensor([0.0, 1.0, -1.0]).repeat(knots, 1))
        self.ratios = torch.nn.Parameter(torch.tensor([-1.0, 0.0, 1.0]).repeat(knots, 1))

    @classmethod
    def of(cls, tables: Sequence[np.ndarray]) -> Shape:
        """Fit the shape of which tables were made (`training.export.table`) to their counts, to within 0.003 bits.

        Released models do not store it. The result is not trained further.
        """
        classes = symbols.CLASS_OF_TABLE
        shift = (np.arange(symbols.TABLES) - symbols.FIRST_TABLE[classes]) / symbols.SHIFTS[classes]
        low, high, log_scale, share = [], [], [], []
        for k, c in enumerate(classes.tolist()):
            width, reach = 1 << int(symbols.LOW_BITS[c]), int(symbols.REACH[c])
            low.append(np.arange(-reach, reach) * width - 0.5 - shift[k])
            high.append(low[-1] + width)
            log_scale.append(np.full(2 * reach, symbols.class_log_scale(c)))
            share.append(tables[k][:-1] / tables[k].sum())
        a, b, place, wanted = (torch.from_numpy(np.concatenate(p)).float() for p in (low, high, log_scale, share))
        a, b = torch.where(a > 0, -b, a), torch.where(a > 0, -a, b)  # on the negative side, where tails do not cancel
        shape = cls()
        optimiser = torch.optim.Adam(shape.parameters(), lr=0.05)
        for step in range(STEPS):
            for group in optimiser.param_groups:
                group["lr"] = 0.05 * (1 - step / STEPS) + 0.001
            log_weights, widths = shape.at(place)
            inverse = torch.exp2(-widths)
            inside = torch.sigmoid(b.unsqueeze(-1) * inverse) - torch.sigmoid(a.unsqueeze(-1) * inverse)
            found = (log_weights.exp() * inside).sum(-1) + FLOOR
            loss = (wanted * ((wanted + FLOOR).log() - found.log())).sum()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        return shape.requires_grad_(False)

    def at(self, log_scale: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return log weights and log2 widths [n, 3] for log2 scales [n], linear between knots."""
        place = (log_scale.clamp(LOWEST, HIGHEST - 1e-3) - LOWEST).unsqueeze(-1)
        lower = place.detach().floor().long().squeeze(-1)
        part = place - lower.unsqueeze(-1)
        logits = torch.lerp(self.logits[lower], self.logits[lower + 1], part)
        ratios = torch.lerp(self.ratios[lower], self.ratios[lower + 1], part)
        return torch.log_softmax(logits, -1), ratios + log_scale.unsqueeze(-1)

    def bits(self, error: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
        """Return ideal code lengths [n] in bits of voxels `error` grey levels above the mean, for log2 scales [n]."""
        log_weights, widths = self.at(log_scale)
        inverse = torch.exp2(-widths)
        z, half = error.abs().unsqueeze(-1) * inverse, 0.5 * inverse
        # F(z + h) − F(z − h) = sinh h / (cosh h + cosh z) for the logistic F; in logarithms, so that nothing overflows.
        top = torch.maximum(z, half)
        cosh_sum = top + torch.log(
            torch.exp(half - top) + torch.exp(-half - top) + torch.exp(z - top) + torch.exp(-z - top)
        )
        log_p = half + torch.log1p(-torch.exp(-2 * half)) - cosh_sum
        likelihood = torch.logsumexp(log_weights + log_p, -1)
        return -torch.logaddexp(likelihood, torch.full_like(likelihood, math.log(FLOOR))) / math.log(2)

    def interval(self, low: np.ndarray, high: np.ndarray, log_scale: float) -> np.ndarray:
        """Return the probability float64 [n] of intervals low … high, in grey levels from the mean; for the export."""
        with torch.no_grad():
            log_weights, widths = self.at(torch.tensor([log_scale]))
        weights, inverse = log_weights.exp().double().numpy()[0], torch.exp2(-widths).double().numpy()[0]

        def cumulative(x: np.ndarray) -> np.ndarray:
            return (weights * (0.5 + 0.5 * np.tanh(0.5 * np.multiply.outer(x, inverse)))).sum(-1)

        # Both ends on the negative side, where the tails do not cancel.
        flip = low > 0
        low, high = np.where(flip, -high, low), np.where(flip, -low, high)
        return cumulative(high) - cumulative(low)
