"""The share of the machine that this process may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_NO_LIMIT = 1 << 60  # bytes: version 1 of control groups states a larger number for no limit


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_limits(groups: Path = Path("/proc/self/cgroup"), mounted: Path = Path("/sys/fs/cgroup")) -> Iterator[int]:
    """Yield the memory limits, in bytes, of the control groups around this process (a container, or a SLURM job)."""
    for line in groups.read_text().splitlines() if groups.exists() else ["0::/"]:
        number, controllers, own = line.split(":", 2)
        if number == "0":
            root, name = mounted, "memory.max"
        elif "memory" in controllers.split(","):
            root, name = mounted / "memory", "memory.limit_in_bytes"
        else:
            continue
        here = root / own.lstrip("/")
        for group in [here, *here.parents]:
            if group.is_relative_to(root) and (group / name).exists():
                limit = (group / name).read_text().strip()
                if limit != "max" and int(limit) < _NO_LIMIT:
                    yield int(limit)
