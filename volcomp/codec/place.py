"""Where the work on slabs is done: by threads of the CPU, or on a GPU."""

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

LARGE = 1 << 23  # voxels of `row`; for fewer, getting a GPU to work takes longer than it saves, a matter of seconds


class Placement(NamedTuple):
    """A place for the slabs of a volume.

    device   what the fine-tuning of a model takes, as torch names it
    engine   makes what works on the slabs
    """

    device: str
    engine: Callable[[Workers, Done], Engine[Any, Any, Any]]


Place = Callable[[Ready[Any, Any, Any, Any], bytes, str, Sizes], Placement]  # of a model, its differences, --device


def by_device(made: Ready[Any, Any, Any, Any], differences: bytes, device: str, slabs: Sizes) -> Placement:
    """As `--device` says. UnsupportedError where it says "cuda" and no GPU can."""
    if _takes_gpu(device, sum(slabs.values()) * made.pipeline.work):
        found = _on_device(made.model, differences, "cuda", "")
        if isinstance(found, UnsupportedError):
            if device == "cuda":
                raise found
        elif device == "cuda" or max(slabs.values()) <= found.capacity(found.input_bytes):
            return _placed("cuda", found)
    return Placement("cpu", lambda workers, done: OnThreads(made.network, workers, done))


def by_reference(made: Ready[Any, Any, Any, Any], differences: bytes, device: str, slabs: Sizes) -> Placement:
    """By what a model is defined by, which is slow."""
    return Placement("cpu", lambda workers, done: OnThreads(made.reference, workers, done))


def on(torch_device: str, way: str) -> Place:
    """On a device as torch names it, in one way alone ("torch" or "triton"), whatever `--device` says: "cpu" does on the
    CPU what a GPU does."""

    def place(made: Ready[Any, Any, Any, Any], differences: bytes, device: str, slabs: Sizes) -> Placement:
        found = _on_device(made.model, differences, torch_device, way)
        if isinstance(found, UnsupportedError):
            raise found
        return _placed("cpu:0" if torch_device == "cpu" else torch_device, found)

    return place


def _placed(name: str, device: Device[Any, Any, Any]) -> Placement:
    return Placement(name, lambda workers, done: OnDevice(device, workers, done))


@lru_cache(maxsize=8)
def _on_device(model: Model, differences: bytes, device: str, way: str) -> Device[Any, Any, Any] | UnsupportedError:
    """A model on a device; the error where it does not compute there as it should."""
    from ..gpu.device import on_device

    try:
        return on_device(model.pipeline, ready(model, differences).weights, device, way)
    except UnsupportedError as error:
        return error


def _takes_gpu(device: str, work: int) -> bool:
    """Whether so much work, in voxels of `row`, should go to a GPU: for "auto" where there is one, and enough to do."""
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
