"""Training's kernels in Triton's interpreter, against the CPU's passes and blocks. Run by `test_kernels.py`, in a
process of its own, as `interpreted.py` is.

The interpreter cuts bfloat16 off where a GPU rounds it, so that gradients may be further off than
`test_device_training.py` lets them be.
"""

import pytest
import torch

from tests.learn.test_device_training import (
    DEVICE,
    assert_same_blocks,
    assert_same_passes,
    assert_same_when_saturated,
    slabs_of_all_kinds,
)
from volcomp.learn import device, launch
from volcomp.learn.blocks import Slabs


@pytest.mark.parametrize(
    ("hidden", "shared", "shape"),
    [
        (32, 16, (6, 2, 3, 4)),  # two blocks to a program, with lanes left over; two programs
        (32, 16, (2, 3, 2, 1)),  # rows shorter than what they lie behind
        (32, 0, (4, 1, 2, 3)),
        (64, 32, (4, 3, 6, 1)),  # two programs' worth of units, as many rows as training has
        (128, 32, (3, 1, 1, 3)),
    ],
)
def test_the_passes_are_the_cpus(hidden: int, shared: int, shape: tuple[int, int, int, int]) -> None:
    assert_same_passes(launch.Kernels(hidden, shared, "cpu"), shape, hidden, shared, tolerance=0.04, shifts=(6, 8))


def test_weights_that_saturate() -> None:
    assert_same_when_saturated(launch.Kernels(32, 16, "cpu"), (4, 1, 2, 3), 32, 16)


def test_it_passes_the_check_of_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "ways", lambda where: [launch.Kernels])
    assert type(device.passes(32, 16, DEVICE)) is launch.Kernels


def test_blocks_are_the_cpus() -> None:
    slabs = slabs_of_all_kinds()
    held = Slabs(slabs, DEVICE)
    held.kernels = True
    assert_same_blocks(held, slabs, DEVICE, (2, 4, 11))


def test_what_the_kernels_do_not_serve() -> None:
    with pytest.raises(ValueError, match="multiple of 32 hidden units, not 48"):
        launch.Kernels(48, 16, "cpu")
    with pytest.raises(ValueError, match="pass on 0, 16 or 32 of their outputs, not 8"):
        launch.Kernels(32, 8, "cpu")
    inputs, integers, shift = (torch.zeros(n, dtype=torch.int8) for n in ((1, 5, 13, 1, 64), (128, 128), 128))
    with pytest.raises(ValueError, match="at most 64 rows, not 65"):
        launch.Kernels(32, 16, "cpu").forward(inputs, integers, shift.int())
