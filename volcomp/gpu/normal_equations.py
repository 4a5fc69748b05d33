"""The sums of the normal equations of the linear stage, on a device, for all classes of a group at once.

They equal those of `encoder.normal_equations.CpuEquations` bit for bit. The CPU solves the equations, in its fixed
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch

from ..dtypes import Float64s, Int32s, Int64s, Levels
from ..encoder import linear_fit, normal_equations
from ..encoder.normal_equations import DIFFERENCE_LIMIT, HEAVIEST, UNIT
from ..runtime.sums import PRODUCT_LIMIT
from ..stages.linear import LinearWeights
from ..stages.supports import BASE


def fit(
    levels: Levels, widest: int, effort: int, device: torch.device | str, reference: Levels | None = None
) -> LinearWeights:
    """Fit the linear stage with the sums on a device, or on the CPU where that fails, as for lack of memory."""
    maker = partial(on_device, torch.device(device))
    try:
        return linear_fit.fit_by_effort(levels, widest, effort, reference, maker)
    except RuntimeError:  # which torch raises for every failure of a device
        return linear_fit.fit_by_effort(levels, widest, effort, reference)


def on_device(device: torch.device, known: Levels) -> normal_equations.EquationsOf:
    """Return the `EquationsOf` of a slab on a device."""
    return partial(DeviceEquations, torch.from_numpy(known).to(device))


class DeviceEquations:
    """The `Equations` of one device. Classes [c] are padded to the longest [v]; voxels beyond the end of a class
    have error 0 and importance 0."""

    def __init__(self, known: torch.Tensor, members: Sequence[Int32s], flat: Int64s) -> None:
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

    def products(self, thinning: int) -> Float64s:
        """Sum the products of neighbours, as float64 on the device; see `Equations.products`."""
        rows = self._design[:, ::thinning] * self._importance[:, ::thinning, None]
        rows.clamp_(-PRODUCT_LIMIT, PRODUCT_LIMIT)
        return np.asarray((rows.mT @ rows).cpu())

    def mean_errors(self, weights: np.ndarray) -> Float64s:
        """Compute the errors of weights and return their means; see `Equations.mean_errors`."""
        predicted = self._design[..., :-1] @ torch.from_numpy(weights).to(self._device)[..., None]
        self._errors = (UNIT * self._design[..., -1] - predicted[..., 0]).abs()
        return np.asarray(self._errors.sum(1).cpu()) / self._counts

    def errors(self) -> list[Float64s]:
        """Copy the errors of the last weights to the CPU; see `Equations.errors`."""
        return [errors[:n] for errors, n in zip(np.asarray(self._errors.cpu()), self._counts, strict=True)]

    def reweigh(self) -> None:
        """Compute new importances from the errors of the last weights; see `Equations.reweigh`."""
        errors = self._errors
        beyond = errors.shape[1] - self._count  # padding with error 0, which is sorted first
        usual = errors.sort(dim=1).values.gather(1, beyond + self._count // 2) + UNIT // 2
        self._importance = (HEAVIEST * (usual / (errors + usual)).sqrt()).round()

    def weigh(self, importance: list[Float64s]) -> None:
        """Copy importances to the device; see `Equations.weigh`."""
        longest = self._design.shape[1]
        self._importance = self._put([np.pad(one, (0, longest - one.size)) for one in importance])

    def spread(self) -> Float64s:
        """Compute the mean square of differences from the base; see `Equations.spread`."""
        squares = self._design[..., :-1].square().sum((1, 2))
        return np.asarray(squares.cpu()) / (self._counts * (self._design.shape[2] - 1))
