"""A model on a device: its arrays, and the tables of other stages that kernels need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from ...constants import CLASSES
from ...stages.lstm import learning
from ...stages.lstm.weights import LstmWeights
from ...torchops.lanes import lanes
from ..memory import free

if TYPE_CHECKING:
    from .group import RowGroup


class RowSteps(Protocol):
    """The computation of a group on a device: the two steps of each front."""

    def predict(self) -> None:
        """Write means, classes and contexts of the next front to the trace."""
        ...

    def perceive(self) -> None:
        """Read the front's voxels, in encoding from the group, else from the trace; update state and heads."""
        ...

    def run(self) -> None:
        """Do both steps for all fronts of a group whose voxels are known."""
        ...


class DeviceLstm:
    """A model's integers as tensors of one device.

    There are H hidden units, S of which rows pass on, and N = INPUTS + 2·S + H numbers that a head may see.

    matrix int8 [N, 4H], shift int32 [4H]
    head int32 [2, N]                  0 for the inputs where the model's head does not see them
    metric int16 [N, N]                likewise, so that the head does not learn weights for them
    slopes int8 [2, CLASSES, BINS]     0 where the head does not learn
    reciprocals int64 [CLASSES]        of `stages.lstm.learning`
    seen, active, scales int32         of `torchops.lanes.Lanes`
    """

    def __init__(self, weights: LstmWeights, device: str, steps: Callable[[RowGroup], RowSteps]) -> None:
        """Move the model to a device, in torch's spelling; `steps` makes the computation of a group."""
        self.weights, self.device, self.steps = weights, torch.device(device), steps
        self.shared = weights.shared
        self.hidden, self.width = weights.hidden, weights.inputs + weights.hidden
        head = np.zeros((2, self.width), np.int32)
        head[:, weights.unseen :] = weights.head
        metric = np.zeros((self.width, self.width), np.int16)
        slopes = np.zeros((2, CLASSES, learning.BINS), np.int8)
        if weights.learns:
            metric[weights.unseen :, weights.unseen :] = weights.metric
            slopes[:] = weights.slopes
        self.matrix, self.shift = self.put(weights.weights), self.put(weights.shift.astype(np.int32))
        self.head, self.metric, self.slopes = self.put(head), self.put(metric), self.put(slopes)
        self.bias = [int(value) for value in weights.bias]
        self.reciprocals = self.put(learning.RECIPROCALS)
        self.seen, self.active, self.scales = map(self.put, lanes())

    def put(self, array: np.ndarray) -> torch.Tensor:
        """Copy an array to the device."""
        return torch.from_numpy(np.array(array, order="C")).to(self.device)

    def free(self) -> int:
        """Return the bytes of memory that slabs may take."""
        return free(self.device)
