"""CUDA graphs: work for a device that is recorded once and replayed by one call."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

import torch

_recording = Lock()


def recorded(work: Callable[[], object], times: int = 1) -> torch.cuda.CUDAGraph:
    """Record the device's part of `work`, repeated `times` times. RuntimeError where it cannot be recorded.

    One thread records at a time, since torch has one stream for that; work of other threads meanwhile is not recorded.
    """
    graph = torch.cuda.CUDAGraph()
    with _recording, torch.cuda.graph(graph, capture_error_mode="thread_local"):
        for _ in range(times):
            work()
    return graph
