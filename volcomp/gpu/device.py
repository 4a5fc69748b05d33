"""Find a GPU and prepare a model on it. What is missing is stated in a sentence for the user.

A model is computed in the fastest way that gives the reference's numbers on this device: kernels, or plain torch.
"""

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
from ..wording import CPU, spelled


def instead() -> str:
    """Return what to do without a GPU, for the end of a sentence."""
    return f"use {spelled(CPU)}, which gives the same bytes"


KINDS = ("row", "paper")  # of pipelines, each with a folder here


class Device(Protocol[InputIn, Predictions, StreamIn]):
    """A model on a device, for many slabs at once.

    name                       of the device, in torch's spelling
    input_bytes, stream_bytes  device memory per voxel, in encoding and in decoding
    """

    name: str
    input_bytes: int
    stream_bytes: int

    def predict(self, slabs: Sequence[InputIn], done: Done) -> list[Predictions]:
        """Predict slabs; see `protocol.Network.predict`."""
        ...

    def decode(self, slabs: Sequence[StreamIn], done: Done) -> list[Levels | DamagedError]:
        """Decode slabs; a damaged one gives a DamagedError."""
        ...

    def capacity(self, bytes_per_voxel: int, most: int = ...) -> int:
        """Return how many voxels the device may work on at once at present."""
        ...


def missing() -> str | None:
    """Return why no GPU can be used here, as a sentence that tells the user what to do; None where one can."""
    if not importlib.util.find_spec("torch"):
        return f"a GPU needs torch, which is not installed: pip install 'volcomp[gpu]', or {instead()}"
    try:
        import torch
    except (ImportError, OSError) as error:
        return f"a GPU needs torch, which cannot be loaded ({error}): reinstall it, or {instead()}"
    if torch.cuda.is_available():
        return None
    if torch.version.cuda is None:
        return f"the torch that is installed is a build for the CPU: install one with CUDA, or {instead()}"
    return f"torch finds no GPU with a driver that works: see what nvidia-smi says, or {instead()}"


def may_be_there() -> bool:
    """Return False where there is no driver and hence no GPU, without loading torch (180 MB and a second).

    torch loads this library of CUDA's driver before anything else; AMD's driver has a device file.
    """
    if "torch" in sys.modules:
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")
    except OSError:
        return os.path.exists("/dev/kfd")
    return True


def name() -> str:
    """Describe the first GPU: its name and what else torch reports of it."""
    import torch

    about = torch.cuda.get_device_properties(0)
    return (
        f"{about.name}, {about.total_memory / 1e9:.0f} GB, compute capability {about.major}.{about.minor}, "
        f"CUDA {torch.version.cuda}, {torch.cuda.device_count()} of them"
    )


def network(kind: str, weights: Any, device: str = "cuda", way: str = "") -> Any:
    """Make a model of a pipeline on a device; `way` "torch" or "triton" allows that way alone.

    Raises UnsupportedError where no way gives the reference's numbers.
    """
    of_kind = import_module(f".{kind}.device", __package__)
    ways: Callable[[str], list[Any]] = of_kind.ways
    candidates = {"torch": ways("cpu"), "triton": ways("cuda")[-2:-1]}.get(way) or ways(device)
    for candidate in candidates:
        try:
            made = of_kind.make_network(weights, device, candidate)
            of_kind.check(made)
            return made
        except Exception as error:  # of a driver, a compiler, the device: another way may work
            name = f"{candidate.__module__.rpartition('.')[2]}.{getattr(candidate, '__name__', '')}"
            warnings.warn(f"{name} is left aside: {error}", RuntimeWarning, stacklevel=2)
    raise UnsupportedError(f"this GPU does not give the numbers that {weights.name} is defined by: {instead()}")


def on_device(kind: str, weights: Any, device: str = "cuda", way: str = "") -> Device[Any, Any, Any]:
    """Make a model that encodes and decodes slabs; UnsupportedError for a kind that no device computes."""
    if kind not in KINDS:
        raise UnsupportedError(f"models of the pipeline {kind!r} run on the CPU alone: {instead()}")
    of_kind: Callable[[Any], Device[Any, Any, Any]] = import_module(f".{kind}.device", __package__).make_device
    return of_kind(network(kind, weights, device, way))
