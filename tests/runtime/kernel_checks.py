"""What the kernels of `volcomp.runtime.vectors` must compute, whatever runs them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import pytest

from volcomp.constants import DEPTHS, INPUTS, LANES
from volcomp.encoder import normal_equations
from volcomp.runtime import products, sums, vectors
from volcomp.runtime.vectors import NONE
from volcomp.stages import features, linear_inputs
from volcomp.stages.grid import PaddedSlab
from volcomp.stages.lstm import reference, vector
from volcomp.stages.lstm.state import State
from volcomp.stages.lstm.weights import LstmWeights

DOTS, PAIRS = (8, 16, 32), (16, 32, 64)  # lanes of sums of `dot`, of factors of `add_pairs`
Array = np.ndarray
Argument = int | Array | tuple[Array, int]  # an array may be given with the byte in it that is pointed to


class Runner(Protocol):
    """Calls the kernel of a name; what it writes is in the arrays then."""

    def __call__(self, name: str, *arguments: Argument) -> int: ...


@contextmanager
def compiling_for(instructions: str) -> Iterator[None]:
    """As if numba compiled for a processor with these instructions."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "instructions", lambda: instructions)
        units = vectors.units()
        patch.setattr(sums, "_ACROSS", 4 if units == 16 else 2)
        patch.setattr(sums, "_LANES", 2 * units)
        yield


def _low(number: Any) -> Any:
    """What int32 makes of it."""
    return np.asarray(number).astype(np.int64).astype(np.int32)


def _some(random: np.random.Generator, shape: Any, kind: Any, low: int, high: int) -> Array:
    """Of numbers from low to high half are the ends."""
    drawn = random.integers(low, high + 1, shape)
    ends = random.choice([low, high, max(low, -1), 0], shape)
    return np.where(random.random(shape) < 0.5, drawn, ends).astype(kind)


def check_dots(run: Runner, random: np.random.Generator) -> None:
    flip = 0 if vectors.instructions() in vectors.SIGNED else 128
    for count in DOTS:
        signed, weights = _some(random, (999, 4), np.int8, -128, 127), _some(random, (999, count, 4), np.int8, -64, 64)
        signed[:3] = np.array([[127], [127], [-128]])
        weights[:3] = np.array([64, -64, 64])[:, None, None]
        sums = random.integers(-(1 << 31), 1 << 31, (999, count)).astype(np.int32)
        fours = signed.astype(np.int64) + flip
        expected = _low(sums + (fours[:, None] * weights).sum(axis=2))
        run(f"dots_{count}", sums, fours.astype(np.uint8), weights, 999)
        assert np.array_equal(sums, expected), count


def check_pairs(run: Runner, random: np.random.Generator) -> None:
    for count in PAIRS:
        x, y = (_some(random, (999, count), np.int16, -32768, 32767) for _ in range(2))
        x[0], y[0] = -32768, -32768  # whose products leave 32 bits: to -2^31, everywhere
        out = np.zeros((999, count // 2), np.int32)
        run(f"pairs_{count}", x, y, out, 999)
        product = x.astype(np.int64) * y
        assert np.array_equal(out, _low(product[:, ::2] + product[:, 1::2])), count


def check_product(run: Runner, random: np.random.Generator) -> None:
    units = vectors.units()
    size, columns = 96, 12 * units
    weights = _some(random, (size, columns), np.int8, -64, 64)
    packed = products.tiles(weights, np.arange(columns).reshape(-1, 4, units))
    for name, rows in (("multiply", units // 4), ("multiply_one", 1)):
        for _ in range(5):
            x = _some(random, (rows, size), np.int8, -128, 127)
            given, out = x.view(np.int64) ^ packed.flip, np.zeros((rows, columns), np.int32)
            for g in range(3):
                w, begin = (packed.weights, g * packed.weights[0].nbytes), (packed.begin, g * packed.begin[0].nbytes)
                run(name, given, size, w, begin, (out, 16 * units * g), 4 * columns)
            assert np.array_equal(out, x.astype(np.int32) @ weights.astype(np.int32)), name


def check_step(run: Runner, random: np.random.Generator) -> None:
    units, h = vectors.units(), 32
    size = 64 + h
    for name, rows, largest in (("advance", units // 4, 64), ("advance", units // 4, 9), ("advance_one", 1, 3)):
        weights = LstmWeights(
            "test", _some(random, (size, 4 * h), np.int8, -largest, largest), _some(random, 4 * h, np.int32, 0, 7),
            np.zeros((2, size), np.int16), np.zeros(2, np.int32), np.full(2, 1 << 19, np.uint32), np.array([2]),
        )  # fmt: skip
        packed, state = vector.pack(weights), State(weights, rows)
        for _ in range(5):
            state.inputs[:] = _some(random, (rows, size), np.int8, -128, 127)
            state.cell[:] = _some(random, (rows, h), np.int16, -32767, 32767)
            given = state.inputs.view(np.int64) ^ packed.tiles.flip
            cell, seen = state.cell.copy(), np.zeros((rows, size), np.int8)  # rows of outputs end rows of inputs
            for g in range(h // units):
                own = [(a, g * a[0].nbytes) for a in (packed.tiles.weights, packed.tiles.begin, packed.shift)]
                at = g * units
                run(name, given, size, (cell, 2 * at), 2 * h, (seen, size - h + at), *own)
            reference.ReferenceLstm(weights).step(state, 0, rows)
            assert np.array_equal(cell, state.cell) and np.array_equal(seen[:, -h:], state.hidden), name
            assert not seen[:, :-h].any(), name


def check_head(run: Runner, random: np.random.Generator) -> None:
    for count in (16, 17, 31, 32, 96, 99):
        x, heads = _some(random, count, np.int8, -128, 127), _some(random, (2, count), np.int16, -32768, 32767)
        found = run("head", x, heads[0].copy(), heads[1].copy(), count)
        assert [found & 0xFFFFFFFF, found >> 32 & 0xFFFFFFFF] == (heads.astype(int) @ x & 0xFFFFFFFF).tolist(), count


def check_equations(run: Runner, random: np.random.Generator) -> None:
    across, limit, block = sums._ACROSS, sums.SMALL, sums.BLOCK
    rows = _some(random, (sums.TILE + across, block), np.int16, -limit, limit)
    rows[0] = rows[sums.TILE] = limit  # the largest sum there is
    for size in (sums._LANES, block):
        out = np.full((sums.TILE, across + 3), 5, np.int64)
        run("tile", rows, (rows, sums.TILE * rows[0].nbytes), rows[0].nbytes, size, out, out[0].nbytes)
        real = rows[:, :size].astype(np.int64)
        assert np.array_equal(out[:, :across] - 5, real[: sums.TILE] @ real[sums.TILE :].T)
        assert (out[:, across:] == 5).all()

    known, flat = random.integers(0, 1 << 15, 4096).astype(np.int16), -random.permutation(900)[:30] - 1
    runs = normal_equations._runs(flat.tobytes())
    places = random.integers(1000, 4000, 16).astype(np.int32)
    base, out = random.integers(0, 1 << 15, 16).astype(np.int16), np.zeros((flat.size + 1, block), np.int16)
    run("differences", known, runs, len(runs), places, base, out)
    near = known[flat[:, None] + places].astype(int) - base
    assert np.array_equal(
        out[:-1, :16], near.clip(-normal_equations.DIFFERENCE_LIMIT, normal_equations.DIFFERENCE_LIMIT)
    )


def check_linear(run: Runner, random: np.random.Generator) -> None:
    known, middle = random.integers(0, 1 << 15, 4096).astype(np.int16), 2048
    for pairs in (1, 3, 8):
        places = random.integers(-2000, 2000, 2 * pairs)
        active = random.integers(0, 2, 16 * pairs).astype(np.int16)
        near, base = np.zeros(16 * pairs, np.int16), int(random.integers(0, 1 << 15))
        found = run("gather", (known, 2 * middle), 2 * places, pairs, base, near, active)
        expected = known[middle + places[:, None] + np.arange(LANES)].ravel().astype(int) - base
        assert np.array_equal(near, expected) and _low(found) == (abs(expected) * active).sum()

        steps = _some(random, 8 * pairs, np.int32, -(1 << 31), (1 << 31) - 1)
        for activity in (0, (1 << 31) - 1, int(abs(int(steps[0])) % (1 << 31))):
            assert run("reached", steps, pairs, activity) == (activity >= steps).sum()

        x, y = (_some(random, 16 * pairs, np.int16, -32768, 32767) for _ in range(2))
        assert _low(run("weigh", x, y, pairs)) == _low(x.astype(np.int64) @ y)


def check_inputs(run: Runner, random: np.random.Generator) -> None:
    strides, size = (20 * 24, 24), 4 * 20 * 24
    known = _some(random, size + 6 * strides[0], np.int16, 0, (1 << 15) - 1)  # the latter: a reference beside it
    error = (_some(random, size, np.int32, -(1 << 19), 1 << 19) >> random.integers(0, 20, size)).astype(np.int32)
    for trial in range(12):
        z = trial % 4
        at, depth = z * strides[0] + 9 * strides[1] + 10, min(z, DEPTHS - 1)
        p = np.array([random.choice([0, int(known[at]) << 4, 16 * ((1 << 15) - 1)])], np.int32)
        scale, seen = np.zeros(1, np.int32), np.zeros((1, INPUTS), np.int8)
        near = known[at + features.neighbours(strides).levels[depth, : features.LEVELS_IN_SLICE]].astype(int)
        for name, sight, beside in (
            ("make_all", linear_inputs.FULL, 0), ("make_fewer", linear_inputs.LESS, 0),
            ("make_referring", linear_inputs.REFERRING, size),
        ):  # fmt: skip
            plain = features.neighbours(strides, beside)
            features.observe(
                PaddedSlab(known, error), np.array([at]), np.array([depth], np.uint8), plain, p, scale, seen
            )
            ours = linear_inputs.neighbours(strides, sight.width, beside)
            later, inputs = int(depth > 0), np.zeros(sight.rest, np.int8)
            rows = [ours.levels[depth].copy(), ours.errors[depth].copy()]
            found = run(
                name, (known, 2 * at), (error, 4 * at), *rows, int(p[0]),
                int(features.RECIPROCALS[scale[0]]), int(features.BOUNDS[scale[0]]), later, inputs,
            )  # fmt: skip
            expected = seen[0, : linear_inputs.FULL.rest]
            if sight is linear_inputs.LESS:
                expected = np.delete(expected, features.SPARED)
            assert np.array_equal(inputs, expected) and _low(found) == abs(16 * near - int(p[0])).sum(), name
            weights = ours.weights[later].copy()
            both = run("activities", (error, 4 * at), rows[1], weights)
            lanes = abs(error[at + (rows[1] >> 2)[:, None] + np.arange(LANES)].astype(np.int64)) * weights
            parts = lanes[: linear_inputs.ERROR_ROWS_IN_SLICE].sum(), lanes[linear_inputs.ERROR_ROWS_IN_SLICE :].sum()
            assert (both & 0xFFFFFFFF, both >> 32 & 0xFFFFFFFF) == parts


def check(run: Runner, instructions: str) -> None:
    """That what kernels with these instructions give is what numpy gives, at the limits too."""
    with compiling_for(instructions):
        random = np.random.default_rng(0)
        if instructions != NONE:
            for part in (check_dots, check_product, check_step):
                part(run, random)
        for part in (check_pairs, check_head, check_equations, check_linear, check_inputs):
            part(run, random)
