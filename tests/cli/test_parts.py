"""The commands list, extract and append, and standard input and output."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import volcomp
from tests.cli.test_cli import call, fails, run, without_compiling
from tests.helpers import compress, contents, series

__all__ = ["call"]  # a fixture


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    series(folder / "ct", 3, size=6)
    (folder / "ct" / "note").write_text("note")
    (folder / "ct" / "new\nline").write_text("note")
    compress([folder / "ct"], folder / "ct.vcz")
    return folder


def test_list(study, call):
    code, out, error = call("list", study / "ct.vcz")
    assert code == 0 and not error and len(out.splitlines()) == 5
    assert out.splitlines()[0].endswith("volume 0  IM0001.dcm") and "copy      note = new\\nline" in out
    assert call("list", "--names", study / "ct.vcz")[1].splitlines()[3:] == ["new\\nline", "note"]
    code, out, _ = call("list", "--json", study / "ct.vcz")
    found = json.loads(out)
    assert found["root"] == "ct" and [entry["kept"] for entry in found["entries"]] == ["volume"] * 3 + ["whole", "copy"]


def test_extract(study, call, tmp_path):
    code, out, _ = call("extract", study / "ct.vcz", "note", "IM000[12]*", "-o", tmp_path / "out")
    assert code == 0 and f"{study / 'ct.vcz'}: 3 files, " in out
    assert sorted(os.listdir(tmp_path / "out")) == ["IM0001.dcm", "IM0002.dcm", "note"]
    fails(call("extract", study / "ct.vcz", "note", "-o", tmp_path / "out"), "note exists; --force")
    code, out, _ = call("extract", study / "ct.vcz", "--series", "1.2.3.4", "-o", tmp_path / "s", "--json")
    assert code == 0 and json.loads(out)["files"] == 3 and len(os.listdir(tmp_path / "s")) == 3
    one = ("--slices", "1", "-o", tmp_path / "slice", "--json")
    code, out, _ = call("extract", study / "ct.vcz", "--series", "1.2.3.4", *one)
    assert code == 0 and os.listdir(tmp_path / "slice") == ["IM0002.dcm"] and json.loads(out)["files"] == 1
    code, out, _ = call("extract", study / "ct.vcz", "--slices", "0:2", "-o", tmp_path / "two")  # of every volume
    assert code == 0 and sorted(os.listdir(tmp_path / "two")) == ["IM0002.dcm", "IM0003.dcm"]
    code, out, _ = call("extract", study / "ct.vcz", "IM0001*", "--slices", "2:", "-o", tmp_path / "last")
    assert code == 0 and os.listdir(tmp_path / "last") == ["IM0001.dcm"]
    fails(call("extract", study / "ct.vcz", "IM0001*", *one), "no volume has the slices that were asked for")
    wrong = call("extract", study / "ct.vcz", "note", "--slices", "x", "-o", tmp_path / "x")
    fails(wrong, "--slices 'x' is no range of slices", code=2)
    fails(call("extract", study / "ct.vcz", "gone", "-o", tmp_path / "x"), "it holds no 'gone'")
    fails(call("extract", study / "ct.vcz"), "name files, folders or patterns", code=2)


def test_append(study, call, tmp_path):
    archive = tmp_path / "x.vcz"
    archive.write_bytes((study / "ct.vcz").read_bytes())
    (tmp_path / "late").write_text("late")
    code, out, _ = call("append", archive, tmp_path / "late", "--no-times", "--json")
    found = json.loads(out)
    assert code == 0 and found["files"] == 1 and found["skipped"] == []
    size = archive.stat().st_size
    assert found["bytes_out"] == size - (study / "ct.vcz").stat().st_size
    entry = json.loads(call("list", "--json", archive)[1])["entries"][3]
    assert (entry["name"], entry["mtime_ns"]) == ("late", None)
    fails(call("append", archive, tmp_path / "late"), "x.vcz holds late already")
    fails(call("append", "-", tmp_path / "late"), "append changes an archive and cannot read it", code=2)
    assert archive.stat().st_size == size and call("verify", archive)[0] == 0


def test_errors_that_are_skipped(call, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "note").write_text("note")
    os.mkfifo(tmp_path / "in" / "pipe")
    fails(call("compress", tmp_path / "in", "-o", tmp_path / "x.vcz"), "pipe is neither a file nor a folder")
    code, out, error = call("compress", tmp_path / "in", "-o", tmp_path / "x.vcz", "--skip-errors", "--json")
    assert code == 1 and json.loads(out)["files"] == 1 and len(json.loads(out)["skipped"]) == 1
    assert error.splitlines()[0] == f"skipped: {tmp_path}/in/pipe is neither a file nor a folder; leave it out"
    assert error.splitlines()[1:] == [
        f"volcomp: {tmp_path}/x.vcz is written, but 1 of the inputs could not be read",
    ]
    assert call("verify", tmp_path / "x.vcz")[0] == 0


def piped(arguments, data=b"", **options):
    """Run the command with bytes as standard input; return its result with bytes."""
    command = [sys.executable, "-m", "volcomp", *map(str, arguments)]
    done = subprocess.run(command, input=data, capture_output=True, timeout=900, **options)
    done.stderr = without_compiling(done.stderr.decode()).encode()
    return done


def test_an_archive_through_pipes(study, tmp_path):
    made = piped(["compress", study / "ct", "-o", "-", "--threads", "1"], cwd=tmp_path)
    assert made.returncode == 0 and made.stdout == (study / "ct.vcz").read_bytes()
    assert made.stderr.startswith(b"standard output: 5 files, ") and made.stderr.count(b"\n") == 1
    for command in "list", "info", "verify":
        done = piped([command, "-"], made.stdout, cwd=tmp_path)
        assert done.returncode == 0 and done.stdout and not done.stderr
    done = piped(["decompress", "-"], made.stdout, cwd=tmp_path)
    assert done.returncode == 0 and contents(tmp_path / "ct") == contents(study / "ct")
    done = piped(["extract", "-", "IM0001.dcm", "-o", "-"], made.stdout, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == (study / "ct" / "IM0001.dcm").read_bytes() and not done.stderr
    done = piped(["list", "-"], made.stdout[:-1], cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith(b"volcomp: standard input: the archive is cut short")
    assert os.listdir(tmp_path) == ["ct"]


def test_a_file_from_standard_input(tmp_path):
    done = piped(["compress", "-", "--stdin-name", "note"], b"note", cwd=tmp_path)
    assert done.returncode == 0 and os.listdir(tmp_path) == ["note.vcz"]
    assert piped(["append", "note.vcz", "-"], b"more", cwd=tmp_path).returncode == 0
    assert piped(["list", "--names", "note.vcz"], cwd=tmp_path).stdout == b"note\nstdin\n"
    assert piped(["extract", "note.vcz", "note", "-o", "-"], cwd=tmp_path).stdout == b"note"
    for arguments, sentence, code in (
        (["-", "--stdin-name", "a/b", "-o", "x"], b"'a/b' is no name of a file", 2),
        (["-", "note.vcz", "-o", "x"], b"standard input (-) is one file", 2),
        (["-", "--stdin-name", "x" * 300, "-o", "x"], b"File name too long", 1),
    ):
        done = piped(["compress", *arguments], b"note", cwd=tmp_path)
        assert done.returncode == code and sentence in done.stderr and done.stderr.count(b"\n") == 1
    assert os.listdir(tmp_path) == ["note.vcz"]


def test_a_file_named_as_standard_input(tmp_path):
    (tmp_path / "-").write_text("note")
    assert run("compress", "./-", "-o", "x.vcz", cwd=tmp_path).returncode == 0
    assert run("list", "--names", "x.vcz", cwd=tmp_path).stdout == "-\n"
    (tmp_path / "-").write_bytes((tmp_path / "x.vcz").read_bytes())
    assert run("list", "--names", "./-", cwd=tmp_path, stdin=subprocess.DEVNULL).stdout == "-\n"


def test_bytes_and_terminals(study, tmp_path):
    """Bytes are not written to a terminal, nor is an archive read from one."""
    main, terminal = os.openpty()
    for arguments, pipes in (
        (["compress", study / "ct", "-o", "-"], {"stdout": terminal}),
        (["extract", study / "ct.vcz", "note", "-o", "-"], {"stdout": terminal}),
        (["list", "-"], {"stdin": terminal}),
        (["compress", "-", "-o", tmp_path / "x.vcz"], {"stdin": terminal}),
    ):
        command = [sys.executable, "-m", "volcomp", *map(str, arguments)]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **pipes}
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=900, **pipes)
        error = without_compiling(done.stderr)
        assert done.returncode == 1 and "is a terminal" in error and error.count("\n") == 1
    os.close(main)
    os.close(terminal)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("closing", ["<&-", ">&-"])
def test_closed_streams(study, closing):
    command = f"{sys.executable} -m volcomp list {'-' if closing == '<&-' else study / 'ct.vcz'} {closing}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=900)
    assert "Traceback" not in done.stderr and done.returncode == (1 if closing == "<&-" else 0)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a full disk")
def test_standard_output_on_a_full_disk(study):
    for arguments in ["list", study / "ct.vcz"], ["compress", study / "ct", "-o", "-"]:
        with open("/dev/full", "wb") as full:
            command = [sys.executable, "-m", "volcomp", *map(str, arguments)]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=900)
        error = without_compiling(done.stderr)
        assert done.returncode == 1 and error.count("\n") == 1 and error.startswith("volcomp: ")


def test_a_pipe_that_is_closed_early(study):
    """A quiet end with exit code 1, also for bytes that fill the pipe."""
    for arguments in ["list", study / "ct.vcz"], ["compress", study / "ct", "-o", "-"]:
        command = [sys.executable, "-m", "volcomp", *map(str, arguments)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.close()
            assert without_compiling(process.stderr.read().decode()) == ""
        assert process.returncode == 1


def test_a_volume_has_one_name_in_all_commands(call, tmp_path):
    """That of `info`, `open` and `--series`; the number of `list` and the series mean the same volume."""
    folder = tmp_path / "in"
    series(folder / "a" / "ct", 2, size=6, series="1.2.1")
    series(folder / "b", 2, size=7, series="1.2.2")
    voxels = np.arange(96, dtype=np.int16).reshape(2, 6, 8)
    np.save(folder / "c.npy", voxels)
    shutil.copytree(folder / "b", folder / "copy of b")
    for path in (folder / "copy of b").iterdir():  # of the same voxels, under other headers
        path.write_bytes(path.read_bytes().replace(b"1.2.2", b"1.2.7"))
    archive = tmp_path / "x.vcz"
    compress([folder], archive)
    found = json.loads(call("info", archive, "--json")[1])["volumes"]
    names = [name for volume in found for name in (volume["name"], *volume["copies"])]
    with volcomp.open(archive) as opened:
        assert names == [*opened.volumes]
        assert np.array_equal(opened["c.npy"][:], voxels)
    assert sorted(names) == ["a/ct", "b", "c.npy", "copy of b"]
    text, everything = call("info", archive)[1], call("info", archive, "--all")[1]
    for name in names:
        assert repr(name) in text and repr(name) in everything
    assert "series \n" not in text + everything and ", ''" not in everything and "unknown modality" not in everything
    listed = call("list", archive)[1]
    for number, volume in enumerate(found):
        name = volume["name"]
        assert f"volume {number}, {name!r}: " in everything
        assert any(f"  volume {number}  {name}" in line for line in listed.splitlines())
        for k, key in enumerate(filter(None, (name, volume["series"], f"volume {number}"))):
            target = tmp_path / f"{number}-{k}"
            assert call("extract", archive, "--series", key, "-o", target)[0] == 0
            there = {path for path, data in contents(target).items() if data is not None}
            own = {path for path, data in contents(folder).items() if data is not None and path.startswith(name)}
            copies = {path for path in contents(folder) if path.startswith(("b/", "copy of b/"))}
            assert there == (copies if volume["copies"] and key.startswith("volume ") else own)
            image = tmp_path / f"{number}-{k}.npy"
            assert call("decompress", archive, "--series", key, "-o", image)[0] == 0
            assert np.load(image).shape == tuple(volume["shape"])
    fails(call("extract", archive, "--series", "volume 9", "-o", tmp_path / "x"), "holds no volume or series volume 9")
    fails(call("view", archive, "-o", tmp_path / "x.png"), "'a/ct', 'b'")
