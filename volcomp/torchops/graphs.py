"""CUDA graphs: work for a device that is recorded once, and begun again with one call."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import torch

_recording = Lock()


def recorded(work: Callable[[], object], times: int = 1) -> torch.cuda.CUDAGraph:
    """What a piece of work begins on the device, so many times over. Raises RuntimeError where it cannot be recorded.

    Of all threads one records at a time, for torch has one stream for it; it does not mind what others begin meanwhile.
    """
    graph = torch.cuda.CUDAGraph()
    with _recording, torch.cuda.graph(graph, capture_error_mode="thread_local"):
        for _ in range(times):
            work()
    return graph
