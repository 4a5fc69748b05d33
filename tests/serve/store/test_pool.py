"""Open archives and decoded slabs: few files open, memory bounded, a slab decoded once, and no thread waits in vain."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from tests.codec.test_series import textured
from tests.helpers import damage, image
from tests.serve.makers import instance, packed, study
from volcomp.archive import pack
from volcomp.archive.opening import manifest_of
from volcomp.archive.random_access import RandomAccess
from volcomp.codec import encode
from volcomp.codec import series as codec_series
from volcomp.container.sections import SLAB, Reader, SectionId
from volcomp.container.volume import Order, read_volume, volume_numbers
from volcomp.errors import DamagedError, MissingError
from volcomp.options import EncodeOptions
from volcomp.serve.store import pool as pools
from volcomp.serve.store.pool import Pool
from volcomp.serve.store.slabs import SharedSlabs


@pytest.fixture
def archives(tmp_path: Path) -> list[Path]:
    """Six archives of one small series each."""
    found = []
    for k in range(6):
        study(tmp_path / "in" / str(k), f"Study{k}", slices=2)
        found.append(packed(tmp_path / "in" / str(k), tmp_path / f"{k}.vcz"))
    return found


def descriptors(folder: Path) -> int:
    """How many files of a folder this process has open."""
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return sum(os.path.islink(link) and os.readlink(link).startswith(str(folder)) for link in links)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not say which files are open")
def test_few_archives_are_open(archives: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pools, "_MOST_OPEN", 3)
    pool = Pool(SharedSlabs(1 << 24), 1 << 24)
    folder = archives[0].parent
    for _ in range(2):
        for path in archives:
            with pool.get(path) as access:
                assert len(access.entries) == 2
            assert descriptors(folder) <= 3
    with ExitStack() as stack:  # those in use stay open, however many
        opened = [stack.enter_context(pool.get(path)) for path in archives]
        assert descriptors(folder) == 6
        assert all(access.read(next(iter(access.entries.values()))) for access in opened)
    assert descriptors(folder) <= 3
    pool.close()
    assert descriptors(folder) == 0


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not say which files are open")
def test_memory_closes_archives(archives: list[Path]) -> None:
    pool = Pool(SharedSlabs(1 << 24), 1)
    for path in archives:
        with pool.get(path):
            pass
        assert descriptors(archives[0].parent) == 1
    pool.close()


def test_an_archive_is_opened_once_by_many_threads(archives: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    genuine = Pool._opened

    def noted(self: Pool, path: Path) -> object:
        opened.append(path)
        return genuine(self, path)

    monkeypatch.setattr(Pool, "_opened", noted)
    pool, barrier = Pool(SharedSlabs(1 << 24), 1 << 24), threading.Barrier(12)

    def use(path: Path) -> int:
        barrier.wait()
        with pool.get(path) as access:
            return len(access.read(next(iter(access.entries.values()))))

    with ThreadPoolExecutor(12) as threads:
        assert all(threads.map(use, archives[:2] * 6))
    assert sorted(opened) == archives[:2]
    pool.close()


def test_replaced_and_removed_archives(archives: list[Path]) -> None:
    pool = Pool(SharedSlabs(1 << 24), 1 << 24)
    with pool.get(archives[0]) as before:
        os.replace(archives[1], archives[0])
        with pool.get(archives[0]) as after:
            assert after is not before
            first = [access.read(next(iter(access.entries.values()))) for access in (before, after)]
            assert first[0] != first[1]  # the old file is read to the end by who has it
    archives[0].unlink()
    with pytest.raises(MissingError, match="gone"), pool.get(archives[0]):
        pass
    archives[2].write_bytes(b"no archive")
    with pytest.raises(DamagedError), pool.get(archives[2]):
        pass
    pool.close()


@pytest.fixture
def in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A series of time points of three slabs each, most of which refer to another one."""
    monkeypatch.setattr(encode, "SLAB_HEIGHT", 2)
    monkeypatch.setattr(codec_series, "order", lambda *_: Order.APART)
    random = np.random.default_rng(0)
    still = textured((1, 6, 32, 32))[0]
    for t in range(4):
        for z, plane in enumerate(still + random.integers(0, 2, still.shape)):
            facts = {"TemporalPositionIdentifier": t + 1, "InstanceNumber": 6 * t + z + 1}
            image(tmp_path / "in" / f"{t}-{z}.dcm", plane.astype("u2"), z=2.5 * z, **facts)
    pack.compress([tmp_path / "in"], tmp_path / "x.vcz", EncodeOptions("turbo", 1, threads=1))
    with (tmp_path / "x.vcz").open("rb") as file:
        reader = Reader(file)
        assert any(read_volume(reader, n).key is not None for n in volume_numbers(reader))
    return tmp_path / "x.vcz"


@pytest.mark.parametrize("at_once", [1, 2])
def test_slabs_that_refer_to_others(in_time: Path, at_once: int) -> None:
    """A turn is given away while a slab of the key is fetched, which another thread may be about to decode."""
    for attempt in range(3):
        slabs = SharedSlabs(1 << 20)
        slabs._at_once, slabs._turns = at_once, threading.BoundedSemaphore(at_once)
        pool = Pool(slabs, 1 << 24)
        files = sorted((in_time.parent / "in").iterdir())
        order = np.random.default_rng(attempt).permutation(len(files))

        def read(k: int, pool: Pool = pool, files: list[Path] = files) -> bool:
            with pool.get(in_time) as access:
                return access.read(access.entry(files[k].name)) == files[k].read_bytes()

        with ThreadPoolExecutor(12) as threads:
            assert all(threads.map(read, order.tolist()))
        assert slabs.decoded == 12 and slabs._turns._value == at_once
        pool.close()
        assert slabs.size == 0


def test_an_error_reaches_all_who_wait(archives: list[Path]) -> None:
    damage(archives[0], SectionId(SLAB, 0, 0))
    slabs = SharedSlabs(1 << 24)
    pool, barrier = Pool(slabs, 1 << 24), threading.Barrier(8)

    def read(_: int) -> str:
        barrier.wait()
        with pool.get(archives[0]) as access:
            try:
                access.read(next(iter(access.entries.values())))
            except DamagedError as error:
                return str(error)
        return ""

    with ThreadPoolExecutor(8) as threads:
        assert all("slab 0" in sentence for sentence in threads.map(read, range(8)))
    assert slabs._turns._value == slabs._at_once
    pool.close()


def test_a_large_file_takes_no_more_than_its_slabs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file of many slabs few are decoded ahead, however many there are."""
    monkeypatch.setattr(encode, "SLAB_HEIGHT", 1)
    instance(tmp_path / "in" / "a.dcm", textured((1, 12, 16, 16))[0].astype("u2"), "One")
    path = packed(tmp_path / "in", tmp_path / "x.vcz")
    slabs = SharedSlabs(1 << 24)
    with path.open("rb") as file:
        reader = Reader(file)
        decode, drop = slabs.of(reader)
        access = RandomAccess(reader, manifest_of(reader), decode)
        entry = access.entry("a.dcm")
        ahead = [slabs.decoded for _ in access.pieces(entry)]
        assert ahead[1] <= slabs._at_once < 12 == ahead[-1]
        drop()
        assert slabs.size == 0
