"""The sums that the fit of the linear stage is solved from, on a device: as `encoder.normal_equations.OnCpu`, bit for
bit, for all classes of a group at once. What is solved from them stays on the CPU, in its fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from ..encoder import linear_fit, normal_equations
from ..encoder.normal_equations import DIFFERENCE_LIMIT, HEAVIEST, UNIT
from ..runtime.sums import PRODUCT_LIMIT
from ..stages.linear import Weights
from ..stages.supports import BASE


def fit(levels: np.ndarray, widest: int, effort: int, device: torch.device | str) -> Weights:
    """`linear_fit.fit_by_effort` with the sums on a device; without it where that fails, as for lack of memory."""
    try:
        return linear_fit.fit_by_effort(levels, widest, effort, partial(on_device, torch.device(device)))
    except RuntimeError:  # as torch says all that goes amiss on a device
        return linear_fit.fit_by_effort(levels, widest, effort)


def on_device(device: torch.device, known: np.ndarray) -> normal_equations.Take:
    """The `Maker` of a device."""
    return partial(OnDevice, torch.from_numpy(known).to(device))


class OnDevice:
    """The `Equations` of one device. Classes [c] are as long as the longest [v]; what is beyond a class's last voxel is
    missed by nothing and weighs nothing."""

    def __init__(self, known: torch.Tensor, members: Sequence[np.ndarray], flat: np.ndarray) -> None:
        self._device, self._counts = known.device, np.array([m.size for m in members])
        longest = int(self._counts.max())
        places = self._put([np.pad(m, (0, longest - m.size), mode="edge") for m in members])  # [c, v]
        offsets = torch.from_numpy(np.append(flat, 0)).to(self._device)
        near = known[places[..., None] + offsets]  # [c, v, n + 1]
        base = (near[..., :BASE].sum(-1, keepdim=True) + 2) >> 2
        self._design = (near - base).clamp(-DIFFERENCE_LIMIT, DIFFERENCE_LIMIT).to(torch.float64)
        self._count = torch.from_numpy(self._counts).to(self._device)[:, None]
        self._design[torch.arange(longest, device=self._device) >= self._count] = 0
        self._importance = torch.ones_like(self._design[..., 0])
        self._errors = torch.zeros_like(self._importance)

    def _put(self, arrays: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays)).to(self._device)

    def products(self, thinning: int) -> np.ndarray:
        """As `Equations` says."""
        rows = self._design[:, ::thinning] * self._importance[:, ::thinning, None]
        rows.clamp_(-PRODUCT_LIMIT, PRODUCT_LIMIT)
        return np.asarray((rows.mT @ rows).cpu())

    def miss(self, weights: np.ndarray) -> np.ndarray:
        """As `Equations` says."""
        predicted = self._design[..., :-1] @ torch.from_numpy(weights).to(self._device)[..., None]
        self._errors = (UNIT * self._design[..., -1] - predicted[..., 0]).abs()
        return np.asarray(self._errors.sum(1).cpu()) / self._counts

    def errors(self) -> list[np.ndarray]:
        """As `Equations` says."""
        return [errors[:n] for errors, n in zip(np.asarray(self._errors.cpu()), self._counts, strict=True)]

    def reweigh(self) -> None:
        """As `Equations` says."""
        errors = self._errors
        beyond = errors.shape[1] - self._count  # errors of 0, which come first
        usual = errors.sort(dim=1).values.gather(1, beyond + self._count // 2) + UNIT // 2
        self._importance = (HEAVIEST * (usual / (errors + usual)).sqrt()).round()

    def weigh(self, importance: list[np.ndarray]) -> None:
        """As `Equations` says."""
        longest = self._design.shape[1]
        self._importance = self._put([np.pad(one, (0, longest - one.size)) for one in importance])

    def spread(self) -> np.ndarray:
        """As `Equations` says."""
        squares = self._design[..., :-1].square().sum((1, 2))
        return np.asarray(squares.cpu()) / (self._counts * (self._design.shape[2] - 1))
