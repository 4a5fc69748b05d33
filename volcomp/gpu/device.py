"""Which GPU there is, and a model on it that has been held against the reference; what is missing is said in a
sentence. The first of the ways to compute there is taken that gives the reference's numbers."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Protocol

from ..errors import DamagedError, UnsupportedError
from ..pipelines.protocol import Done, InputIn, Levels, Predictions, StreamIn

INSTEAD = "use --device cpu, which gives the same bytes"
KINDS = ("row", "paper")  # of pipelines, each with a folder here


class Device(Protocol[InputIn, Predictions, StreamIn]):
    """A model on a device, as the codec's engine asks it for many slabs at once.

    name                       of the device, as torch has it
    input_bytes, stream_bytes  what a voxel takes of its memory, known or not
    """

    name: str
    input_bytes: int
    stream_bytes: int

    def predict(self, slabs: Sequence[InputIn], done: Done) -> list[Predictions]:
        """As `protocol.Network.predict`."""
        ...

    def decode(self, slabs: Sequence[StreamIn], done: Done) -> list[Levels | DamagedError]:
        """As `protocol.Network.decode`."""
        ...

    def room(self, bytes_per_voxel: int, most: int = ...) -> int:
        """How many voxels may be at work at once now."""
        ...


def missing() -> str | None:
    """Why no GPU can be used here, as a sentence that says what to do; None where one can."""
    if not importlib.util.find_spec("torch"):
        return f"a GPU needs torch, which is not installed: pip install 'volcomp[gpu]', or {INSTEAD}"
    try:
        import torch
    except (ImportError, OSError) as error:
        return f"a GPU needs torch, which cannot be loaded ({error}): reinstall it, or {INSTEAD}"
    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return f"the torch that is installed is a build for the CPU: install one with CUDA, or {INSTEAD}"
    return f"torch finds no GPU with a driver that works: see what nvidia-smi says, or {INSTEAD}"


def may_be_there() -> bool:
    """False where no GPU can be had, as is known without torch, which takes 180 MB and a second to say so: without a
    driver there is none. (What torch loads before anything else is this library; AMD's driver has a device.)"""
    if "torch" in sys.modules:
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return os.path.exists("/dev/kfd")
    return True


def name() -> str:
    """What the first GPU is called, and what torch knows of it besides."""
    import torch

    about = torch.cuda.get_device_properties(0)
    return (
        f"{about.name}, {about.total_memory / 1e9:.0f} GB, compute capability {about.major}.{about.minor}, "
        f"CUDA {torch.version.cuda}, {torch.cuda.device_count()} of them"
    )


def network(kind: str, weights: Any, device: str = "cuda", way: str = "") -> Any:
    """A model of a pipeline on that device, with "torch" or "triton" in that way alone. Raises UnsupportedError where
    nothing there gives the reference's numbers."""
    of_kind = import_module(f".{kind}.device", __package__)
    ways: Callable[[str], list[Any]] = of_kind.ways
    tried = {"torch": ways("cpu"), "triton": ways("cuda")[-2:-1]}.get(way) or ways(device)
    for candidate in tried:
        try:
            made = of_kind.Network(weights, device, candidate)
            of_kind.check(made)
            return made
        except Exception as error:  # of a driver, a compiler, the device: whatever it is, another way may do
            name = f"{candidate.__module__.rpartition('.')[2]}.{getattr(candidate, '__name__', '')}"
            warnings.warn(f"{name} is left aside: {error}", RuntimeWarning, stacklevel=2)
    raise UnsupportedError(f"this GPU does not give the numbers that {weights.name} is defined by: {INSTEAD}")


def on_device(kind: str, weights: Any, device: str = "cuda", way: str = "") -> Device[Any, Any, Any]:
    """As `network`, ready for slabs. UnsupportedError for a kind that no device computes."""
    if kind not in KINDS:
        raise UnsupportedError(f"models of the pipeline {kind!r} run on the CPU alone: take --device cpu")
    of_kind: Callable[[Any], Device[Any, Any, Any]] = import_module(f".{kind}.device", __package__).OnDevice
    return of_kind(network(kind, weights, device, way))
