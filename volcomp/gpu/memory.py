"""How much of a device's memory is free."""

from __future__ import annotations

import torch

FREE_SHARE = 0.8  # of the memory that is free now


def free(device: torch.device) -> int:
    """Bytes of memory that slabs may take."""
    if device.type != "cuda":
        return 1 << 40
    left, _ = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(FREE_SHARE * (left + kept))
