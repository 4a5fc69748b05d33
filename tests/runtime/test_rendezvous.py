"""The rendezvous of threads: every front is served once and in order, and no thread waits for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numba import njit

from volcomp import models
from volcomp.errors import DamagedError
from volcomp.pipelines.row.pipeline import ROW
from volcomp.runtime import rendezvous
from volcomp.runtime.rendezvous import ByCalls, Consumer, Rendezvous
from volcomp.stages import payload
from volcomp.stages.ans import Tables
from volcomp.wire.cursor import Cursor

TABLES = Tables(ROW.load(models.chosen("fast")).tables())
FRONTS, SLABS, VOXELS = 300, 5, 7  # one of the slabs has nothing in every third front


@njit(nogil=True)
def _serve(consumer: Consumer, voxel: np.ndarray, outputs: np.ndarray) -> bool:
    for n, (begin, end) in enumerate(consumer.pieces):
        rendezvous.wait(consumer.requested, consumer.patience)
        if consumer.ended[0]:
            return False
        voxel[begin:end] = outputs[begin:end] * 3 + n
        rendezvous.release(consumer.served)
    return True


class Compiled:
    """Serves fronts in compiled code, like an entropy coder."""

    def serve(self, consumer: Consumer, voxel: np.ndarray, outputs: np.ndarray) -> bool:
        return bool(_serve(consumer, voxel, outputs))


class Called(ByCalls):
    """Serves fronts by calls; raises DamagedError from front `damaged` on."""

    def __init__(self, damaged: int = FRONTS) -> None:
        self.fronts, self.damaged = 0, damaged

    def pop(self, outputs: np.ndarray) -> np.ndarray:
        if self.fronts == self.damaged:
            raise DamagedError("as asked")
        self.fronts += 1
        return outputs * 3 + self.fronts - 1


def _pieces(fronts: int = FRONTS) -> np.ndarray:
    sizes = np.full((fronts, SLABS), VOXELS)
    sizes[::3, 2] = 0
    ends = sizes.cumsum(axis=1)
    return np.stack([ends - sizes, ends], axis=2)


@pytest.mark.parametrize("threads", [1, 10_000])  # fewer than cores, and more
def test_all_fronts_are_served_in_order(threads: int) -> None:
    pieces = _pieces()
    voxel, outputs = np.zeros((2, SLABS * VOXELS), np.int32)
    meeting = Rendezvous(pieces, threads)
    assert {consumer.patience for consumer in meeting.consumers} == {rendezvous.PATIENCE if threads == 1 else 0}
    coders = [Compiled(), Called(), Compiled(), Compiled(), Called()]
    with ThreadPoolExecutor(SLABS) as pool:
        found = [
            pool.submit(one.serve, consumer, voxel, outputs)
            for one, consumer in zip(coders, meeting.consumers, strict=True)
        ]
        for n in range(FRONTS):
            end = pieces[n, -1, 1]
            outputs[:end] = np.arange(end) + n
            meeting.request()
            assert voxel[:end].tolist() == (outputs[:end] * 3 + n).tolist()
        assert all(future.result(timeout=900) for future in found)
    meeting.end()
    meeting.free()


def test_the_end_ends_calls_that_wait() -> None:
    meeting = Rendezvous(_pieces(), 1)
    voxel = np.zeros((2, SLABS * VOXELS), np.int32)
    with ThreadPoolExecutor(SLABS) as pool:
        found = [
            pool.submit((Compiled if s % 2 else Called)().serve, t, *voxel) for s, t in enumerate(meeting.consumers)
        ]
        meeting.request()
        meeting.end()
        assert [future.result(timeout=900) for future in found] == [False] * SLABS
    meeting.free()


def test_a_coder_that_finds_damage_decodes_nothing_more() -> None:
    """Three fronts: without raw bits, with a voxel whose rank is cut off, and with low bits that would be there."""
    sizes = np.array([6, 1, 6])
    classes = np.repeat([20, 20, 40], sizes).astype(np.uint8)  # the last have one low bit each
    mean = np.full(13, 16 * 1000, np.int32)
    voxel = np.array([1000, 1001, 999, 1000, 1000, 1001, 4000, 1017, 983, 1030, 995, 1010, 976], np.int32)
    predictions = payload.Predictions(sizes, voxel, mean, classes, None)
    data = payload.write(TABLES, predictions, 4095, None, False, 1.0)
    pieces = np.stack([np.zeros(3, np.int64), sizes], axis=1)[:, None]
    for cut, expected in ((0, voxel), (2, np.where(np.arange(13) < 6, voxel, 0))):
        reader = payload.SymbolReader(TABLES, Cursor(data[: len(data) - cut], ""), 4095, 6)
        assert reader._slab.raw.data.size == 3 - cut  # 12 bits, and six of one
        meeting, found = Rendezvous(pieces, 1), []
        shown, *outputs = np.full(6, 7, np.int32), mean[:6].copy(), np.zeros(6, np.uint8), np.zeros(6, np.uint8)
        with ThreadPoolExecutor(1) as pool:
            served = pool.submit(reader.serve, meeting.consumers[0], shown, *outputs)
            for front in np.split(classes, sizes.cumsum()[:-1]):
                outputs[1][: front.size] = front
                meeting.request()
                found += shown[: front.size].tolist()
        assert found == expected.tolist()
        if cut:
            with pytest.raises(DamagedError, match="voxels that the volume cannot have"):
                served.result(timeout=900)
        else:
            assert served.result(timeout=900)
            reader.finish()
        meeting.free()


def test_damage_is_raised_in_the_end_and_leaves_zeros() -> None:
    meeting = Rendezvous(_pieces(4), 1)
    voxel, outputs = np.ones((2, SLABS * VOXELS), np.int32)
    with ThreadPoolExecutor(SLABS) as pool:
        found = [
            pool.submit(Called(2 if s == 3 else 4).serve, t, voxel, outputs) for s, t in enumerate(meeting.consumers)
        ]
        for n in range(4):
            meeting.request()
            begin, end = meeting.consumers[3].pieces[n]
            assert voxel[begin:end].any() == (n < 2)
            assert not found[3].done() or n == 3
        with pytest.raises(DamagedError, match="as asked"):
            found[3].result(timeout=900)
        assert all(found[s].result(timeout=900) for s in (0, 1, 4))
    meeting.end()
    meeting.free()
