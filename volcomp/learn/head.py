"""The head in real units, and the code length that training and fine-tuning minimise."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .density import Shape

HEAD_UNIT = 256  # an integer head weight of 256 is 1.0
BIAS_ORIGIN = np.array([1 << 4, 1 << 10], np.int32)  # a half each, so that the shifts after the head round
SCALE_OCTAVES = 16.0  # a scale index counts sixteenths of an octave …
SCALE_ORIGIN = -2.0  # … from a quarter of a grey level


def ideal_bits(shape: Shape, outputs: torch.Tensor, error: Any, scale: Any) -> torch.Tensor:
    """Return mean ideal bits per voxel for the head's outputs […, 2], given errors and scale indices […].

    Errors and scale indices are arrays, or tensors where the outputs are on a device.
    """
    offset, octaves = outputs.unbind(-1)
    log_scale = torch.as_tensor(scale).float() / SCALE_OCTAVES + SCALE_ORIGIN
    remaining = torch.as_tensor(error) - offset.clamp(-8, 8) * torch.exp2(log_scale)
    return shape.bits(remaining.ravel(), (log_scale + octaves).ravel()).mean()
