"""Threads end where they were begun: with the call that began them, also when it fails, not when garbage is collected.

That may happen in any thread, one that is just starting among them, which would then wait for itself.
"""

import gc
import threading
from contextlib import closing

import numpy as np
import pytest

import volcomp
from experiments import trial
from tests.helpers import compress, damage, noise, series
from volcomp import DamagedError, VerificationError, VolcompError
from volcomp.archive.restore import restore, verify
from volcomp.codec.decode import Opener, decode_volume
from volcomp.codec.encode import ArraySource, encode, encode_slabs
from volcomp.codec.engines import Workers
from volcomp.container.sections import SLAB, Reader, SectionId
from volcomp.container.volume import read_volume
from volcomp.options import DecodeOptions, EncodeOptions

DEPTH = 200  # ten low slabs, so that most of them are still to come when one fails


class Open:
    """How many `Workers` are, and have been, at work."""

    def __init__(self):
        self.now = self.all = 0


@pytest.fixture
def workers(monkeypatch, low_slabs):
    """Counts; garbage is not collected meanwhile, and no thread may be left in the end."""
    found, enter, leave = Open(), Workers.__enter__, Workers.__exit__

    def entered(self):
        found.now += 1
        found.all += 1
        return enter(self)

    def left(self, *details):
        leave(self, *details)
        found.now -= 1

    monkeypatch.setattr(Workers, "__enter__", entered)
    monkeypatch.setattr(Workers, "__exit__", left)
    before = set(threading.enumerate())
    gc.disable()
    try:
        yield found
    finally:
        gc.enable()
    assert found.all and set(threading.enumerate()) <= before


@pytest.fixture
def odd(monkeypatch):
    """Slabs but the first have contents that no encoder writes, and the right checksums in the file."""

    def fail(self, k, payload):
        if k:
            raise DamagedError("it is odd")
        return begin(self, k, payload)

    begin = Opener.begin
    monkeypatch.setattr(Opener, "begin", fail)


def none_is_left(workers, error):
    """While the error, and with it every frame that it went through, is held."""
    assert error.value.__traceback__ is not None
    assert workers.all == 1 and workers.now == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


@pytest.fixture
def array(low_slabs):
    return noise((DEPTH, 6, 6))


@pytest.fixture
def sound_array(tmp_path, array):
    path = tmp_path / "array.vcz"
    path.write_bytes(volcomp.compress(array, model="fast", threads=1))
    return path


@pytest.fixture
def damaged_array(sound_array):
    damage(sound_array, SectionId(SLAB, 0, 1))
    return sound_array


@pytest.fixture
def sound_files(tmp_path, low_slabs):
    compress([series(tmp_path / "in", DEPTH, size=6)], tmp_path / "x.vcz")
    return tmp_path / "x.vcz"


@pytest.fixture
def damaged_files(sound_files):
    damage(sound_files, SectionId(SLAB, 0, 1))
    return sound_files


@pytest.mark.parametrize("slices", [None, slice(0, 199), slice(25, 26)])
def test_an_array_that_is_damaged(damaged_array, workers, slices):
    with pytest.raises(DamagedError) as error:
        volcomp.decompress(damaged_array, slices, threads=2)
    none_is_left(workers, error)


def test_verifying_an_array_that_is_damaged(sound_array, workers, odd):
    with pytest.raises(DamagedError) as error:
        verify(sound_array, options=DecodeOptions(threads=2))
    none_is_left(workers, error)


@pytest.mark.parametrize("slices", [None, slice(0, 199), slice(25, 26)])
def test_files_that_are_damaged(damaged_files, workers, tmp_path, slices):
    with pytest.raises(DamagedError) as error:
        restore(damaged_files, tmp_path / "out", slices=slices, options=DecodeOptions(threads=2))
    none_is_left(workers, error)


def test_verifying_files_that_are_damaged(sound_files, workers, odd):
    with pytest.raises(DamagedError) as error:
        verify(sound_files, options=DecodeOptions(threads=2))
    none_is_left(workers, error)


def test_a_salvage(damaged_files, workers, tmp_path):
    restore(damaged_files, tmp_path / "out", options=DecodeOptions(threads=2), salvage=True)
    assert workers.all == 1 and workers.now == 0


def test_a_target_that_fails_in_the_midst(damaged_files, workers, tmp_path, monkeypatch):
    """Whatever it is that fails, beside the archive."""
    from volcomp.archive import restore as module

    def full(entry, pieces, folder):
        list(pieces)
        raise VolcompError("full")

    monkeypatch.setattr(module, "emit", full)
    with pytest.raises(VolcompError, match="full") as error:
        restore(damaged_files, tmp_path / "out", options=DecodeOptions(threads=2))
    none_is_left(workers, error)


def test_headers_are_read_without_threads(damaged_files):
    from volcomp.archive.describe import describe

    before = set(threading.enumerate())
    assert volcomp.inspect(damaged_files).volumes[0].slabs == len(range(0, DEPTH, 20))
    assert describe(damaged_files)["files"] == DEPTH
    assert set(threading.enumerate()) == before


def test_slabs_that_nobody_asks_for_any_more(damaged_array, workers):
    with damaged_array.open("rb") as file:
        reader = Reader(file)
        volume = read_volume(reader, 0)
        with closing(decode_volume(reader, volume, [*range(10)], DecodeOptions(2, "cpu"))) as slabs:
            next(slabs)
            assert workers.now == 1
        assert workers.now == 0


@pytest.mark.parametrize("effort", [5, 6])
def test_payloads_that_do_not_decode(array, workers, odd, effort):
    """In an array, and where all is coded before it is decoded."""
    if effort > 5:
        pytest.importorskip("torch")
    with pytest.raises(VerificationError) as error:
        volcomp.compress(array, model="fast", threads=2, effort=effort)
    workers.all -= effort > 5  # the first ones coded
    none_is_left(workers, error)


def test_an_archive_whose_payloads_do_not_decode(workers, odd, tmp_path):
    with pytest.raises(VerificationError) as error:
        compress([series(tmp_path / "in", DEPTH, size=6)], tmp_path / "x.vcz", threads=2)
    none_is_left(workers, error)


class Failing(ArraySource):
    """A source of which the third slab cannot be read."""

    def slices(self, first, end):
        if first == 40:
            raise OSError("gone")
        return super().slices(first, end)


@pytest.mark.parametrize("check", [True, False])
def test_a_source_that_fails(array, workers, check):
    _, slabs = encode_slabs(Failing(array), EncodeOptions("fast", verify=check, threads=2))
    with pytest.raises(OSError, match="gone") as error, closing(slabs):
        list(slabs)
    none_is_left(workers, error)


@pytest.mark.parametrize(
    "code",
    [
        lambda voxels: encode(voxels, EncodeOptions("fast", threads=2)),
        lambda voxels: trial.encoded(voxels, "fast", 2),
    ],
)
def test_an_interrupt_while_slabs_are_coded(array, workers, monkeypatch, code):
    def interrupted(self, jobs):
        results = in_order(self, jobs)
        yield next(results)
        raise KeyboardInterrupt

    in_order = Workers.in_order
    monkeypatch.setattr(Workers, "in_order", interrupted)
    with pytest.raises(KeyboardInterrupt) as error:
        code(array)
    none_is_left(workers, error)


def test_what_has_not_begun_is_not_done_any_more(low_slabs):
    """The other jobs of a failed one."""
    done = []

    def job(k):
        if k == 0:
            raise DamagedError("it is odd")
        threading.Event().wait(0.2)
        done.append(k)
        return np.zeros(1)

    with pytest.raises(DamagedError), Workers(1, 8) as workers:
        workers.pool.submit(threading.Event().wait, 0.1)
        list(workers.in_order([lambda k=k: job(k) for k in range(8)]))
    assert len(done) <= 1
