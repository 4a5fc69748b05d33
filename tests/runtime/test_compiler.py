"""What compiles loops faster changes nothing that they compute."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from numba.core import codegen
from numba.core import compiler as numbas

from volcomp.runtime import compiler
from volcomp.runtime.compiled import entry, part
from volcomp.runtime.scalars import larger, smaller


@entry
def _both(a, b):
    return smaller(a, b), larger(a, b)


@part
def _add(total, x):
    total[0] += x


@entry
def _add_twice(total, x):
    _add(total, x)
    _add(total, x)


@entry
def _add_four_times(total, x):
    _add_twice(total, x)
    _add_twice(total, x)


@entry(allocates=True)
def _reversed(x):
    out = np.empty(x.shape[0], x.dtype)
    for i in range(x.shape[0]):
        out[i] = x[x.shape[0] - 1 - i]
    return out


def test_the_smaller_and_the_larger_of_integers_are_those_of_python():
    numbers = [np.int32(-7), np.int64(-7), np.uint8(200), np.int16(-300), np.int64(1) << np.int64(40), 0]
    for a, b in itertools.product(numbers, numbers):
        assert _both(a, b) == (min(int(a), int(b)), max(int(a), int(b)))


def test_a_loop_is_an_entry_for_python_and_a_part_of_other_loops():
    total = np.zeros(1)
    _add_four_times(total, 1.5)
    assert total[0] == 6 and not _add_twice.overloads
    _add_twice(total, 1.0)
    assert total[0] == 8 and _add_twice.overloads


def test_what_allocates_may_return_arrays():
    assert _reversed(np.arange(3)).tolist() == [2, 1, 0]


@pytest.mark.parametrize("is_part", [True, False])
def test_a_numba_that_is_made_otherwise_compiles_by_its_own_ways(monkeypatch, is_part):
    assert issubclass(compiler.of(is_part), compiler.PartCompiler)
    monkeypatch.delattr(codegen.CPUCodeLibrary, "_optimize_functions")
    monkeypatch.delattr(compiler._Library, "_optimize_functions", raising=False)
    assert compiler.of(is_part) is numbas.Compiler


@pytest.mark.long
def test_with_a_numba_that_was_not_tried_files_are_the_same(tmp_path):
    """Then numba's own compiler compiles everything."""
    code = (
        "import hashlib\nimport numpy as np\nfrom volcomp.runtime import compiler\n{}\nimport volcomp\n"
        "voxels = np.random.default_rng(0).normal(1000, 20, (4, 40, 40)).astype('u2')\n"
        "print(hashlib.sha256(volcomp.compress(voxels)).hexdigest())"
    )

    def digest(patch, folder):
        command = [sys.executable, "-c", code.format(patch)]
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}  # its own, or the other's code would be read
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout

    assert digest("compiler.TRIED = ()", tmp_path / "theirs") == digest("", tmp_path / "ours")
