"""Report what this machine has for volcomp, and problems, for a request for help: `volcomp doctor`.

The parts are independent, and a part that fails has the reason: a report is needed most on a broken machine. It has no
paths except that of compiled code.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import tempfile
import textwrap
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

from . import __version__

Facts = dict[str, Any]

_PACKAGES = ("numpy", "numba", "llvmlite", "constriction", "pydicom", "zstandard", "torch")
_ROWS = 128  # of a timed step
_ENOUGH_SECONDS, _TRIES = 0.01, 3  # it is timed at least so long, and so often
_LOW_MEMORY = 2 << 30  # bytes; a chest CT takes about 1 GB
_SETS = (  # the instruction sets that matter, of some hundred
    *("sse4.2", "avx", "avx2", "fma", "f16c", "avxvnni", "avxvnniint8"),
    *("avx512f", "avx512bw", "avx512vl", "avx512vnni", "avx512bf16", "amx-int8"),
    *("neon", "dotprod", "i8mm", "sve", "sve2"),
)
_DRIVER = Path("/proc/driver/nvidia/version")
_COLUMNS, _INDENT = 80, 14


def examine(around: AbstractContextManager[Any] | None = None) -> Facts:
    """Return the facts by part; `around` is a context for the time in which kernels may be compiled."""
    parts: dict[str, Callable[[], Any]] = {
        "versions": _versions,
        "processor": _processor,
        "kernels": _kernels,
        "threads": _threads,
        "memory": _memory,
        "cache": _cache,
        "gpu": _gpu,
        "settings": _settings,
    }
    with ExitStack() as stack:
        with suppress(Exception):  # numba cannot be imported, as the parts will report
            stack.enter_context(around or nullcontext())
        found = {name: _facts_or_reason(find) for name, find in parts.items()}
    return {**found, "advice": _advice(found)}


def _facts_or_reason(find: Callable[[], Any]) -> Any:
    """Return the facts of a part; {"unknown": reason} if it fails in any way."""
    try:
        return find()
    except Exception as error:
        return {"unknown": _without_paths(f"{type(error).__name__}: {error}")}


def _without_paths(text: str) -> str:
    """Shorten every path to its last name."""
    return re.sub(r"(?:[A-Za-z]:)?(?:[\\/][^\s\\/'\":,;()]+)+[\\/]([^\s\\/'\":,;()]+)", r"…/\1", " ".join(text.split()))


def _versions() -> Facts:
    found = {"volcomp": __version__, "python": platform.python_version(), "platform": platform.platform(terse=True)}
    for package in _PACKAGES:
        try:
            present = importlib.util.find_spec(package) is not None
            found[package] = importlib.metadata.version(package) if present else "not installed"
        except (ImportError, ValueError):  # no distribution of this name, though perhaps a module
            found[package] = "unknown"
    return found


def _processor() -> Facts:
    from numba.core.registry import cpu_target

    from .runtime.vectors import instructions

    _, compiled_for, stated = cpu_target.target_context.codegen().magic_tuple()
    has = {feature[1:] for feature in stated.split(",") if feature.startswith("+")}
    return {
        "name": _processor_name(),
        "machine": platform.machine(),
        "compiled_for": compiled_for,
        "instructions": instructions(),
        "sets": [name for name in _SETS if name in has],
    }


def _processor_name() -> str:
    about = Path("/proc/cpuinfo")
    if about.exists():
        for line in about.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip().lower() in ("model name", "hardware") and value.strip():
                return value.strip()
    if platform.system() == "Darwin":
        brand = subprocess.run(["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        if brand.stdout.strip():
            return brand.stdout.strip()
    return platform.processor() or "a processor without a name"


def _kernels() -> list[Facts]:
    from . import models
    from .pipelines.row.pipeline import ROW
    from .stages import features

    of_rows = [model for model in map(models.chosen, models.CHOICES) if model.pipeline == "row"]
    return [_of_model(model.choice, ROW.load(model).without(features.SPARED)) for model in of_rows]


def _of_model(name: str, weights: Any) -> Facts:
    """Return the speed of every backend of a model, in 10⁹ multiplications with addition a second, and the choice."""
    from .runtime import products
    from .stages.lstm.cpu import CpuLstm

    shape = weights.weights.shape
    speeds: dict[str, float | str] = {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network = CpuLstm(weights)
        if network.packed is not None:
            speeds["vector"] = _rounded(_ROWS * shape[0] * shape[1] / _step_seconds(network))
        for maker in products.makers():
            try:
                speeds[maker.__name__] = _rounded(products.speed(maker, shape))
            except products.FAULTS as error:
                speeds[maker.__name__] = _without_paths(f"{type(error).__name__}: {error}")
    warned = {str(one.message) for one in caught if "left aside" in str(one.message)}
    return {
        "model": name,
        "weights": list(shape),
        "gmacs": speeds,
        "chosen": network.kernel,
        "left_aside": sorted(map(_without_paths, warned)),
    }


def _rounded(rate: float) -> float:
    return float(f"{rate / 1e9:.3g}")


def _step_seconds(network: Any) -> float:
    """Return the least seconds of a step, with gates and head."""
    from .stages.lstm.state import State

    state = State(network.weights, _ROWS)
    network.step(state, 0, _ROWS)
    seconds: list[float] = []
    while len(seconds) < _TRIES or sum(seconds) < _ENOUGH_SECONDS:
        begin = time.perf_counter()
        network.step(state, 0, _ROWS)
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def _threads() -> Facts:
    from .runtime.cpus import cores

    return {"usable": cores(), "cores": os.cpu_count()}


def _memory() -> Facts:
    from .runtime.cpus import memory_limits

    about = Path("/proc/meminfo")
    if about.exists():
        lines = dict(line.split(":", 1) for line in about.read_text().splitlines())
        total, available = (1024 * int(lines[key].split()[0]) for key in ("MemTotal", "MemAvailable"))
    else:
        total, available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), None
    return {"total": total, "available": available, "limit": min(memory_limits(), default=None)}


def _cache() -> Facts:
    """Return where the code of volcomp's loops is kept."""
    from .codec import encode  # noqa: F401  # imports nearly all loops
    from .runtime import compiled, precompiled

    places = [getattr(loop._cache, "cache_path", None) for loop in compiled.loops]
    folders = sorted({Path(place) for place in places if place})
    files = [path for folder in folders if folder.is_dir() for path in folder.glob("*.nb[ic]")]
    return {
        "place": _home_as_tilde(os.path.commonpath(folders)) if folders else None,
        "writable": bool(folders) and all(_is_writable(folder) for folder in folders),
        "loops": len(places),
        "kept": sum(place is not None for place in places),
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "fault": compiled.unkept(),
        "precompiled": [name for name in precompiled.TARGETS if precompiled.place(name).is_dir()],
    }


def _home_as_tilde(path: str) -> str:
    home = os.path.expanduser("~").rstrip("/\\")
    return "~" + path[len(home) :] if home and (path + os.sep).startswith(home + os.sep) else path


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(1 << 16))  # a full disk takes an empty file, but not this
        return True
    except OSError:
        return False


def _gpu() -> Facts:
    driver = re.search(r"Kernel Module\D+([\d.]+)", _DRIVER.read_text()) if _DRIVER.exists() else None
    found: Facts = {"driver": driver.group(1) if driver else None}
    from .gpu import device

    why = device.missing()
    return {**found, "missing": _without_paths(why)} if why else {**found, "missing": None, "name": device.name()}


def _settings() -> Facts:
    """Return the settings of numba, from the environment or its own file."""
    from numba import config

    names = ("DISABLE_JIT", "CPU_NAME", "CPU_FEATURES")
    values = {f"NUMBA_{name}": getattr(config, name, None) for name in names}
    return {name: value for name, value in values.items() if value not in (None, 0)}


def _advice(found: Facts) -> list[str]:
    """Return a sentence for every problem."""
    lines = [f"the {name} could not be found out: {part['unknown']}" for name, part in found.items() if _unknown(part)]
    known = {name: part for name, part in found.items() if not _unknown(part)}
    set_to: Facts = known.get("settings", {})
    if "NUMBA_DISABLE_JIT" in set_to:
        lines.append(
            "NUMBA_DISABLE_JIT is set, so that nothing is compiled, and most of volcomp does not work: unset it"
        )
    if others := [name for name in set_to if name != "NUMBA_DISABLE_JIT"]:
        hint = ", which alone leaves this processor's instructions in" if others == ["NUMBA_CPU_NAME"] else ""
        lines.append(
            f"what code is compiled for is set by {' and '.join(others)}{hint}: unset that if it was not meant"
        )
    if known.get("processor", {}).get("instructions") == "none":
        lines.append("no vector instructions are known here for this processor: slower products serve instead")
    for model in known.get("kernels", []):
        lines += [f"{model['model']}: {sentence}" for sentence in model["left_aside"]]
    cache = known.get("cache", {})
    if cache.get("fault"):
        lines.append(cache["fault"])
    elif cache.get("place") and not cache["writable"]:
        lines.append(
            "the folder for compiled code cannot be written, or its disk is full: set NUMBA_CACHE_DIR to another, or "
            "every start compiles what is not there yet"
        )
    memory = known.get("memory", {})
    if any(memory[key] < _LOW_MEMORY for key in ("total", "available", "limit") if memory.get(key) is not None):
        lines.append("memory is low: end other programs, allow this one more, or use --threads 1")
    gpu = known.get("gpu", {})
    if gpu.get("missing") and (gpu["driver"] or "driver" in gpu["missing"] or "loaded" in gpu["missing"]):
        lines.append(gpu["missing"])
    return lines


def _unknown(part: Any) -> bool:
    return isinstance(part, dict) and "unknown" in part


def as_text(found: Facts) -> str:
    """Format the facts as text of 80 columns, part by part."""
    show: dict[str, Callable[[Any], Sequence[str]]] = {
        "versions": _show_versions,
        "processor": _show_processor,
        "kernels": _show_kernels,
        "threads": lambda threads: [f"{threads['usable']} of {threads['cores']} cores may be used"],
        "memory": _show_memory,
        "cache": _show_cache,
        "gpu": _show_gpu,
        "settings": lambda settings: [f"{name}={value}" for name, value in settings.items()] or ["none of numba's"],
        "advice": lambda advice: advice or ["nothing amiss"],
    }
    lines = []
    for name, shown in show.items():
        part = found[name]
        for k, line in enumerate([f"cannot be found out: {part['unknown']}"] if _unknown(part) else shown(part)):
            label = f"{name if k == 0 else '':{_INDENT}}"
            lines += textwrap.wrap(
                line, _COLUMNS, initial_indent=label, subsequent_indent=" " * _INDENT, break_on_hyphens=False,
                drop_whitespace=True, replace_whitespace=False,
            )  # fmt: skip
    return "\n".join(lines)


def _show_versions(versions: Facts) -> list[str]:
    rest = ", ".join(f"{name} {versions[name]}" for name in _PACKAGES)
    return [f"volcomp {versions['volcomp']}, Python {versions['python']}, {versions['platform']}", rest]


def _show_processor(processor: Facts) -> list[str]:
    used = processor["instructions"]
    return [
        f"{processor['name']}, {processor['machine']}, to the compiler {processor['compiled_for'] or 'without a name'}",
        f"vector instructions used: {used}; there are: {' '.join(processor['sets']) or 'none that is known here'}",
    ]


def _show_kernels(kernels: Sequence[Facts]) -> list[str]:
    lines = []
    for model in kernels:
        size, columns = model["weights"]
        lines.append(f"{model['model']}, weights {size} × {columns}, GMAC/s of one core")
        for name, speed in model["gmacs"].items():
            rate = speed if isinstance(speed, str) else f"{speed:8.1f}"
            lines.append(f"  {name:15}{rate}" + ("  taken" if name == model["chosen"] else ""))
    return [*lines, "vector is a whole step of the network, the others a matrix product"]


def _show_memory(memory: Facts) -> list[str]:
    limit = f"limited to {_gigabytes(memory['limit'])}" if memory["limit"] else "no limit of a control group"
    free = f"{_gigabytes(memory['available'])} available" if memory["available"] else "how much is free is not known"
    return [f"{_gigabytes(memory['total'])}, {free}, {limit}"]


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.1f} GB"


def _show_cache(cache: Facts) -> list[str]:
    if not cache["loops"]:
        return ["nothing is compiled"]
    ahead = [f"compiled ahead for {', '.join(cache['precompiled'])}"] if cache["precompiled"] else []
    if not cache["place"]:
        return ["compiled code is not kept", *ahead]
    part = "" if cache["kept"] == cache["loops"] else f", {cache['kept']} of {cache['loops']} loops are kept"
    return [
        f"compiled code is kept in {cache['place']}",
        f"{'writable' if cache['writable'] else 'not writable'}, {cache['files']} files, "
        f"{cache['bytes'] / 1e6:.1f} MB{part}",
        *ahead,
    ]


def _show_gpu(gpu: Facts) -> list[str]:
    driver = f"NVIDIA driver {gpu['driver']}" if gpu["driver"] else "no NVIDIA driver is seen"
    return [gpu["missing"] or gpu["name"], driver]
