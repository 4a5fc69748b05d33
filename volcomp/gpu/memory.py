"""The free memory of a device."""

from __future__ import annotations

import torch

FREE_SHARE = 0.8  # of the memory that is free now


def free(device: torch.device) -> int:
    """Return the bytes of memory that slabs may take."""
    if device.type != "cuda":
        return 1 << 40
    available, _ = torch.cuda.mem_get_info(device)
    cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(FREE_SHARE * (available + cached))
