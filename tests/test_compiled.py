"""How loops are compiled and kept: a folder that cannot be written costs time, and neither the work nor its numbers."""

import errno
import importlib.util
import io
import os
import sys
import time
import warnings
from pathlib import Path

import pytest
from numba.core import caching, config, event

import volcomp
from volcomp import cli, compiled, progress
from volcomp.archive import pack
from volcomp.errors import UnkeptWarning

SOURCE = """
from volcomp.compiled import REORDERED, entry, part

@part
def twice(x):
    return 2 * x

@entry(fastmath=REORDERED)
def loop(x):
    return twice(x) + 1
"""


@pytest.fixture(autouse=True)
def nothing_was_before(monkeypatch):
    for name in ("_reasons", "_said", "loops"):
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
            deadline = time.monotonic() + 10
            while isinstance(sys.stderr, Terminal) and not sys.stderr.getvalue() and time.monotonic() < deadline:
                time.sleep(0.01)
        return pack.Summary(1, 1, 1, 0, 0.0)

    monkeypatch.setattr(pack, "compress", compress)
    monkeypatch.setattr(progress.Wait, "PATIENCE", 0.0)
    monkeypatch.setattr(progress.Wait, "STEP", 0.01)


def test_compilation_is_said_in_a_line_that_goes(slow_compilation, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert cli.main(["compress", str(tmp_path)]) == 0
    before, now = shown(sys.stderr.getvalue())
    assert "compiling for this processor, once: 0 s" in before and now == ""


def test_it_is_not_said_in_a_pipe(slow_compilation, tmp_path, capsys):
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
