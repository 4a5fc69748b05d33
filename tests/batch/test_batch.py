"""Batches: every series once, whatever else goes wrong, and a report in which nothing is lost or twice."""

import csv
import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.test_cli import COMMAND, ended, endless, fails, heed_interrupts, run
from tests.helpers import ONE, compress, contents, image, noise, series
from volcomp import cli
from volcomp.archive.opening import manifest_of, opened
from volcomp.archive.restore import verify
from volcomp.batch import claims, work
from volcomp.batch.jobs import LOOSE, Job, find
from volcomp.batch.report import DONE, FAILED, Report, Row
from volcomp.batch.work import CLAIMED, How, perform
from volcomp.cli.arguments import size
from volcomp.errors import TargetError, UnsupportedError
from volcomp.options import EncodeOptions

ROOT = Path(__file__).resolve().parents[2]


def tree(folder: Path, count: int) -> Path:
    """So many small series, two to a patient."""
    for i in range(count):
        series(folder / f"p{i // 2}" / f"s{i}", 2, size=4, series=f"1.2.{i}")
    return folder


def rows(target: Path) -> dict[str, dict[str, str]]:
    """The report by path; no path twice."""
    with (target / "batch.csv").open(newline="", errors="surrogateescape") as file:
        found = [*csv.DictReader(file)]
    assert len({row["path"] for row in found}) == len(found)
    return {row["path"]: row for row in found}


def check(source: Path, target: Path, names: set[str]) -> None:
    """All series are there, sound and as in the source; the report agrees, and nothing else lies about."""
    report = rows(target)
    assert {name for name, row in report.items() if row["status"] == DONE} == names
    assert {path for path in contents(target) if path.endswith(".vcz")} == {f"{name}.vcz" for name in names}
    assert not [path for path in contents(target) if ".volcomp" in path or path.endswith((".part", ".lock"))]
    for name in names:
        archive = target / f"{name}.vcz"
        row = report[name]
        assert verify(archive, options=ONE).files == int(row["files"])
        with opened(archive) as reader:
            entries = manifest_of(reader).files
        folder = source / name
        assert {e.name: e.sha256 for e in entries} == {
            path: hashlib.sha256(data).digest() for path, data in contents(folder).items() if data is not None
        }
        assert row["sha256"] == hashlib.sha256(archive.read_bytes()).hexdigest()
        assert int(row["bytes_in"]) == sum(entry.size for entry in entries)
        assert (int(row["bytes_out"]), row["error"]) == (archive.stat().st_size, "")


def how(root: Path, *, decompress: bool = False, **options: Any) -> How:
    return How(root, decompress, EncodeOptions(**{"model": "fast", "effort": 1, "device": "cpu", **options}))


@pytest.fixture
def call(capsys):
    """Run the command in this process: (exit code, standard output, standard error)."""
    handler = signal.getsignal(signal.SIGTERM)

    def run_here(*arguments):
        code = cli.main(["batch", *map(str, arguments)])
        return (code, *capsys.readouterr())

    yield run_here
    signal.signal(signal.SIGTERM, handler)


# --------------------------------------------------------------------------------------------------- the whole command


def test_a_tree_there_and_back(tmp_path, call):
    """Also from a source that cannot be written; and what is done is not done again."""
    source, target, back = tmp_path / "in", tmp_path / "out", tmp_path / "back"
    tree(source, 4)
    (source / "p0" / "notes.txt").write_text("files beside folders")
    (source / "DICOMDIR").write_text("at the top too")
    (source / "empty" / "deep").mkdir(parents=True)
    before = contents(source)
    for path in [source, *source.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    code, out, error = call(source, target, "--model", "fast", "--jobs", 2)
    assert (code, error) == (0, "") and out.startswith(f"{target}: 7 series, 7 done, 0 there already, 0 failed, ")
    names = {"p0/s0", "p0/s1", "p1/s2", "p1/s3", f"p0/{LOOSE}", LOOSE, "empty/deep"}
    assert {*rows(target)} == names
    assert {path for path in contents(target) if path.endswith(".vcz")} == {f"{name}.vcz" for name in names}
    stamps = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    code, out, _ = call(source, target, "--json")
    done = json.loads(out)
    assert code == 0 and (done["series"], done["done"], done["there"], done["failed"]) == (7, 0, 7, 0)
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == stamps
    assert contents(source) == before

    assert call(target, back, "--decompress", "--jobs", 2)[0] == 0
    assert subprocess.run(["diff", "-r", "-x", "batch.csv", source, back]).returncode == 0
    assert contents(back).keys() - {"batch.csv"} == before.keys()
    assert {name: row["sha256"] for name, row in rows(back).items()} == {
        name: row["sha256"] for name, row in rows(target).items()
    }
    (back / "p0" / "s1" / "IM0001.dcm").unlink()
    (back / "batch.csv").unlink()
    assert "1 done, 6 there already" in call(target, back, "--decompress", "--jobs", 1)[1]
    assert contents(back).keys() - {"batch.csv"} == before.keys()


def test_a_list_with_series_that_fail(tmp_path, monkeypatch):
    """Each fails with a sentence, the others go on, and the next batch does those alone."""
    tree(tmp_path / "in", 3)
    os.mkfifo(tmp_path / "in" / "p0" / "s1" / "pipe.dcm")
    lines = ["in/p0/s0", "", "in/p0/s1", str(tmp_path / "in/p1/s2"), "in/nothing", "in/p0/s0/"]
    (tmp_path / "list").write_text("\n".join(lines))
    absolute = str(tmp_path / "in/p1/s2").lstrip("/")
    arguments = ("batch", "list", "out", "--model", "fast", "--jobs", "1", "--no-verify")
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 1 and "4 series, 2 done, 0 there already, 2 failed" in done.stdout
    assert done.stderr.splitlines() == [
        f"failed: in/p0/s1: {tmp_path}/in/p0/s1/pipe.dcm is neither a file nor a folder; leave it out",
        f"failed: in/nothing: {tmp_path}/in/nothing cannot be read: No such file or directory",
        "volcomp: 2 of 4 series failed; out/batch.csv says why",
    ]
    found = rows(tmp_path / "out")
    assert {name: row["status"] for name, row in found.items()} == {
        "in/p0/s0": DONE, "in/p0/s1": FAILED, absolute: DONE, "in/nothing": FAILED
    }  # fmt: skip
    assert found["in/nothing"]["error"].startswith(str(tmp_path / "in/nothing"))
    (tmp_path / "in" / "p0" / "s1" / "pipe.dcm").unlink()
    series(tmp_path / "in" / "nothing", 1)
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == 0 and "4 series, 2 done, 2 there already, 0 failed" in done.stdout
    assert {row["status"] for row in rows(tmp_path / "out").values()} == {DONE}


def test_a_damaged_archive_among_good_ones(tmp_path, call):
    for name in ("a", "b"):
        compress([series(tmp_path / "in" / name, 2, size=4)], tmp_path / f"{name}.vcz")
    (tmp_path / "b.vcz").write_bytes((tmp_path / "b.vcz").read_bytes()[:-1])
    code, _, error = call(tmp_path, tmp_path / "back", "--decompress", "--jobs", 1)
    assert code == 1 and error.startswith(f"failed: b: {tmp_path}/b.vcz: the archive is cut short")
    assert contents(tmp_path / "back" / "a") == contents(tmp_path / "in" / "a")
    assert sorted(os.listdir(tmp_path / "back")) == ["a", "batch.csv"]


def test_two_batches_at_once(tmp_path):
    """Each series is done by one of them, and both end when all are there."""
    source, target = tree(tmp_path / "in", 16), tmp_path / "out"
    command = [*COMMAND, "batch", str(source), str(target), "--model", "fast", "--jobs", "1", "--json"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    ends = [process.communicate(timeout=900) for process in both]
    assert [(process.returncode, error) for process, (_, error) in zip(both, ends, strict=True)] == [(0, b"")] * 2
    done = [json.loads(out) for out, _ in ends]
    assert sum(one["done"] for one in done) == 16 and all(one["done"] + one["there"] == 16 for one in done)
    check(source, target, {f"p{i // 2}/s{i}" for i in range(16)})


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_leaves_whole_files_alone(tmp_path, number):
    """Of the series that was being done nothing is left; the one before is there, with its row."""
    source, target = tmp_path / "in", tmp_path / "out"
    series(source / "a", 2, size=4)
    for z in range(24):
        image(source / "slow" / str(z), noise((256, 256), seed=z), z=z)
    command = [*COMMAND, "batch", str(source), str(target), "--jobs", "1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "env": endless("slow.vcz")}
    with subprocess.Popen(command, **pipes, preexec_fn=heed_interrupts, start_new_session=True) as process:
        slow = target / claims.FOLDER / hashlib.sha256(b"slow").hexdigest()[:32]
        end = time.monotonic() + 900
        while not (slow.is_dir() and any(slow.iterdir())) and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)

        def interrupt():
            if number == signal.SIGINT:
                os.killpg(process.pid, number)  # as a terminal does
            else:
                process.send_signal(number)

        interrupt()
        out, error = ended(process, interrupt)
    fails((process.returncode, out, error), "interrupted", code=130)
    assert sorted(os.listdir(target)) == ["a.vcz", "batch.csv"]
    check(source, target, {"a"})


def test_a_full_disk(tmp_path):
    """No file may grow beyond some bytes: the series that needs more fails, the others do not."""
    source, target = tree(tmp_path / "in", 2), tmp_path / "out"
    (source / "big").mkdir()
    (source / "big" / "noise").write_bytes(os.urandom(100_000))

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    done = run("batch", source, target, "--model", "fast", "--jobs", "1", preexec_fn=limit)
    assert done.returncode == 1
    assert done.stderr.startswith(f"failed: big: {target}/big.vcz cannot be written: it would exceed")
    check(source, target, {"p0/s0", "p0/s1"})


def test_one_sentence_for_what_cannot_begin(tmp_path, call, monkeypatch):
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary").write_bytes(b"\0\1")
    series(tmp_path / "in", 1)
    out = tmp_path / "out"
    fails(call(tmp_path / "gone", out), "gone cannot be read: No such file or directory")
    fails(call(tmp_path / "empty", out), "empty holds no files")
    fails(call(tmp_path / "in", out, "--decompress"), "in holds no archives")
    fails(call(tmp_path / "binary", out), "is neither a folder nor a list")
    fails(call(tmp_path / "in", tmp_path / "in"), "is both source and target")
    fails(call(tmp_path / "in", out, "--effort", "10"), "'10' is no effort from 1", code=2)
    fails(call(tmp_path / "in", out, "--scheduler", "nonsense"), "no Dask scheduler answers at nonsense")
    fails(call(tmp_path / "in", "/proc/out"), "/proc/out cannot be written")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    fails(call(tmp_path / "in", out, "--device", "cuda"), "no GPU was found")
    monkeypatch.setitem(sys.modules, "distributed", None)
    fails(call(tmp_path / "in", out, "--scheduler", "tcp://x:1"), "pip install 'volcomp[batch]'")
    assert not out.exists()
    for text in ("0", "many", "-3G", ""):
        fails(call(tmp_path / "in", out, "--memory", text), "--memory", code=2)
    assert [size(text) for text in ("16G", "500mb", "7")] == [16 * 10**9, 5 * 10**8, 7]


def test_the_leader_stays_light(tmp_path):
    """No torch where only others work."""
    tree(tmp_path / "in", 1)
    code = (
        "import sys\nfrom volcomp import cli\n"
        "if __name__ == '__main__':\n"
        f"    assert cli.main(['batch', {str(tmp_path / 'in')!r}, {str(tmp_path / 'out')!r}, '--jobs', '1']) == 0\n"
        "    sys.exit(bool({'torch', 'distributed'} & set(sys.modules)))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# ------------------------------------------------------------------------------------------------ series, claims, rows


def test_which_series_a_tree_holds(tmp_path):
    source, target = tmp_path / "in", tmp_path / "in" / "out"
    for name in ("a/one/x", "a/two/x", "a/note", "b/x"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).touch()
    (source / "link").symlink_to("a/one")
    (target / "old").mkdir(parents=True)  # the target may lie in the source
    (source / "b" / claims.FOLDER).mkdir()  # of a batch that is at work there
    jobs = find(source, target, decompress=False)
    assert [job.name for job in jobs] == [f"a/{LOOSE}", "a/one", "a/two", "b", "link"]
    assert jobs[0].inputs() == [source / "a" / "note"] and jobs[1].target == target / "a" / "one.vcz"
    assert [job.name for job in find(source / "b", target, decompress=False)] == ["b"]
    (source / "a" / "up").symlink_to("..")
    with pytest.raises(UnsupportedError, match="is a link to a folder around it"):
        find(source, target, decompress=False)
    (source / "a" / "up").unlink()
    (source / "b" / LOOSE).mkdir()
    with pytest.raises(UnsupportedError, match="rename it"):
        find(source, target, decompress=False)


def test_names_that_clash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    here = str(tmp_path).lstrip("/")
    series(tmp_path / "x", 1)
    series(tmp_path / here / "x", 1)
    (tmp_path / "list").write_text(f"{tmp_path}/x\n{here}/x\n")
    with pytest.raises(UnsupportedError, match="would both become"):
        find(tmp_path / "list", tmp_path / "out", decompress=False)


def test_a_claim_ends_with_its_process(tmp_path):
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom volcomp.batch.claims import claim\n"
        "with claim(Path(sys.argv[1]), 'x') as scratch:\n"
        "    (scratch / 'half').touch()\n    print(flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with claims.claim(tmp_path, "x") as scratch:
            assert scratch is None
        claims.sweep(tmp_path)
        assert perform(Job("x", tmp_path, tmp_path / "x.vcz"), how(tmp_path), 1).status == CLAIMED
        (lock,) = (tmp_path / claims.FOLDER).glob("*.lock")
        assert lock.read_text().split()[1] == str(process.pid)
        process.kill()
    with claims.claim(tmp_path, "x") as scratch, claims.claim(tmp_path, "y") as other:
        assert os.listdir(scratch) == [] and other != scratch
    (tmp_path / claims.FOLDER / "left").mkdir()
    (tmp_path / claims.FOLDER / "left.lock").touch()
    (tmp_path / claims.FOLDER / "orphan").mkdir()  # its owner took the lock away and was killed
    claims.sweep(tmp_path)
    assert os.listdir(tmp_path) == []


def test_nothing_is_lost_between_two_writers(tmp_path):
    """Each of several reports adds its rows, and again its own and another's."""

    def write(first):
        report = Report(tmp_path)
        for i in range(first, first + 20):
            report.add(Row(f"s{i}", seconds=1.0))
            report.add(Row(f"s{i - 10}", status=FAILED, error='a "quoted"\nsentence', seconds=2.0))

    threads = [threading.Thread(target=write, args=[first]) for first in (0, 10, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(rows(tmp_path)) == 50 and os.listdir(tmp_path / claims.FOLDER) == []


def test_a_report_that_was_cut_or_changed(tmp_path, monkeypatch):
    report = Report(tmp_path)
    one, two = Row("one", 1, 2, 3, 4.0, "aa"), Row(os.fsdecode(b"two\xff\n"), status=FAILED, seconds=1.0)
    report.add(one)
    report.add(two)
    with (tmp_path / "batch.csv").open("a") as file:
        file.write("half,1,2")
    other = Report(tmp_path)
    other.add(Row("three", seconds=1.0))
    assert {*rows(tmp_path)} == {"one", two.path, "three"}
    other.add(Row("one", 1, 2, 3, 0.0, "aa"))  # found: what the first knows is more
    assert rows(tmp_path)["one"]["seconds"] == "4.0"
    report.refresh()
    report.forget([one, replace(two, seconds=9.0)])  # the second has another row by now
    assert {*rows(tmp_path)} == {two.path, "three"}

    def full(handle):
        raise OSError(28, "No space left on device")

    before = (tmp_path / "batch.csv").read_bytes()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TargetError, match=r"batch\.csv cannot be written: the disk is full"):
        report.add(Row("three", status=FAILED))
    assert (tmp_path / "batch.csv").read_bytes() == before


def test_never_over_a_file(tmp_path, monkeypatch):
    """Where locks do not reach, the first to finish wins; where there are no links, a rename must do."""
    source = series(tmp_path / "in", 2, size=4)
    target = tmp_path / "x.vcz"
    job = Job("x", source, target)
    monkeypatch.setattr(work, "compress", lambda inputs, made, options, *, times: made.write_bytes(b"mine"))
    (tmp_path / "theirs").write_bytes(b"theirs")
    monkeypatch.setattr(os, "link", lambda made, target: shutil.copy(tmp_path / "theirs", target))
    perform(job, how(tmp_path), 1)
    assert target.read_bytes() == b"theirs"
    assert f"{target}: this is no volcomp archive" in perform(job, how(tmp_path), 1).error  # found, and left alone
    target.unlink()

    def none(made, target):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    perform(job, how(tmp_path), 1)
    assert target.read_bytes() == b"mine"


def test_a_file_that_is_not_the_archives(tmp_path):
    compress([series(tmp_path / "in" / "a", 2, size=4)], tmp_path / "a.vcz")
    mine = tmp_path / "out" / "a" / "IM0001.dcm"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    job = Job("a", tmp_path / "a.vcz", tmp_path / "out" / "a")
    row = perform(job, how(tmp_path / "out", decompress=True), 1)
    assert row.error == f"{mine} exists and is not what the archive holds; move it away"
    assert mine.read_text() == "mine"
    (tmp_path / "in" / "batch.csv").touch()
    compress([tmp_path / "in" / "batch.csv"], tmp_path / f"{LOOSE}.vcz")
    job = Job(LOOSE, tmp_path / f"{LOOSE}.vcz", tmp_path / "out")
    assert "which would replace this batch's own" in perform(job, how(tmp_path / "out", decompress=True), 1).error


def test_archives_at_urls_are_restored(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    from tests.reading.server import served

    archives = tmp_path / "archives"
    archives.mkdir()
    for name in ("a", "b"):
        compress([series(tmp_path / name, 2, size=4)], archives / f"{name}.vcz")
    with served(archives) as server:
        listed = tmp_path / "list.txt"
        listed.write_text(f"{server.url}/a.vcz\n{server.url}/sub/../b.vcz\n{server.url}/missing.vcz\n")
        (tmp_path / "out").mkdir()
        jobs = find(listed, tmp_path / "out", decompress=True)
        host = server.url.removeprefix("http://")
        assert [job.name for job in jobs] == [f"{host}/a", f"{host}/sub/b", f"{host}/missing"]
        how = How(tmp_path / "out", True, EncodeOptions(threads=1))
        done = [perform(job, how, 1) for job in jobs]
        assert [row.status for row in done] == [DONE, DONE, FAILED] and "no such file" in done[2].error
        assert done[0].sha256 == hashlib.sha256((archives / "a.vcz").read_bytes()).hexdigest()
        assert contents(tmp_path / "out" / host / "a") == contents(tmp_path / "a")
        with pytest.raises(UnsupportedError, match="is a URL, from which archives are restored"):
            find(listed, tmp_path / "out", decompress=False)
