"""volcomp as a user has it: the command line, run on folders; shared by the demo and the benchmarks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from volcomp.training.corpus import ROOT

T = TypeVar("T")


def volcomp(*arguments: str | Path, cwd: Path | None = None) -> str:
    """Run the command, let its messages through, and return what it printed; CalledProcessError where it failed."""
    line = [sys.executable, "-m", "volcomp", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}  # this checkout's, wherever it runs
    return subprocess.run(line, check=True, stdout=subprocess.PIPE, text=True, cwd=cwd, env=environment).stdout.strip()


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What the work returns, and its wall-clock seconds."""
    start = time.perf_counter()
    result = work()
    return result, time.perf_counter() - start


def same_files(ours: Path, theirs: Path) -> bool:
    """Whether two folders hold the same files: names, nesting and every byte. What an empty `diff -r` says."""
    left, right = ({path.relative_to(root): path for path in root.rglob("*")} for root in (ours, theirs))
    return left.keys() == right.keys() and all(
        right[name].is_dir() if path.is_dir() else right[name].read_bytes() == path.read_bytes()
        for name, path in left.items()
    )
