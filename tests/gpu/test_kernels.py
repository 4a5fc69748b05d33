"""The kernels without a GPU: interpreted they give the same numbers, compiled for one they spill no registers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("triton")
pytestmark = pytest.mark.long


def run(environment: dict[str, str], *command: str) -> None:
    """Run Python in a process of its own; what it printed is shown where it fails."""
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]


@pytest.mark.parametrize("cases", ["gpu/interpreted.py", "learn/interpreted_training.py"])
def test_interpreted_they_equal_the_cpu(cases: str) -> None:
    run({"TRITON_INTERPRET": "1"}, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/{cases}")


def test_they_compile_for_a_gpu_without_spilling() -> None:
    run({"TRITON_INTERPRET": "0"}, "-m", "tests.gpu.compiled")
