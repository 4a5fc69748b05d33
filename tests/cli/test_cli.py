"""The command: exit codes, one sentence for every failure, and nothing half-done after a signal or on a full disk."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import volcomp
from tests.helpers import ONE, compress, contents, damage, image, noise, series
from volcomp import cli
from volcomp.archive.restore import restore
from volcomp.cli.arguments import slices
from volcomp.cli.output import amount
from volcomp.container.sections import SLAB, SectionId

COMMAND = [sys.executable, "-m", "volcomp"]


def run(*arguments, **options):
    """Run the command in a process of its own."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=900, **options)
    done.stderr = without_compiling(done.stderr)
    return done


def without_compiling(error):
    """What was said on standard error, but for the line of the first run on a machine."""
    return re.sub(r"\Avolcomp: compiling for this processor.*\n", "", error)


@pytest.fixture
def call(capsys):
    """Run the command in this process: (exit code, standard output, standard error)."""
    handler = signal.getsignal(signal.SIGTERM)

    def run_here(*arguments):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as exit_:
            code = exit_.code
        out, error = capsys.readouterr()
        return code, out, without_compiling(error)

    yield run_here
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture(scope="module")
def archive(tmp_path_factory, low_slabs):
    folder = tmp_path_factory.mktemp("cli")
    series(folder / "ct", 40, size=6)
    compress([folder / "ct"], folder / "ct.vcz")
    return folder / "ct.vcz"


def fails(result, sentence, code=1):
    """One sentence on standard error, the right exit code, no traceback."""
    found, _, error = result if isinstance(result, tuple) else (result.returncode, result.stdout, result.stderr)
    error = without_compiling(error)
    assert found == code, error
    assert error.startswith("volcomp: ") and error.count("\n") == 1 and "Traceback" not in error
    assert sentence in error


def test_the_main_job(tmp_path):
    series(tmp_path / "ct", 3)
    done = run("compress", "ct", "--model", "fast", "--threads", "2", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""  # silent in a pipe: no progress bar
    raw = sum(path.stat().st_size for path in (tmp_path / "ct").iterdir())
    packed = (tmp_path / "ct.vcz").stat().st_size
    assert done.stdout.startswith(f"ct.vcz: 3 files, {amount(raw)} in, {amount(packed)} out, ratio ")
    assert "bits per voxel, " in done.stdout and done.stdout.endswith(" s\n")
    (tmp_path / "elsewhere").mkdir()
    done = run("decompress", "../ct.vcz", cwd=tmp_path / "elsewhere")
    assert done.returncode == 0 and done.stderr == ""
    assert contents(tmp_path / "elsewhere" / "ct") == contents(tmp_path / "ct")


def test_verify_and_info(archive, call):
    code, out, _ = call("verify", archive)
    assert code == 0 and out.startswith(f"sound: {archive}: 40 files, ")
    code, out, _ = call("verify", "--json", archive)
    found = json.loads(out)
    assert found["sound"] and [one["file"] for one in found["archives"]] == [str(archive)]
    assert (found["files"], found["voxels"], found["bytes_in"]) == (40, 1440, archive.stat().st_size)
    code, out, _ = call("info", archive)
    assert "40×6×6 i2" in out and "file-exact" in out and "spacing 2.5 × 0.5 × 0.5 mm" in out
    code, out, _ = call("info", "--json", archive)
    found = json.loads(out)
    assert found["files"] == 40 and found["volumes"][0]["spacing_mm"] == [2.5, 0.5, 0.5]
    assert sum(found["sections"].values()) == found["bytes_in"] == archive.stat().st_size


def test_info_of_files_that_lie_in_one_place(tmp_path, call):
    """Every file three times, one for each of three times: the spacing is that to the next place."""
    for number in range(3):
        for z in range(4):
            pixels = noise((6, 6), seed=4 * number + z)
            image(tmp_path / "in" / f"{number}-{z}", pixels, z=1.25 * z, TemporalPositionIdentifier=number)
    for i, z in enumerate((0.0, 0.001, 0.0)):
        image(tmp_path / "one" / str(i), noise((6, 6), seed=i), z=z, series="9.9")
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    code, out, _ = call("info", tmp_path / "x.vcz")
    assert code == 0 and "12×6×6" in out and ", 1 slab, " in out and "spacing 1.25 × 0.5 × 0.5 mm" in out
    compress([tmp_path / "one"], tmp_path / "y.vcz")
    assert "spacing ? × 0.5 × 0.5 mm" in call("info", tmp_path / "y.vcz")[1]


def test_compress_says_what_it_did_in_json(tmp_path, call):
    code, out, _ = call("compress", "--json", "--no-verify", series(tmp_path / "ct", 2), "-o", tmp_path / "x.vcz")
    found = json.loads(out)
    assert code == 0 and found["files"] == 2 and found["voxels"] == 128
    assert found["bytes_out"] == (tmp_path / "x.vcz").stat().st_size


@pytest.mark.parametrize(
    "arguments",
    [
        ["shrink", "x"],
        ["compress"],
        ["compress", "x", "--model", "huge"],
        ["compress", "x", "--threads", "0"],
        ["compress", "x", "--threads", "many"],
        ["compress", "x", "--device", "tpu"],
        ["compress", "x", "--effort", "10"],
        ["compress", "x", "--effort", "9", "--model", "paper"],
        ["compress", "x", "--parity", "80%"],
        ["compress", "x", "--stdin-name", "a/b"],
        ["compress", "x", "-", "-o", "y"],
        ["compress", "x", "-o", "x.zip"],
        ["append", "-", "x"],
        ["decompress", "x", "--slices", "4:4"],
        ["decompress", "x", "--slices", "4", "-o", "-"],
        ["extract", "x"],
        ["batch", "x", "y", "--memory", "much"],
        ["batch", "x", "y", "--jobs", "0"],
        ["batch", "x"],
        ["precompile", "--for", "abacus"],
        ["verify"],
    ],
)
def test_wrong_usage(arguments, call):
    """Whatever files there are: these are none."""
    result = call(*arguments)
    fails(result, "", code=2)
    assert result[1] == ""


@pytest.mark.parametrize(("text", "expected"), [("40:44", slice(40, 44)), ("7", slice(7, 8)), ("5:", slice(5, None))])
def test_slices_are_read_as_in_python(text, expected):
    assert slices(text) == expected


@pytest.mark.parametrize("text", ["4:4", "5:4", "-3:5", "1:2:3", ":", "", "a", "1.5", ":0"])
def test_slices_that_are_none(text, call, tmp_path):
    if text == ":":
        assert slices(text) == slice(0, None)
        return
    fails(call("decompress", tmp_path / "x", f"--slices={text}"), f"--slices {text!r} ", code=2)


def test_what_cannot_be_done(tmp_path, archive, call):
    fails(call("decompress", tmp_path / "gone.vcz"), "gone.vcz cannot be read: No such file or directory")
    fails(call("verify", tmp_path), "cannot be read: it is a folder; name an archive")
    fails(call("compress", tmp_path / "gone"), "gone cannot be read")
    (tmp_path / "array.vcz").write_bytes(volcomp.compress(noise((2, 3, 4)), threads=1))
    fails(call("decompress", tmp_path / "array.vcz"), "array.vcz: it holds an array and no files")
    assert call("verify", tmp_path / "array.vcz")[0] == call("info", tmp_path / "array.vcz")[0] == 0
    (tmp_path / "junk").write_bytes(b"PK\x03\x04" * 10)
    for command in ("decompress", "verify", "info"):
        fails(call(command, tmp_path / "junk"), "junk: this is no volcomp archive")
    fails(call("compress", tmp_path / "junk", "-o", archive), "exists; --force overwrites it")
    fails(call("compress", tmp_path / "junk", "-o", tmp_path / "no" / "x.vcz"), "the folder")
    fails(call("decompress", archive, "-o", tmp_path), "is not empty; --force")
    fails(call("decompress", archive, "-o", tmp_path / "out", "--slices", "99"), "no volume has the slices")
    assert sorted(os.listdir(tmp_path)) == ["array.vcz", "junk"]


def test_without_a_gpu_cuda_is_answered_with_a_sentence(tmp_path, call, monkeypatch):
    monkeypatch.setattr("volcomp.gpu.device.missing", lambda: "torch finds no GPU: use --device cpu")
    folder = series(tmp_path / "ct", 1)
    fails(call("compress", folder, "-o", tmp_path / "x.vcz", "--device", "cuda"), "no GPU: use --device cpu")
    assert call("compress", folder, "-o", tmp_path / "x.vcz", "--device", "cpu")[0] == 0
    fails(call("decompress", tmp_path / "x.vcz", "-o", tmp_path / "y", "--device", "cuda"), "no GPU")
    fails(call("verify", tmp_path / "x.vcz", "--device", "cuda"), "no GPU")
    assert sorted(os.listdir(tmp_path)) == ["ct", "x.vcz"]


def test_verify_goes_on_after_a_failure(tmp_path, archive, call):
    bad = tmp_path / "bad.vcz"
    bad.write_bytes(archive.read_bytes()[:-1])
    code, out, error = call("verify", bad, archive)
    assert (code, out.count("sound: ")) == (1, 1)
    why = "the archive is cut short, or has bytes after its end: the end mark is missing"
    assert error == f"volcomp: {bad}: {why}; decompress --salvage restores what is undamaged\n"


def test_salvage(tmp_path, archive, call):
    bad, target = tmp_path / "bad.vcz", tmp_path / "out"
    bad.write_bytes(archive.read_bytes())
    damage(bad, SectionId(SLAB, 0, 1))
    fails(call("decompress", bad, "-o", target), "slab 1 of volume 0 is damaged")
    code, out, error = call("decompress", bad, "-o", target, "--salvage")
    assert code == 1 and "20 files" in out
    lines = error.splitlines()
    where = "slices 20–39 of volume 0 (20 files, IM0020.dcm to IM0001.dcm)"
    assert lines[0].startswith(f"missing: {where}: slab 1 of volume 0 is damaged")
    assert len(lines) == 2 and lines[-1] == f"volcomp: {bad} is damaged: 20 files could not be restored"
    assert len(list(target.iterdir())) == 20


def test_sentences_stay_on_one_line(tmp_path, call):
    name = os.fsdecode(b"new\nline\x1b[31m\xff.vcz")
    fails(call("verify", tmp_path / name), "new\\nline\\x1b[31m\\udcff.vcz")


@pytest.fixture
def slow_work(tmp_path):
    """A folder whose archive takes a while to make, and the archive that was there before."""
    for z in range(24):
        image(tmp_path / "ct" / str(z), noise((256, 256), seed=z), z=z)
    (tmp_path / "x.vcz").write_text("precious")
    return tmp_path


def heed_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def endless(name):
    """The environment of a command whose work on the file or folder of this name is never finished."""
    paths = [str(Path(__file__).parents[1] / "endless"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "NEVER_NAMED": name}


def interrupted(arguments, target, number):
    """Start the command, wait until it writes beside its target, send it a signal; returns its result."""
    folder = target.parent
    before = set(os.listdir(folder))
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": endless(target.name)}
    # A job that a shell starts in the background ignores SIGINT, and so would what it starts in turn: as here, in CI.
    with subprocess.Popen([*COMMAND, *map(str, arguments)], **pipes, preexec_fn=heed_interrupts) as process:
        end = time.monotonic() + 900
        while set(os.listdir(folder)) == before and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(number)
        out, error = ended(process, lambda: process.send_signal(number))
    return process.returncode, out.decode(), error.decode()


def ended(process, again):
    """Wait for a process that was interrupted; returns its output.

    Interrupt it again, by `again`, as a user would where nothing comes of it for long: an exception that comes amid an
    import may be swallowed by what is imported.
    """
    while True:
        try:
            return process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            again()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_what_was_there(slow_work, number):
    arguments = ["compress", slow_work / "ct", "-o", slow_work / "x.vcz", "--force", "--threads", "1"]
    fails(interrupted(arguments, slow_work / "x.vcz", number), "interrupted", code=130)
    assert sorted(os.listdir(slow_work)) == ["ct", "x.vcz"]
    assert (slow_work / "x.vcz").read_text() == "precious"


def test_an_interrupted_restoration_leaves_nothing(slow_work):
    compress([slow_work / "ct"], slow_work / "x.vcz", force=True, verify=False)
    target = slow_work / "out"
    fails(interrupted(["decompress", slow_work / "x.vcz", "-o", target], target, signal.SIGTERM),
          "interrupted", code=130)  # fmt: skip
    assert sorted(os.listdir(slow_work)) == ["ct", "x.vcz"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["argparse", "volcomp.cli", "volcomp.archive.restore", "numpy", "numba", "end"])
def test_an_interrupt_before_the_work_and_after_it(archive, number, module):
    """Whatever is being imported; and once all has been said, none is heard any more."""
    program = f"""
import os, sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
sys.meta_path.insert(0, Interrupting())
from volcomp.__main__ import main
sys.argv = ["volcomp", "verify", {str(archive)!r}]
code = main()
os.kill(os.getpid(), {number})
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, preexec_fn=heed_interrupts)
    if module == "end":
        assert done.returncode == 0 and done.stdout.startswith("sound: ") and not without_compiling(done.stderr)
    else:
        fails(done, "interrupted", code=130)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_is_dropped_is_heeded_at_the_next_progress(slow_work, number):
    """Python drops an exception that comes while an object is removed, and only reports it."""
    program = f"""
import os, sys
from volcomp import __main__
from volcomp.archive import images

class Removed:
    def __del__(self):
        os.kill(os.getpid(), {number})

own = images.ImageWriter.add
def add(self, *arguments):
    Removed()
    return own(self, *arguments)
images.ImageWriter.add = add
sys.argv = ["volcomp", "compress", {str(slow_work / "ct")!r}, "-o", {str(slow_work / "new.vcz")!r}]
sys.exit(__main__.main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, preexec_fn=heed_interrupts)
    assert done.returncode == 130 and done.stderr.endswith("volcomp: interrupted\n")
    assert sorted(os.listdir(slow_work)) == ["ct", "x.vcz"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("when", ["reporting", "exiting", "help", "early"])
def test_interrupts_that_nothing_could_catch_do_nothing(number, when):
    """While an interrupt is reported, while Python ends, and before the work, which then does not begin."""
    program = f"""
import atexit, os, sys
from volcomp import __main__, cli

def kill():
    os.kill(os.getpid(), {number})

class Stderr:
    def write(self, text):
        kill()
        sys.__stderr__.write(text)
    def flush(self):
        pass

def first():
    sys.stderr = Stderr()
    raise KeyboardInterrupt

if {when!r} == "early":  # as soon as there is somebody to hear it
    import signal
    own = signal.signal
    def then_kill(number, handler):
        own(number, handler)
        if number == {number} and handler is __main__._heard:
            kill()
    signal.signal = then_kill
elif {when!r} == "reporting":
    cli.main = first
else:
    atexit.register(kill)
sys.argv = ["volcomp", "--help" if {when!r} == "help" else "--version"]
sys.exit(__main__.main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, preexec_fn=heed_interrupts)
    if when in ("reporting", "early"):
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "volcomp: interrupted\n")
    else:
        assert done.returncode == 0 and "volcomp" in done.stdout and not done.stderr


def test_a_full_disk(tmp_path, archive):
    """No file may grow beyond some bytes, which the system reports much as it does a full disk."""
    data = noise((64, 64)).tobytes() * 8
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "noise").write_bytes(bytes(b ^ i % 251 for i, b in enumerate(data)))

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    result = run("compress", tmp_path / "in", "-o", tmp_path / "x.vcz", preexec_fn=limit)
    fails(result, "x.vcz cannot be written: it would exceed")
    (tmp_path / "out").mkdir()
    (tmp_path / "big.vcz").write_bytes(b"")
    compress([tmp_path / "in"], tmp_path / "big.vcz", force=True)
    fails(run("decompress", tmp_path / "big.vcz", "-o", tmp_path / "out", preexec_fn=limit), "out cannot be written")
    assert sorted(os.listdir(tmp_path)) == ["big.vcz", "in", "out"]
    assert os.listdir(tmp_path / "out") == []


def test_a_disk_that_fills_up_at_the_last_moment(tmp_path, monkeypatch, call):
    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    fails(call("compress", series(tmp_path / "ct", 2), "-o", tmp_path / "x.vcz"), "the disk is full")
    assert os.listdir(tmp_path) == ["ct"]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder in which nobody can write")
def test_a_target_that_nobody_can_write(tmp_path, archive, call):
    fails(call("compress", series(tmp_path / "ct", 1), "-o", "/proc/x.vcz"), "/proc/x.vcz cannot be written")
    fails(call("decompress", archive, "-o", "/proc/out"), "/proc/out cannot be written")


def test_a_closed_pipe(archive):
    with subprocess.Popen([*COMMAND, "info", str(archive)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


@pytest.mark.parametrize("arguments", [["--help"], ["compress", "--help"], ["--version"], ["compress"]])
def test_help_imports_nothing_that_takes_long(arguments):
    """What a command prints before it works, it prints without numpy, numba and their like."""
    program = (
        "import sys\n"
        "from volcomp import cli\n"
        "try: sys.exit(cli.main(sys.argv[1:]))\n"
        "finally: print(*sorted({name.split('.')[0] for name in sys.modules}), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True)
    assert done.returncode == (2 if arguments == ["compress"] else 0)
    imported = set(done.stderr.splitlines()[-1].split())
    assert "volcomp" in imported
    heavy = {"constriction", "distributed", "llvmlite", "numba", "numpy", "pydicom", "torch", "tqdm", "zstandard"}
    assert not imported & heavy


def test_an_interrupt_between_files_of_a_forced_restoration(archive, tmp_path, monkeypatch):
    """The files that are not replaced yet are as they were, and no temporary folder is left."""
    target = tmp_path / "out"
    restore(archive, target, options=ONE)
    for path in target.iterdir():
        path.write_text("mine")
    replace = os.replace

    def one_then_stop(old, new):
        replace(old, new)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", one_then_stop)
    with pytest.raises(KeyboardInterrupt):
        restore(archive, target, options=ONE, force=True)
    assert sorted(path.stat().st_size == 4 for path in target.iterdir()) == [False] + [True] * 39


def test_a_limit_of_threads_is_one_sentence(call, archive, tmp_path, monkeypatch):
    """As containers have; Python raises a RuntimeError."""

    def refuse(*arguments):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading._start_new_thread", refuse)
    fails(call("decompress", archive, "-o", tmp_path / "out"), "the system starts no more threads")
    assert not os.listdir(tmp_path)
