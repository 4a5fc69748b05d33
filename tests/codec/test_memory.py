"""What is in memory at once does not grow with the depth of a volume; and what is verified early is verified well."""

import hashlib
import subprocess
import sys
import tracemalloc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.codec.test_codec import scan
from tests.helpers import ONE, compress, contents, image, noise, series
from volcomp import DamagedError, VerificationError
from volcomp.archive import ledger, pack, whole
from volcomp.archive.describe import describe
from volcomp.archive.groups import CHANGED
from volcomp.archive.header_writer import KeptWriter
from volcomp.archive.images import ImageWriter
from volcomp.archive.restore import restore, verify
from volcomp.archive.stack import Stack
from volcomp.codec import engines
from volcomp.codec.decode import Opener, decode_slabs
from volcomp.codec.encode import ArraySource, encode, encode_slabs, progress_of
from volcomp.codec.engines import OnThreads
from volcomp.container.sections import BLOB, KEPT, LISTING, SLAB, VOLUME_HEADER, Writer
from volcomp.encoder import linear_fit
from volcomp.gpu import device
from volcomp.options import DecodeOptions, EncodeOptions
from volcomp.pipelines.row import wavefront
from volcomp.stages import payload
from volcomp.stages.histogram_packing import HistogramPacking

THREADS = 2


class Living:
    """Counts arrays that are in use, and how many were at once."""

    def __init__(self):
        self.now = self.most = self.all = 0

    def born(self, array):
        self.now += 1
        self.all += 1
        self.most = max(self.most, self.now)
        weakref.finalize(array, self._gone)
        return array

    def _gone(self):
        self.now -= 1

    def counting(self, function):
        """The same function, whose results are counted."""
        return lambda *arguments: self.born(function(*arguments))


@pytest.fixture
def living(monkeypatch, low_slabs):
    """Voxels that were read, their levels, and voxels that were decoded, each as many slabs."""
    counts = {name: Living() for name in ("read", "levels", "decoded")}
    held, stack = ArraySource.slices, Stack.slices
    monkeypatch.setattr(ArraySource, "slices", counts["read"].counting(lambda *a: held(*a).copy()))
    monkeypatch.setattr(Stack, "slices", counts["read"].counting(stack))
    monkeypatch.setattr(HistogramPacking, "forward", counts["levels"].counting(HistogramPacking.forward))
    monkeypatch.setattr(HistogramPacking, "backward", counts["decoded"].counting(HistogramPacking.backward))
    return counts


def few(counts, slabs, *names):
    """Each slab was there once, and never more of them than are at work, wait to be fetched, or are being used."""
    for name in names:
        assert counts[name].all == slabs and counts[name].now == 0
        assert counts[name].most <= (THREADS if name != "decoded" else 2 * THREADS + 2), name


@pytest.mark.parametrize("model", ["fast", "paper"])
def test_encoder_and_decoder_have_few_slabs_in_memory(living, model):
    voxels = scan((400, 6, 7))
    header, slabs = encode_slabs(ArraySource(voxels), EncodeOptions(model, threads=THREADS))
    payloads = []
    for coded, decoded in slabs:
        assert np.array_equal(decoded, voxels[20 * len(payloads) :][:20])
        payloads.append(coded)
        del decoded
    few(living, 20, "read", "levels", "decoded")
    assert (header, payloads) == encode(voxels, EncodeOptions(model))
    living["decoded"].all = 0
    for _, part in decode_slabs(header, dict(enumerate(payloads)), DecodeOptions(threads=THREADS)):
        del part
    few(living, 20, "decoded")


@pytest.fixture
def impatient(monkeypatch, low_slabs):
    """Fails where anybody still holds a slab while the next one is waited for; counts slabs."""
    passed = []

    def watched(results):
        before = None
        while True:
            assert before is None or before() is None, "somebody holds a slab that is done with"
            following = next(results, None)
            if following is None:
                return
            before = weakref.ref(following[1] if isinstance(following, tuple) else following)
            passed.append(before)
            yield following
            del following

    for way in ("encode", "decode"):
        genuine = getattr(OnThreads, way)
        monkeypatch.setattr(
            OnThreads, way, lambda engine, *arguments, genuine=genuine: watched(genuine(engine, *arguments))
        )
    return passed


@pytest.mark.parametrize("frames", [1, 200])
def test_no_slab_outlives_its_use(impatient, tmp_path, frames):
    if frames == 1:
        series(tmp_path / "in", 200, size=6)
    else:
        image(tmp_path / "in" / "all", noise((frames, 6, 6)))
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    verify(tmp_path / "x.vcz", options=ONE)
    voxels = volcomp.decompress(volcomp.compress(noise((200, 6, 6)), threads=1), threads=1)
    assert len(impatient) == 5 * 10 and len(voxels) == 200


@pytest.mark.parametrize("frames", [1, 200])
def test_archives_have_few_slabs_in_memory(living, tmp_path, frames):
    """In single images, and where one file is the whole volume."""
    if frames == 1:
        series(tmp_path / "in", 200, size=6)
    else:
        image(tmp_path / "in" / "all", noise((frames, 6, 6)))
    compress([tmp_path / "in"], tmp_path / "x.vcz", threads=THREADS)
    few(living, 10, "read", "levels", "decoded")
    living["decoded"].all = 0
    restore(tmp_path / "x.vcz", tmp_path / "out", options=DecodeOptions(threads=THREADS))
    few(living, 10, "decoded")
    assert contents(tmp_path / "out") == contents(tmp_path / "in")


def test_copies_of_a_long_image_have_few_slabs_in_memory(living, tmp_path):
    """They are decoded for each header again."""
    _ = [image(tmp_path / "in" / str(i), noise((200, 6, 6)), series=f"1.{i}") for i in range(3)]
    (tmp_path / "in" / "copy").write_bytes((tmp_path / "in" / "0").read_bytes())
    compress([tmp_path / "in"], tmp_path / "x.vcz", threads=THREADS)
    few(living, 10, "read", "levels", "decoded")
    living["decoded"].all = 0
    verify(tmp_path / "x.vcz", options=DecodeOptions(threads=THREADS))
    few(living, 40, "decoded")


def test_payloads_are_asked_for_in_turn(low_slabs):
    header, payloads = encode(scan((400, 6, 7)), EncodeOptions("fast"))
    asked = []

    class Lazy(dict):
        def __getitem__(self, k):
            asked.append(k)
            return super().__getitem__(k)

    for k, _ in decode_slabs(header, Lazy(enumerate(payloads)), DecodeOptions(threads=THREADS)):
        assert len(asked) <= k + THREADS + 2
    assert sorted(asked) == [*range(20)]


def test_slabs_are_not_coded_far_ahead(low_slabs):
    done = []
    options = EncodeOptions("fast", verify=False, threads=1)
    _, slabs = encode_slabs(ArraySource(scan((400, 6, 7))), options, progress=done.append)
    assert not done
    next(slabs)
    slabs.close()
    assert 0 < sum(done) < 100 * 6 * 7


@pytest.mark.parametrize(("check", "times"), [(False, 1), (True, 2)])
def test_progress_adds_up(low_slabs, check, times):
    voxels, done = scan((60, 12, 12)), []
    _, slabs = encode_slabs(ArraySource(voxels), EncodeOptions("fast", verify=check), progress=done.append)
    assert all((decoded is not None) == check for _, decoded in slabs)
    assert sum(done) == times * voxels.size


@pytest.mark.parametrize(("effort", "where"), [(6, engines.by_device), (5, engines.on("cpu", "torch"))])
def test_other_ways_to_code_are_verified_as_well(low_slabs, effort, where):
    """After a fit, when it is known which payloads are kept; on a device, group by group."""
    pytest.importorskip("torch")
    voxels, done = scan((40, 12, 14)), []
    options = EncodeOptions("fast", effort)
    header, slabs = encode_slabs(ArraySource(voxels), options, progress=done.append, engine=where)
    payloads, decoded = zip(*slabs, strict=True)
    assert np.array_equal(np.concatenate(decoded), voxels)
    assert sum(done) == progress_of(voxels.size, effort) + voxels.size
    assert (header, [*payloads]) == encode(voxels, options, engine=where)


# ----------------------------------------------------------------------------------------------------- verification


@pytest.mark.parametrize("tag", [VOLUME_HEADER, SLAB, KEPT, BLOB, LISTING])
def test_what_is_on_disk_is_verified_in_the_end(tmp_path, monkeypatch, tag):
    """Bytes that change on their way to the disk, whose checksum is right: all that was decoded were others."""
    series(tmp_path / "in", 3)
    (tmp_path / "in" / "note").write_text("note" * 100)

    class Faulty(Writer):
        def add(self, section, payload):
            if section.tag != tag:
                super().add(section, payload)
                return
            super().add(section, payload[:-1] + bytes([payload[-1] ^ 1]))
            self.digests[section] = hashlib.sha256(payload).digest()

    monkeypatch.setattr(pack, "Writer", Faulty)
    with pytest.raises(VerificationError, match=r"so nothing was written: .* not what was written"):
        compress([tmp_path / "in"], tmp_path / "x.vcz")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    compress([tmp_path / "in"], tmp_path / "x.vcz", verify=False)


def test_a_section_that_was_not_written_is_missed(tmp_path, monkeypatch):
    add = Writer.add
    monkeypatch.setattr(pack, "Writer", type("Lossy", (Writer,), {
        "add": lambda self, section, payload: (
            self.digests.update({section: b""}) if section.tag == BLOB else add(self, section, payload))}))  # fmt: skip
    series(tmp_path / "in", 2)
    (tmp_path / "in" / "note").write_text("note")
    with pytest.raises(VerificationError, match="other sections than were written"):
        compress([tmp_path / "in"], tmp_path / "x.vcz")


def test_bytes_around_pixels_that_are_lost_are_missed(tmp_path, monkeypatch):
    add = KeptWriter.add
    monkeypatch.setattr(KeptWriter, "add", lambda writer, form, kept: (
        add(writer, form, kept._replace(before=kept.before[:-1] + b"x"))))  # fmt: skip
    with pytest.raises(VerificationError, match=r"what was kept of IM000[12]\.dcm is not what was read"):
        compress([series(tmp_path / "in", 2)], tmp_path / "x.vcz")


def test_files_that_are_kept_whole_are_compared(tmp_path, monkeypatch):
    genuine = whole.pack_blob
    monkeypatch.setattr(whole, "pack_blob", lambda raw: genuine(raw[::-1]))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note").write_text("note")
    with pytest.raises(VerificationError, match="note is damaged: its SHA-256 does not fit"):
        compress([tmp_path / "in"], tmp_path / "x.vcz")


def test_a_manifest_that_says_something_else_is_noticed(tmp_path, monkeypatch):
    genuine = ledger.encode
    monkeypatch.setattr(ledger, "encode", lambda root, entries: genuine(
        root, [replace(entry, mtime=0) for entry in entries]))  # fmt: skip
    with pytest.raises(VerificationError, match="lists of files say something else"):
        compress([series(tmp_path / "in", 2)], tmp_path / "x.vcz")


@pytest.mark.parametrize(
    "lie", [{"frames": 2}, {"first": 1}, {"before": 5}, {"sha256": bytes(32)}, {"size": 1}, {"body": 1}, {"side": 1}]
)
def test_images_that_would_not_be_restored_are_noticed(tmp_path, monkeypatch, lie):
    """Whatever the manifest is going to say wrongly of them."""
    genuine = ImageWriter._entry

    def lying(self, coded, volume):
        entry = genuine(self, coded, volume)
        of_file = lie.keys() <= {"sha256", "size"}
        return replace(entry, **(lie if of_file else {"place": replace(entry.place, **lie)}))

    monkeypatch.setattr(ImageWriter, "_entry", lying)
    with pytest.raises(VerificationError, match="nothing was written"):
        compress([series(tmp_path / "in", 2)], tmp_path / "x.vcz")


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("frames", [1, 3])
def test_pixels_that_change_between_two_readings(tmp_path, monkeypatch, check, frames):
    """With the file's size as it was: it is kept whole."""
    folder = tmp_path / "in"
    path = image(folder / "x", noise((frames, 8, 8)))
    slices = Stack.slices

    def change_then_read(stack, number, first, end):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        return slices(stack, number, first, end)

    monkeypatch.setattr(Stack, "slices", change_then_read)
    compress([folder], tmp_path / "x.vcz", verify=check)
    assert describe(tmp_path / "x.vcz")["not_coded"] == {CHANGED: 1}
    restore(tmp_path / "x.vcz", tmp_path / "out", ONE)
    assert contents(tmp_path / "out") == contents(folder)


def test_a_slab_that_does_not_decode_is_said_to_be(tmp_path, monkeypatch):
    def fail(self, k, payload):
        raise DamagedError("it is odd")

    monkeypatch.setattr(Opener, "begin", fail)
    with pytest.raises(VerificationError, match=r"nothing was written: slab 0 .* is damaged: it is odd"):
        compress([series(tmp_path / "in", 3)], tmp_path / "x.vcz")


# ---------------------------------------------------------------------------------------------------------- allocator


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux what is resident")
@pytest.mark.parametrize("function", ["give_back", "give_back_at_once"])
def test_what_is_freed_is_given_back(function):
    """Two arrays of 24 MB, of which glibc would keep the second one's memory."""
    code = f"""
import sys
import numpy as np
from volcomp.runtime import heap

def resident():
    lines = dict(line.split(":") for line in open("/proc/self/status"))
    return int(lines["VmRSS"].split()[0]) >> 10

if heap._glibc() is None:
    sys.exit()
if {function == "give_back_at_once"}:
    heap.give_back_at_once()
before = resident()
for _ in range(3):
    array = np.ones(24 << 20, np.uint8)
    above = np.ones(1 << 16, np.uint8)  # what is in use above it
    del array
if {function == "give_back"}:
    heap.give_back()
assert resident() < before + 8, (before, resident())
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# -------------------------------------------------------------------------------------------------------- bytes a voxel


@pytest.fixture
def peaks(monkeypatch):
    """The most bytes that arrays took while a slab was fitted, walked over and written, by stage."""
    found = {}

    def traced(where, name):
        genuine = getattr(where, name)

        def stage(*arguments):
            tracemalloc.reset_peak()
            result = genuine(*arguments)
            found[name] = max(found.get(name, 0), tracemalloc.get_traced_memory()[1])
            return result

        monkeypatch.setattr(where, name, stage)

    for where, name in (
        (linear_fit, "fit_by_effort"),
        (payload, "write"),
        (wavefront, "predict_slab"),
        (wavefront, "decode_slab"),
    ):
        traced(where, name)
    yield found
    tracemalloc.stop()


def test_a_slab_takes_few_bytes_a_voxel(peaks):
    """Of its size; a fit takes as much for any slab, which is much for one as small as this."""
    random = np.random.default_rng(0)
    voxels = (np.arange(160)[:, None] + random.integers(0, 40, (24, 160, 512))).astype("<u2")
    voxels[:, :, ::3] = 100  # a spike, so that there are contexts
    for part in (voxels[:, :9, :9], voxels):  # once what is compiled, or read, at first
        _, slabs = encode_slabs(ArraySource(part), EncodeOptions("fast", threads=1))
        for _, decoded in slabs:
            del decoded
        if not tracemalloc.is_tracing():
            peaks.clear()
            tracemalloc.start()
    taken = {stage: peak / voxels.size for stage, peak in peaks.items()}
    assert taken["predict_slab"] < 16.5 and taken["decode_slab"] < 11.5 and taken["write"] < 19, taken
    assert taken["fit_by_effort"] < 28, taken


@pytest.mark.skipif(sys.platform != "linux", reason="asks for a driver as Linux has them")
def test_torch_is_not_imported_to_hear_that_there_is_no_gpu(monkeypatch):
    code = """
import ctypes, os, sys
from volcomp.codec import engines
from volcomp.gpu import device
assert not device.may_be_there() or os.path.exists("/dev/kfd") or ctypes.CDLL("libcuda.so.1")
assert engines._takes_gpu("auto", 1 << 40) or device.may_be_there() or "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert device.may_be_there()  # whatever torch says, once it is there
