"""How loops are compiled and kept: a folder that cannot be written costs time, and neither the work nor its numbers."""

import errno
import importlib.util
import io
import os
import platform
import subprocess
import sys
import time
import warnings
from pathlib import Path
from threading import Event

import pytest
from numba.core import caching, config, event

import volcomp
from benchmarks import phantom
from benchmarks.command import same_files
from volcomp import cli, progress
from volcomp.archive import pack
from volcomp.archive.restore import Outcome
from volcomp.errors import UnkeptWarning
from volcomp.models import CHOICES
from volcomp.options import EncodeOptions
from volcomp.runtime import compiled, precompiled

SOURCE = """
from volcomp.runtime.compiled import REORDERED, entry, part

@part
def twice(x):
    return 2 * x

@entry(fastmath=REORDERED)
def loop(x):
    return twice(x) + 1
"""


@pytest.fixture(autouse=True)
def nothing_was_before(monkeypatch):
    for name in ("_reasons", "_given_warnings", "loops"):
        monkeypatch.setattr(compiled, name, [])


@pytest.fixture
def load(tmp_path):
    """The loop as a process of its own would have it: nothing compiled, and on disk what earlier ones left there."""
    path = tmp_path / "some_loops.py"
    path.write_text(SOURCE)

    def loaded():
        spec = importlib.util.spec_from_file_location("some_loops", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.loop

    return loaded


def kept(tmp_path, kind):
    return sorted((tmp_path / "__pycache__").glob(f"some_loops.loop*.{kind}"))


def test_code_is_kept_and_read_again(load, tmp_path):
    assert load()(1) == 3
    again = load()
    assert again(1) == 3 and again.stats.cache_hits and not again.stats.cache_misses
    assert compiled.unkept() is None and len(compiled.loops) == 2
    assert again.targetoptions["fastmath"] == {"reassoc", "contract"}


def test_no_folder_can_be_written(load, monkeypatch):
    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", refuse)
    loop = load()
    assert compiled.unkept()  # known before anything is compiled
    with pytest.warns(UnkeptWarning, match="set NUMBA_CACHE_DIR to a folder that can be written"):
        assert loop(1) == 3
    assert loop(1.5) == 4  # and does not warn again


def test_the_disk_is_full(load, tmp_path, monkeypatch):
    def full(self, name, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(compiled._Files, "_save_data", full)
        loop = load()
        with pytest.warns(UnkeptWarning, match="No space left on device"):
            assert loop(1) == 3
        assert loop(1.5) == 4
    assert not kept(tmp_path, "nbi")  # no index of what is not there
    assert load()(1) == 3 and kept(tmp_path, "nbi")


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("size", [0, 20])
def test_a_file_that_was_cut_short_is_written_again(load, tmp_path, kind, size):
    load()(1)
    for path in kept(tmp_path, kind):
        path.write_bytes(path.read_bytes()[:size])
    assert load()(1) == 3 and compiled.unkept() is None
    again = load()
    assert again(1) == 3 and again.stats.cache_hits


def test_another_version_compiles_anew(load, monkeypatch):
    """What other files compile into a loop may have changed, and numba would not notice."""
    load()(1)
    monkeypatch.setattr(compiled, "_VERSION", "another")
    again = load()
    assert again(1) == 3 and again.stats.cache_misses and not again.stats.cache_hits


def test_processes_at_once_do_not_write_over_each_other(load, tmp_path):
    """Each read the index before the other wrote it."""
    first, second = load(), load()
    first(1)
    index = kept(tmp_path, "nbi")[0].read_bytes()
    kept(tmp_path, "nbi")[0].unlink()
    second(1.5)
    assert len(kept(tmp_path, "nbc")) == 2
    kept(tmp_path, "nbi")[0].write_bytes(index)
    assert load()(1) == 3 and load()(1.5) == 4


def test_a_user_without_a_home_is_left_no_folder_of_that_name(load, tmp_path, monkeypatch):
    for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(os, "access", lambda *anything: False)
    monkeypatch.chdir(tmp_path)
    loop = load()
    with pytest.warns(UnkeptWarning, match="this user has no home"):
        assert loop(1) == 3
    assert not (tmp_path / "~").exists()


def test_all_loops_are_compiled_in_one_way():
    package = Path(volcomp.__file__).parent
    assert [path.name for path in package.rglob("*.py") if "njit" in path.read_text()] == ["compiled.py"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(text):
    """What a terminal shows of one line, and what it showed before."""
    before, _, now = text.rpartition("\r")
    return before, now.strip()


@pytest.fixture
def slow_compilation(monkeypatch):
    """`volcomp compress` compiles until a line says so, and does nothing else."""

    def compress(*arguments, **options):
        with event.trigger_event("numba:compile"), event.trigger_event("numba:compile"):  # one loop within another
            deadline = time.monotonic() + 900
            while isinstance(sys.stderr, io.StringIO) and not sys.stderr.getvalue() and time.monotonic() < deadline:
                time.sleep(0.01)
        return pack.Summary(1, 1, 1, 0, 0.0)

    monkeypatch.setattr(pack, "compress", compress)
    monkeypatch.setattr(progress.Wait, "PATIENCE", 0.0)
    monkeypatch.setattr(progress.Wait, "STEP", 0.01)
    return monkeypatch


def test_compilation_is_said_in_a_line_that_goes(slow_compilation, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert cli.main(["compress", str(tmp_path)]) == 0
    before, now = shown(sys.stderr.getvalue())
    assert "compiling for this processor, once: 0 s" in before and now == ""


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_it_is_one_line_in_a_log_after_some_seconds(slow_compilation, tmp_path, options):
    slow_compilation.setattr(progress.Wait, "PATIENCE_OF_LOGS", 0.0)
    slow_compilation.setattr(sys, "stderr", io.StringIO())
    assert cli.main(["compress", str(tmp_path), *options]) == 0
    line = "volcomp: compiling for this processor, once; this may take a minute\n"
    assert sys.stderr.getvalue() == line


def test_nothing_is_said_in_a_log_of_what_is_soon_compiled(slow_compilation, tmp_path, capsys):
    assert cli.main(["compress", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""


def test_without_compiling_a_command_is_one_sentence(slow_compilation, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    assert cli.main(["compress", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("volcomp: NUMBA_DISABLE_JIT is set")


def test_it_stands_before_the_bar_where_there_is_one(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress.Wait, "PATIENCE", 0.0)
    monkeypatch.setattr(progress, "_silent", False)
    wait = progress.Wait(lambda: "compiling")
    with progress.progress_bar("encoding", 100) as advance:
        wait.begin()
        wait._draw("compiling: 3 s")
        advance(10)
        assert sys.stderr.getvalue().rpartition("\r")[2].startswith("compiling: 3 s: ")
        wait.end()
        wait._clear()
        assert sys.stderr.getvalue().rpartition("\r")[2].startswith("encoding: ")
    assert not progress._bars


def test_a_command_says_once_what_is_not_kept(slow_compilation, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(compiled, "_reasons", ["No space left on device", "No space left on device"])
    with warnings.catch_warnings():
        assert cli.main(["compress", str(tmp_path)]) == 0
    sentence = capsys.readouterr().err
    assert sentence.startswith("volcomp: compiled code cannot be kept (No space left on device)")
    assert sentence.count("\n") == 1


@pytest.fixture
def ahead(load, tmp_path, monkeypatch):
    """Some code that was compiled ahead, for whatever processor this is; and a user for whom nothing else is."""
    monkeypatch.setattr(precompiled, "FOLDER", tmp_path / "precompiled")
    monkeypatch.setattr(precompiled, "own", lambda: "avx2")
    folder = precompiled.place("avx2")
    folder.mkdir(parents=True)
    with compiled.ahead(folder):
        assert load()(1) == 3
    assert not kept(tmp_path, "nbi")
    return folder


def compilations(work):
    counted = []
    with compiled.watched(lambda: counted.append(1), lambda: None):
        work()
    return len(counted)


def test_what_was_compiled_ahead_is_not_compiled_again(ahead, load):
    loop = load()
    assert compilations(lambda: loop(1)) == 0 and loop(1) == 3
    assert compilations(lambda: loop(1.5)) == 2 and loop(1.5) == 4  # for other types it is, with its part


def test_it_serves_where_no_folder_can_be_written(ahead, load, monkeypatch):
    def refuse(self):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(caching._CacheLocator, "ensure_cache_path", refuse)
    loop = load()
    assert compilations(lambda: loop(1)) == 0 and loop(1) == 3


@pytest.mark.parametrize("size", [0, 20])
def test_what_was_compiled_ahead_and_is_cut_short_is_compiled(ahead, load, size):
    for path in ahead.iterdir():
        path.write_bytes(path.read_bytes()[:size])
    assert load()(1) == 3


def test_code_of_other_sources_is_compiled(ahead, load, monkeypatch):
    monkeypatch.setattr(precompiled, "_sources", lambda: "changed since then")
    loop = load()
    assert compilations(lambda: loop(1)) == 2


@pytest.mark.parametrize("name", precompiled.TARGETS)
def test_a_class_is_named_by_the_instructions_that_its_code_is_made_of(name):
    processor, features = precompiled.TARGETS[name]
    if platform.machine().lower() not in ("x86_64", "amd64"):
        pytest.skip("of another architecture")
    asked = "from volcomp.runtime import precompiled, vectors; print(vectors.instructions(), precompiled.own())"
    environment = {**os.environ, "NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": features}
    told = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.split() == [name, name]


def test_a_class_fits_processors_with_all_of_its_features():
    target = precompiled.Target("some", "+avx,+avx2")
    assert target.fits("+avx,+avx2,-avx512f") and target.fits("+fma,+avx2,+avx")
    assert not target.fits("+avx,-avx2") and not target.fits("+avx") and not target.fits("")


COMMAND = """
import sys, pathlib
from volcomp import cli
from volcomp.runtime import compiled, precompiled
precompiled.FOLDER = pathlib.Path(sys.argv.pop(1))
begun = []
with compiled.watched(lambda: begun.append(1), lambda: None):
    code = cli.main(sys.argv[1:])
print(len(begun), "compiled")
sys.exit(code)
"""


@pytest.mark.long
def test_from_code_compiled_ahead_everything_works_at_once_and_gives_the_same(tmp_path, monkeypatch):
    """As in a container: the code is there, and no folder for other code."""
    if not precompiled.own():
        pytest.skip("nothing is compiled ahead for this processor")
    monkeypatch.setattr(precompiled, "FOLDER", tmp_path / "precompiled")
    assert cli.main(["precompile", "--for", precompiled.own()]) == 0
    volume = phantom.scan()
    phantom.write(tmp_path / "series", volume)
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def run(*arguments):
        command = [sys.executable, "-c", COMMAND, str(tmp_path / "precompiled"), *arguments]
        told = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert told.returncode == 0, told.stderr
        return told.stdout

    for model in CHOICES:
        if model != "paper":
            assert run("compress", "series", "-o", f"{model}.vcz", "--model", model).endswith("\n0 compiled\n")
            assert run("decompress", f"{model}.vcz", "-o", model).endswith("\n0 compiled\n")
            assert same_files(tmp_path / "series", tmp_path / model)
            pack.compress([tmp_path / "series"], tmp_path / "here.vcz", EncodeOptions(model), force=True)
            assert (tmp_path / "here.vcz").read_bytes() == (tmp_path / f"{model}.vcz").read_bytes()
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").rglob("*.nbc"))


def test_a_class_that_this_machine_is_not_of_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(precompiled, "runnable", lambda: ["avx2"])
    assert cli.main(["precompile", "--for", "avx512"]) == 1
    assert capsys.readouterr().err == ("volcomp: no code for avx512 can run on this machine: it has avx2\n")
    monkeypatch.setattr(precompiled, "runnable", lambda: [])
    assert cli.main(["precompile"]) == 1
    assert "code is compiled ahead for none that this processor has" in capsys.readouterr().err


def test_a_package_that_cannot_be_written_is_one_sentence(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(precompiled, "FOLDER", tmp_path / "file" / "precompiled")
    monkeypatch.setattr(precompiled, "runnable", lambda: ["avx2"])
    assert cli.main(["precompile"]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "cannot be written" in error and "run this as whoever installed" in error


def test_a_command_that_works_twice_says_once_that_it_compiles(slow_compilation, monkeypatch, tmp_path):
    from volcomp.cli import verify as command

    slow_compilation.setattr(progress.Wait, "PATIENCE_OF_LOGS", 0.0)
    slow_compilation.setattr(sys, "stderr", io.StringIO())
    waits = []

    def work(*arguments):
        with event.trigger_event("numba:compile"):
            deadline = time.monotonic() + 900
            while not sys.stderr.getvalue() and time.monotonic() < deadline:
                time.sleep(0.01)
            waits[-1].wait()  # until the watching thread has looked
        return Outcome()

    looked = progress.Wait._log

    def log(self, waited):
        looked(self, waited)
        if waits and self._logged and waited:
            waits[-1].set()

    monkeypatch.setattr(progress.Wait, "_log", log)
    monkeypatch.setattr("volcomp.archive.restore.verify", work)
    monkeypatch.setattr("volcomp.archive.protect.diagnose", lambda path: waits.append(Event()))
    monkeypatch.setattr(command, "source", lambda path: path)
    assert cli.main(["verify", "a", "b"]) == 0 and len(waits) == 2
    assert sys.stderr.getvalue().count("compiling for this processor, once") == 1
