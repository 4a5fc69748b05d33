"""The choice of the place where slabs are worked on: threads of the CPU, or a GPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import UnsupportedError
from ..models import Model
from ..pipelines.protocol import Done
from .engines import Engine, OnDevice, OnThreads, Sizes, Workers
from .ready import Ready, ready

if TYPE_CHECKING:
    from ..gpu.device import Device

LARGE = 1 << 23  # voxels of `row`; for fewer, starting a GPU takes longer than it saves, some seconds


class Placement(NamedTuple):
    """A place for the slabs of a volume.

    device   for the fine-tuning of a model, by torch's name
    engine   makes the engine
    """

    device: str
    engine: Callable[[Workers, Done], Engine[Any, Any, Any]]


Place = Callable[[Ready[Any, Any, Any, Any], bytes, str, Sizes], Placement]  # from a model, its weight delta, --device


def by_device(made: Ready[Any, Any, Any, Any], weight_delta: bytes, device: str, slabs: Sizes) -> Placement:
    """Choose by `--device`. Raises UnsupportedError for "cuda" if no GPU can do the work."""
    if _takes_gpu(device, sum(slabs.values()) * made.pipeline.work):
        found = _on_device(made.model, weight_delta, "cuda", "")
        if isinstance(found, UnsupportedError):
            if device == "cuda":
                raise found
        elif device == "cuda" or max(slabs.values()) <= found.capacity(found.input_bytes):
            return _placed("cuda", found)
    return Placement("cpu", lambda workers, done: OnThreads(made.network, workers, done))


def by_reference(made: Ready[Any, Any, Any, Any], weight_delta: bytes, device: str, slabs: Sizes) -> Placement:
    """Choose the reference, the slow code that defines a model."""
    return Placement("cpu", lambda workers, done: OnThreads(made.reference, workers, done))


def on(torch_device: str, way: str) -> Place:
    """Choose a device by torch's name, whatever `--device` says, and one implementation of the GPU code: "torch" or
    "triton". On "cpu", the CPU runs the code for GPUs."""

    def place(made: Ready[Any, Any, Any, Any], weight_delta: bytes, device: str, slabs: Sizes) -> Placement:
        found = _on_device(made.model, weight_delta, torch_device, way)
        if isinstance(found, UnsupportedError):
            raise found
        return _placed("cpu:0" if torch_device == "cpu" else torch_device, found)

    return place


def _placed(name: str, device: Device[Any, Any, Any]) -> Placement:
    return Placement(name, lambda workers, done: OnDevice(device, workers, done))


@lru_cache(maxsize=8)
def _on_device(model: Model, weight_delta: bytes, device: str, way: str) -> Device[Any, Any, Any] | UnsupportedError:
    """Load a model on a device. Return the error if it does not compute the reference's numbers there."""
    from ..gpu.device import on_device

    try:
        return on_device(model.pipeline, ready(model, weight_delta).weights, device, way)
    except UnsupportedError as error:
        return error


def _takes_gpu(device: str, work: int) -> bool:
    """Return whether work, in voxels of `row`, should go to a GPU; for "auto" if there is one and work enough."""
    if device not in ("auto", "cpu", "cuda"):
        raise UnsupportedError(f"device {device!r} is not known; take auto, cpu or cuda")
    if device == "cpu" or (device == "auto" and work < LARGE):
        return False
    from ..gpu.device import may_be_there, missing

    if device == "auto" and not may_be_there():
        return False
    reason = missing()
    if reason and device == "cuda":
        raise UnsupportedError(reason)
    return reason is None
