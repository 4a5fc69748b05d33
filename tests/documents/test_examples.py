"""The examples run, as do the examples in docstrings."""

import doctest
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
# A line that each prints before its last one.
LINES = {
    "one_array.py": "(48, 64, 64) i2, ",
    "one_slice.py": "160 slices in 5 slabs",
    "folder.py": "49 files of ",
    "chunks.py": "chunk 2 holds slices 64 to 95",
    "codec_loop.py": "payload ",
}


def test_each_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == {*LINES, "phantom.py"}  # which the others import


@pytest.mark.parametrize("name", LINES)
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "the voxels are the same"
    assert any(line.startswith(LINES[name]) for line in lines), done.stdout


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_an_example_hides_no_module_of_the_standard_library(name: str) -> None:
    assert name not in sys.stdlib_module_names  # the folder of a script comes first where Python looks for modules


@pytest.mark.parametrize("module", ["volcomp.arrays", "volcomp.files", "volcomp.container.inspection"])
def test_the_examples_in_docstrings_run(module: str) -> None:
    done = doctest.testmod(import_module(module))
    assert done.attempted > 0
    assert done.failed == 0
