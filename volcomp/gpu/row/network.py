"""A model on a device: its arrays, and the tables of the other stages that a kernel needs with them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from ...constants import CLASSES
from ...stages.lstm import learning
from ...stages.lstm.weights import Weights
from ...torchops.lanes import lanes
from ..memory import free

if TYPE_CHECKING:
    from .group import Group


class Steps(Protocol):
    """What computes on a device: both steps of one front after the other, in one group."""

    def predict(self) -> None:
        """Means, classes and contexts of the next front into the trace."""
        ...

    def perceive(self) -> None:
        """Take in the front's voxels, from the group where they are known and else from the trace; let heads learn."""
        ...

    def walk(self) -> None:
        """Both for all fronts of a group whose voxels are known."""
        ...


class Network:
    """A model's integers as tensors of one device; H hidden units, S of which rows pass on, and N = INPUTS + 2·S + H
    numbers that a head may see.

    matrix int8 [N, 4H], shift int32 [4H]
    head int32 [2, N]                  zeros where the model's head does not see the inputs,
    metric int16 [N, N]                and so here: a head never learns to see what it does not
    slopes int8 [2, CLASSES, BINS]     zeros where it does not learn
    reciprocals int64 [CLASSES]        of `learning`
    seen, active, scales int32         `tensors.lanes.Lanes`
    """

    def __init__(self, weights: Weights, device: str, steps: Callable[[Group], Steps]) -> None:
        """On a device as torch names it, where `steps` computes."""
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
        """A copy of an array on the device."""
        return torch.from_numpy(np.array(array, order="C")).to(self.device)

    def free(self) -> int:
        """Bytes of memory that slabs may take."""
        return free(self.device)
