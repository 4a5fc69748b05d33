"""What a speed was measured on: the processor, the instructions that compilers were allowed, and versions.

The environment may forbid instructions that the processor has, which stands for an older one:

    NUMBA_CPU_NAME=haswell NUMBA_CPU_FEATURES= ONEDNN_MAX_CPU_ISA=AVX2 make speed

numba takes the features of the processor that it runs on whatever NUMBA_CPU_NAME says, unless NUMBA_CPU_FEATURES is
set as well, be it to nothing.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from .rivals import Codec, versioned

# Of x86, the weakest first, each with all before it; by the names that /proc/cpuinfo has.
LADDER = ("x86-64", "avx2", "avx_vnni", "avx512", "avx512_vnni", "avx512_vnni+amx_int8")
_NEEDS = {"avx2": "avx2", "avx_vnni": "avx_vnni", "avx512": "avx512bw", "avx512_vnni": "avx512_vnni"}
CAPS = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY")
# What processors and limits that somebody names here come to; one that is not listed is taken for no limit.
_NUMBA = dict.fromkeys(("haswell", "broadwell", "skylake", "znver1", "znver2", "znver3"), "avx2") | {
    "generic": "x86-64", "x86-64-v3": "avx2", "alderlake": "avx_vnni", "x86-64-v4": "avx512",
    "skylake-avx512": "avx512", "cascadelake": "avx512_vnni",
}  # fmt: skip
_ONEDNN = {
    "SSE41": "x86-64", "AVX": "x86-64", "AVX2": "avx2", "AVX2_VNNI": "avx_vnni", "AVX2_VNNI_2": "avx_vnni",
    "AVX512_CORE": "avx512", "AVX512_CORE_VNNI": "avx512_vnni", "AVX512_CORE_BF16": "avx512_vnni",
    "AVX512_CORE_FP16": "avx512_vnni",
}  # fmt: skip
COLUMNS = ("processor", "instruction_set", "caps", "threads", "rounds", "numpy", "numba", "torch", "volcomp", "rival")
NO_TORCH = "none"


def describe(codec: Codec, threads: int, rounds: int) -> dict[str, str]:
    """The columns of a row: where a codec is measured now, and with what."""
    own = [line for line in codec.versions if not line.startswith("volcomp ")]
    return {
        "processor": processor(),
        "instruction_set": instruction_set(),
        "caps": " ".join(f"{name}={os.environ[name]}" for name in CAPS if name in os.environ),
        "threads": str(threads),
        "rounds": str(rounds),
        "torch": versioned("torch").split()[1] if find_spec("torch") else NO_TORCH,
        "rival": ", ".join(own),
    } | {name: versioned(name).split()[1] for name in ("numpy", "numba", "volcomp")}


def key(row: Mapping[str, str]) -> tuple[str | bool, ...]:
    """What makes rows comparable: the processor, its instructions, threads, whether there is torch. Of two rows of a
    codec with the same key, the later one counts."""
    return row["processor"], row["instruction_set"], row["threads"], row["torch"] != NO_TORCH


def heading(row: Mapping[str, str]) -> str:
    """Above the table of all rows with this one's key."""
    torch = "without torch" if row["torch"] == NO_TORCH else f"torch {row['torch'] or 'unknown'}"
    return f"{row['processor']}, {row['instruction_set']}, {row['threads']} threads, {torch}"


def rank(row: Mapping[str, str]) -> int:
    """For an order of tables: the more a processor may do, the sooner. Others come after those of x86."""
    name = row["instruction_set"].removesuffix(" (capped)")
    return LADDER[::-1].index(name) if name in LADDER else len(LADDER)


def processor() -> str:
    """The processor's name as the system gives it: on Linux from /proc/cpuinfo, which knows more than `platform`."""
    return _fields("model name") or platform.processor() or platform.machine()


def instruction_set() -> str:
    """As `allowed` has it, of this machine under this environment."""
    return allowed(_fields("flags") or _fields("Features"), platform.machine(), os.environ)


def allowed(flags: str, machine: str, environment: Mapping[str, str]) -> str:
    """Of the instructions that int8 products gain by, those that a processor with these flags has and that numba and
    oneDNN may use.

    "avx512_vnni"; "avx2 (capped)" where the environment forbids both to use more; where it forbids one of them,
    "avx512_vnni (numba capped to avx2)". Of ARM "neon", "neon+dotprod", "neon+dotprod+i8mm".
    """
    has = set(flags.split())
    if machine.lower() in ("aarch64", "arm64"):
        # Every ARM processor that macOS runs on has dotprod, and there is no /proc there to say so.
        dotprod = "asimddp" in has or not has
        return "neon" + "+dotprod" * dotprod + "+i8mm" * ("i8mm" in has)
    host = max((name for name, flag in _NEEDS.items() if flag in has), key=LADDER.index, default=LADDER[0])
    if host == "avx512_vnni" and "amx_int8" in has:
        host = LADDER[-1]
    by = {"numba": _numba_limit(environment), "oneDNN": _ONEDNN.get(environment.get("ONEDNN_MAX_CPU_ISA", "").upper())}
    may = {name: min(host, limit or host, key=LADDER.index) for name, limit in by.items()}
    capped = {name: reached for name, reached in may.items() if reached != host}
    if len(capped) == len(may) and len(set(capped.values())) == 1:
        return f"{may['numba']} (capped)"
    limits = ", ".join(f"{name} capped to {reached}" for name, reached in capped.items())
    return f"{host} ({limits})" if limits else host


def _numba_limit(environment: Mapping[str, str]) -> str | None:
    """What numba may use at most; None: whatever there is."""
    name = environment.get("NUMBA_CPU_NAME", "").lower()
    features = environment.get("NUMBA_CPU_FEATURES", "" if name == "generic" else None)
    if features is None:
        return None  # the name alone leaves numba all features of the processor
    given = {part.removeprefix("+").replace("avx512vnni", "avx512_vnni") for part in features.split(",")}
    found = [limit for limit, flag in _NEEDS.items() if flag in given]
    return max([*found, _NUMBA[name]], key=LADDER.index) if name in _NUMBA else None


def _fields(name: str) -> str:
    """What /proc/cpuinfo says of the first processor under this name; empty where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == name), "")
