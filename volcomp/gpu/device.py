"""Which GPU there is, and a model on it that has been held against the reference; what is missing is said in a
sentence. The first of the ways to compute there is taken that gives the reference's numbers."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..encoder import linear_fit
from ..stages import linear
from ..stages.payload import Reader, Survey
from ..errors import UnsupportedError
from ..runtime.rendezvous import ByCalls
from ..stages.lstm import reference
from ..stages.lstm.weights import Weights
from ..pipelines.paper import weights as published
from ..pipelines.row.slab import Team, lay_out
from ..pipelines.row.wavefront import Given, Opened
from ..pipelines.row.wavefront import survey as definition

if TYPE_CHECKING:
    from .row.group import Group
    from .row.network import Network, Steps
    from .paper import network as paper

    AnyNetwork = Network | paper.Network

INSTEAD = "use --device cpu, which gives the same bytes"
# Slabs that are tried, and their largest grey levels: one is through before the other, and both learn.
_SHAPES = (((6, 9, 11), 900), ((3, 9, 11), 30_000))
# What a voxel of a slab takes of a GPU's memory, known or not, in slices of 128² with `base` and a support that reaches
# far; in slices of 512², where margins and what rows pass on weigh less, it is half of that, and less with `paper`.
GIVEN_BYTES, OPENED_BYTES = 40, 30
CONVOY_VOXELS = 1 << 28  # of several volumes, at most: 32 slabs of 32 slices of 512²
_FIT = 8, 1  # how their linear stage is fitted: runs, effort


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


def ways(device: str) -> list[Callable[[Group], Steps]]:
    """How a device may compute, fastest first."""
    from .row import plain

    if device != "cuda" or not importlib.util.find_spec("triton"):
        return [plain.Steps]
    from .row import launch

    return [launch.Graphs, launch.Steps, plain.Steps]


def network(weights: Weights | published.Weights, device: str = "cuda", way: str = "") -> AnyNetwork:
    """The model on that device, with "torch" or "triton" in that way alone. Raises UnsupportedError where nothing there
    gives the reference's numbers."""
    make: Any  # of this kind of model:
    holds: Any
    of_device: Any
    if isinstance(weights, published.Weights):
        from .paper.device import check as holds
        from .paper.device import ways as of_device
        from .paper.network import Network as make
    else:
        from .row.network import Network as make

        holds, of_device = check, ways
    tried: list[Any] = {"torch": of_device("cpu"), "triton": of_device("cuda")[-2:-1]}.get(way) or of_device(device)
    for candidate in tried:
        try:
            made = make(weights, device, candidate)
            holds(made)
            return made
        except Exception as error:  # of a driver, a compiler, the device: whatever it is, another way may do
            name = f"{candidate.__module__.rpartition('.')[2]}.{getattr(candidate, '__name__', '')}"
            warnings.warn(f"{name} is left aside: {error}", RuntimeWarning, stacklevel=2)
    raise UnsupportedError(f"this GPU does not give the numbers that {weights.name} is defined by: {INSTEAD}")


class Walks:
    """Walks over slabs with a network: `survey` there, `restore` back, each called with slabs and with whom to tell of
    voxels that are done. Slabs of several volumes walk together, but for models whose voxels need no company."""

    survey: Callable[..., list[Any]]
    restore: Callable[..., list[Any]]

    def __init__(self, network: AnyNetwork) -> None:
        self.network = network
        if isinstance(network.weights, published.Weights):
            from .paper import wavefront as alone

            self.survey = lambda slabs, done: alone.survey(slabs, network, done)
            self.restore = lambda slabs, done: alone.restore(slabs, network, done)
            return
        from .row import wavefront
        from .batcher import Convoy

        self.survey = Convoy(lambda slabs, done: wavefront.survey(slabs, network, done), partial(self.room, GIVEN_BYTES))
        self.restore = Convoy(lambda slabs, done: wavefront.restore(slabs, network, done), partial(self.room, OPENED_BYTES))

    def room(self, bytes_per_voxel: int, most: int = CONVOY_VOXELS) -> int:
        """How many voxels may walk at once now."""
        return min(self.network.free() // bytes_per_voxel, most)


def check(made: Network) -> None:
    """Fit the linear stage of small slabs and walk over them there and back; raises RuntimeError where the reference
    says otherwise."""
    from . import normal_equations
    from .row import wavefront

    slabs = [_slab(shape, largest, made.weights) for shape, largest in _SHAPES]
    numpy = reference.Network(made.weights)
    expected = [definition(given, numpy, Team(None, 1), lambda done: None) for given in slabs]
    found = wavefront.survey(slabs, made, lambda done: None)
    replays = [_Replay(given, survey) for given, survey in zip(slabs, expected, strict=True)]
    opened = [
        Opened(given.layout, cast(Reader, replay), given.limit, given.fitted)
        for given, replay in zip(slabs, replays, strict=True)
    ]
    back = wavefront.restore(opened, made, lambda done: None)
    pairs = [pair for one in zip(found, expected, strict=True) for pair in zip(*one, strict=True)]
    same = [a is not None and b is not None and np.array_equal(a, b) for a, b in pairs]
    same += [isinstance(a, np.ndarray) and np.array_equal(a, b.levels) for a, b in zip(back, slabs, strict=True)]
    fits = [(normal_equations.fit(one.levels, *_FIT, made.device), one.fitted) for one in slabs]
    same += [linear.to_bytes(a) == linear.to_bytes(b) for a, b in fits]
    if not all(same) or not all(replay.same for replay in replays):
        raise RuntimeError("it does not give the reference's numbers here")


def _slab(shape: tuple[int, int, int], largest: int, weights: Weights) -> Given:
    """Smooth, noisy, and with a grey level that occurs often."""
    random = np.random.default_rng(largest)
    z, y, x = np.indices(shape)
    levels = largest * (0.5 + 0.3 * np.sin(0.3 * x + 0.2 * y + 0.5 * z)) + random.normal(0, 0.02 * largest, shape)
    levels = np.where(random.random(shape) < 0.2, largest // 3, levels).round().clip(0, largest).astype(np.int32)
    fitted = linear_fit.fit_by_effort(levels, *_FIT)
    quiet = largest // 3 if weights.learns else None
    return Given(lay_out(shape, fitted), levels, largest, fitted, largest // 3, quiet)


class _Replay(ByCalls):
    """Stands for a `coding.Reader` of a slab that is known: it notes whether what it is told is what it should be."""

    def __init__(self, given: Given, survey: Survey) -> None:
        self.spike, self.quiet = given.common, given.quiet
        self.same = True
        self._survey, self._begin = survey, 0

    def take(self, mean: np.ndarray, classes: np.ndarray, context: np.ndarray) -> np.ndarray:
        """As `coding.Reader.take`."""
        here = slice(self._begin, self._begin + len(mean))
        self._begin = here.stop
        _, voxel, *said = self._survey
        pairs = zip((mean, classes, context), said, strict=True)
        self.same &= all(b is not None and np.array_equal(a, b[here]) for a, b in pairs)
        return voxel[here]

    def finish(self) -> None:
        """As `coding.Reader.finish`."""
