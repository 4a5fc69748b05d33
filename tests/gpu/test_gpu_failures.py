"""What becomes of a device that is not there, too small or wrong, and of slabs that are damaged on their way through
one: plain torch on the CPU stands for it."""

import sys
from threading import Thread

import numpy as np
import pytest

from tests.codec.test_codec import decode, scan
from volcomp import models
from volcomp.codec import engines
from volcomp.codec.decode import decode_slabs
from volcomp.codec.encode import encode
from volcomp.errors import DamagedError, UnsupportedError
from volcomp.options import EncodeOptions
from volcomp.pipelines.row.pipeline import ROW
from volcomp.runtime.rendezvous import ByCalls
from volcomp.stages.payload import SymbolReader

torch = pytest.importorskip("torch")

from tests.gpu.test_gpu import TORCH, nothing, on_torch  # noqa: E402
from volcomp.gpu import device, double_buffer  # noqa: E402
from volcomp.gpu.row import device as row_device  # noqa: E402
from volcomp.gpu.row import group, plain  # noqa: E402
from volcomp.gpu.row import network as networks  # noqa: E402
from volcomp.gpu.row import wavefront as on_device  # noqa: E402


def test_a_damaged_slab_leaves_the_others_whole(low_slabs: None) -> None:
    voxels = scan((80, 10, 12))
    header, payloads = encode(voxels, EncodeOptions("fast"))
    assert len(payloads) == 4
    short, garbled, *_ = payloads
    damaged = {0: short[:20], 1: garbled[:-40] + bytes(40), 2: payloads[2], 3: payloads[2]}
    results = dict(decode_slabs(header, damaged, engine=TORCH))
    expected = dict(decode_slabs(header, damaged))
    assert np.array_equal(results[2], voxels[40:60])
    for k in (0, 1, 3):
        assert isinstance(results[k], DamagedError) and str(results[k]) == str(expected[k])


def test_what_a_slab_holds_beyond_its_voxels_is_damage(low_slabs: None) -> None:
    header, payloads = encode(scan((40, 5, 6)), EncodeOptions("fast"))
    longer = {k: data + bytes(3) * (k == 1) for k, data in enumerate(payloads)}
    results = dict(decode_slabs(header, longer, engine=TORCH))
    assert [k for k, found in results.items() if isinstance(found, DamagedError)] == [1]
    assert "more raw bits than its voxels" in str(results[1])


class OutOfMemory(group.RowGroup):
    """A device with room for so many slabs."""

    room = 1

    def __init__(self, network, parts, levels):  # type: ignore[no-untyped-def]
        if len(parts) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        super().__init__(network, parts, levels)


def test_with_little_memory_fewer_slabs_walk_at_once(monkeypatch: pytest.MonkeyPatch, low_slabs: None) -> None:
    voxels = scan((100, 6, 9))
    expected = encode(voxels, EncodeOptions("fast"))
    assert len(expected[1]) == 5
    monkeypatch.setattr(on_device, "RowGroup", OutOfMemory)
    monkeypatch.setattr(row_device, "check", nothing)
    assert encode(voxels, EncodeOptions("fast"), engine=TORCH) == expected
    assert np.array_equal(decode(*expected, engine=TORCH), voxels)
    monkeypatch.setattr(OutOfMemory, "room", 0)
    with pytest.raises(UnsupportedError, match=r'MB free that a slab of .* needs; use device="cpu"'):
        encode(voxels, EncodeOptions("fast"), engine=TORCH)
    with pytest.raises(UnsupportedError, match='use device="cpu"'):
        decode(*expected, engine=TORCH)


def test_other_failures_of_the_device_are_not_taken_for_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    coded = encode(scan((2, 5, 6)), EncodeOptions("fast"))

    def broken(*arguments: object) -> None:
        raise RuntimeError("an illegal memory access was encountered")

    monkeypatch.setattr(row_device, "check", nothing)
    monkeypatch.setattr(on_device, "RowGroup", broken)
    with pytest.raises(
        UnsupportedError, match=r'failed \(an illegal memory access was encountered\): use device="cpu"'
    ):
        decode(*coded, engine=TORCH)


def test_a_thread_that_fails_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, low_slabs: None) -> None:
    coded = encode(scan((40, 5, 6)), EncodeOptions("fast"))

    def broken(self: SymbolReader, *arguments: object) -> bool:
        raise ZeroDivisionError("in a thread")

    monkeypatch.setattr(row_device, "check", nothing)
    monkeypatch.setattr(SymbolReader, "serve", broken)
    with pytest.raises(ZeroDivisionError, match="in a thread"):
        decode(*coded, engine=TORCH)
    monkeypatch.setattr(SymbolReader, "pop", broken)  # or at its first front
    monkeypatch.setattr(SymbolReader, "serve", ByCalls.serve)
    with pytest.raises(ZeroDivisionError, match="in a thread"):
        decode(*coded, engine=TORCH)


def test_without_a_thread_for_every_slab_none_waits(monkeypatch: pytest.MonkeyPatch, low_slabs: None) -> None:
    coded = encode(scan((80, 5, 6)), EncodeOptions("fast"))
    started: list[Thread] = []

    class Rare(Thread):
        def start(self) -> None:
            if started:
                raise RuntimeError("can't start new thread")
            started.append(self)
            super().start()

    monkeypatch.setattr(row_device, "check", nothing)
    monkeypatch.setattr(double_buffer, "BUFFERS", 1)
    monkeypatch.setattr(double_buffer, "Thread", Rare)
    with pytest.raises(UnsupportedError, match="can't start new thread"):
        decode(*coded, engine=TORCH)
    assert not started[0].is_alive()


def test_groups_are_as_large_as_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    network = on_torch(3)
    engine = engines.OnDevice("cpu", row_device.RowDevice(network), None, nothing)  # type: ignore[arg-type]
    slabs = dict.fromkeys(range(5), 1000)
    monkeypatch.setattr(network, "free", lambda: 100 * 2500)
    assert [*engine._groups(slabs, 100)] == [[0, 1], [2, 3], [4]] and engine.has_room(slabs)
    monkeypatch.setattr(network, "free", lambda: 100)
    assert [*engine._groups(slabs, 100)] == [[0], [1], [2], [3], [4]] and not engine.has_room(slabs)


class OffByOne(plain.PlainSteps):
    """Wrong from its hundredth voxel on."""

    def predict(self) -> None:
        super().predict()
        self._g.trace.mean[100:101] += 1


def test_a_device_that_gives_other_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_device, "ways", lambda where: [OffByOne])
    with pytest.warns(RuntimeWarning, match="OffByOne is left aside"), pytest.raises(UnsupportedError, match="fast-2"):
        device.network("row", ROW.load(models.RELEASED[3]), "cpu")
    monkeypatch.setattr(row_device, "ways", lambda where: [OffByOne, plain.PlainSteps])
    with pytest.warns(RuntimeWarning, match="OffByOne is left aside"):
        assert device.network("row", ROW.load(models.RELEASED[3]), "cpu").steps is plain.PlainSteps


def test_auto_takes_a_gpu_and_leaves_one_that_is_wrong_or_full(
    pretended: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxels, taken = scan((3, 9, 11)), []

    class Noted(engines.OnDevice):
        def encode(self, *arguments):  # type: ignore[no-untyped-def]
            taken.append(True)
            return super().encode(*arguments)

    monkeypatch.setattr(engines, "OnDevice", Noted)
    expected = encode(voxels, EncodeOptions(device="cpu"))
    assert encode(voxels) == expected and taken == [True]
    assert encode(voxels, EncodeOptions(device="cuda")) == expected and taken == [True] * 2
    monkeypatch.setattr(networks.DeviceLstm, "free", lambda self: 1000)
    assert encode(voxels) == expected and taken == [True] * 2


def test_a_wrong_gpu_is_refused_or_left(pretended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = scan((3, 9, 11))

    def refused(*arguments: object) -> networks.DeviceLstm:
        raise UnsupportedError("this GPU does not give the numbers")

    monkeypatch.setattr(device, "network", refused)
    assert encode(voxels) == encode(voxels, EncodeOptions(device="cpu"))
    with pytest.raises(UnsupportedError, match="does not give the numbers"):
        encode(voxels, EncodeOptions(device="cuda"))


def test_without_a_gpu_a_sentence_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    voxels = scan((2, 5, 5))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(UnsupportedError, match=r'build for the CPU: install one with CUDA, or use device="cpu"'):
        encode(voxels, EncodeOptions(device="cuda"))
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(UnsupportedError, match="nvidia-smi"):
        encode(voxels, EncodeOptions(device="cuda"))
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: True)
    with pytest.raises(UnsupportedError, match="cannot be loaded"):
        encode(voxels, EncodeOptions(device="cuda"))
    monkeypatch.setattr(device.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UnsupportedError, match=r"not installed: pip install 'volcomp\[gpu\]'"):
        encode(voxels, EncodeOptions(device="cuda"))
    assert row_device.ways("cuda") == [plain.PlainSteps]  # without Triton
