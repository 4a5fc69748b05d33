"""A batch on one machine: how many series at a time, in which processes, and what is lost with one of these."""

import os
import sys
from functools import partial

import pytest

from tests.batch.test_batch import how, tree
from tests.helpers import compress, series
from volcomp.batch import claims, local, memory
from volcomp.batch.jobs import Job, find
from volcomp.batch.local import Machine, visible_gpus
from volcomp.batch.memory import need_of
from volcomp.batch.report import DONE, FAILED
from volcomp.batch.run import run as run_batch
from volcomp.errors import UnsupportedError
from volcomp.options import EncodeOptions
from volcomp.runtime.cpus import memory_limits


def test_the_memory_is_not_exceeded(tmp_path):
    """Needs are respected, one that exceeds all is alone, and small ones do not overtake a large one for ever."""
    source, target = tree(tmp_path / "in", 12), tmp_path / "out"
    target.mkdir()
    jobs = find(source, target, decompress=False)
    needs = {job.name: need * 10**9 for job, need in zip(jobs, [3, 9, 4, 20, 2, 2, 8, 1, 1, 5, 5, 3], strict=True)}
    together: list[list[str]] = []
    with Machine(how(target), 3, 10**10, lambda job, threads: needs[job.name]) as machine:
        machine.started = lambda: together.append(machine.running())
        done = [row.path for row in machine.run(jobs)]
    assert sorted(done) == sorted(needs)
    assert max(map(len, together)) > 1
    for names in together:
        assert len(names) <= 3 and (len(names) == 1 or sum(needs[name] for name in names) <= 10**10)
    assert done.index("p1/s3") < 8  # it was among the first eight that were looked at


def test_a_killed_process_costs_its_series_alone(tmp_path):
    source, target = tree(tmp_path / "in", 3), tmp_path / "out"
    target.mkdir()
    jobs = find(source, target, decompress=False)
    with Machine(how(target), 1, 1, lambda job, threads: 1) as machine:

        def kill():
            (lane,) = machine._busy.values()
            if lane.job == jobs[1]:
                lane.process.kill()

        machine.started = kill
        found = {row.path: row for row in machine.run(jobs)}
    assert [found[job.name].status for job in jobs] == [DONE, FAILED, DONE]
    assert "ended with signal 9; perhaps there was too little memory" in found[jobs[1].name].error


def test_needs_grow_with_the_work(tmp_path, monkeypatch):
    job = partial(Job, "x", target=tmp_path / "out")
    small, large = (series(tmp_path / str(size), 40, size=size) for size in (4, 32))
    monkeypatch.setattr(memory, "PROCESS", 0)
    need = partial(need_of, how(tmp_path))
    voxels = 40 * 32 * 32
    assert need(job(source=large), 1) > memory._SLAB * voxels  # all 40 slices make one slab
    assert need(job(source=large), 4) == need(job(source=large), 1)  # which one thread codes
    assert 0 < need(job(source=small), 1) < need(job(source=large), 1)
    assert need_of(how(tmp_path, effort=9), job(source=large), 1) > need(job(source=large), 1)
    assert need(job(source=tmp_path / "gone"), 1) == 0
    compress([large], tmp_path / "large.vcz")
    assert need_of(how(tmp_path, decompress=True), job(source=tmp_path / "large.vcz"), 4) >= 2 * voxels
    # A GPU walks over all slabs at once, whatever the threads.
    monkeypatch.setattr(memory, "_CUDA", 0)
    for decompress, source in ((False, large), (True, tmp_path / "large.vcz")):
        on_gpu = partial(need_of, how(tmp_path, decompress=decompress, device="cuda"))
        assert on_gpu(job(source=source), 1) == on_gpu(job(source=source), 4) > memory._SLAB * voxels
    assert memory.available() > 1 << 20


def test_limits_of_control_groups_of_both_versions(tmp_path):
    for folder, name, limit in (
        ("job/step", "memory.max", "max"),
        ("job", "memory.max", str(5 << 30)),
        ("memory/box", "memory.limit_in_bytes", str(3 << 30)),
        ("memory", "memory.limit_in_bytes", str((1 << 63) - 4096)),  # none
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / name).write_text(limit + "\n")
    groups = tmp_path / "cgroup"
    groups.write_text("9:name=systemd:/\n4:cpu,memory:/box\n0::/job/step\n")
    assert list(memory_limits(groups, tmp_path)) == [3 << 30, 5 << 30]
    groups.write_text("0::/\n")
    assert list(memory_limits(groups, tmp_path)) == []


def test_only_a_batch_that_asks_for_a_gpu_takes_one(tmp_path, monkeypatch):
    taken = []

    def perform_none(how, *arguments):
        taken.append(how.options.device)
        raise UnsupportedError("that was all")

    monkeypatch.setattr(sys.modules[run_batch.__module__], "Machine", perform_none)
    series(tmp_path / "in" / "a", 1)
    for device in ("auto", "cpu", "cuda"):
        with pytest.raises(UnsupportedError, match="that was all"):
            run_batch(tmp_path / "in", tmp_path / "out", EncodeOptions(device=device))
    assert taken == ["cpu", "cpu", "cuda"]


@pytest.mark.parametrize("most", [3, 2])  # at a time; else one of the lanes rests
def test_series_on_one_gpu_share_a_process(tmp_path, most):
    """Three lanes of a process: at work at once, and what is lost with it is lost alone."""
    source, target = tree(tmp_path / "in", 9), tmp_path / "out"
    target.mkdir()
    jobs = find(source, target, decompress=False)
    process = memory.of_process(how(target))  # which is counted once
    with Machine(how(target), 3, process + most * 10, lambda job, threads: process + 10) as machine:
        machine._planned = [(None, 3)]
        together, processes = set(), set()

        def started():
            together.add(len(machine.running()))
            processes.update(lane.process for lane in machine._busy.values())
            if jobs[4].name in machine.running() and len(processes) == 1:
                next(iter(processes)).kill()

        machine.started = started
        found = {row.path: row for row in machine.run(jobs)}
    lost = {name for name, row in found.items() if row.status == FAILED}
    assert len(found) == 9 and max(together) == most and len(processes) == 2
    assert jobs[4].name in lost and len(lost) <= most
    assert all("ended with signal 9" in found[name].error for name in lost)
    claims.sweep(target)
    with Machine(how(target), 3, 10, lambda job, threads: 1) as machine:
        machine._planned = [(None, 3)]
        assert {row.status for row in machine.run(jobs)} == {DONE}


def test_no_gpu_is_shared_while_another_is_idle(tmp_path):
    source, target = tree(tmp_path / "in", 4), tmp_path / "out"
    target.mkdir()
    with Machine(how(target), 4, 10, lambda job, threads: 1) as machine:
        machine._planned, seen = [(None, 2), (None, 2)], []
        machine.started = lambda: seen.append([lane.process for lane in machine._busy.values()])
        assert {row.status for row in machine.run(find(source, target, decompress=False))} == {DONE}
    assert len(seen[1]) == len({*seen[1]}) == 2


def test_a_process_for_every_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, 3")
    monkeypatch.setattr(local, "cores", lambda: 16)
    for count, expected in ((None, [("0", 4), ("3", 4)]), (1, [("0", 1)]), (5, [("0", 3), ("3", 2)])):
        machine = Machine(how(tmp_path, device="cuda"), count, 1, lambda job, threads: 1)
        assert machine._planned == expected and machine._count == sum(lanes for _, lanes in expected)
    monkeypatch.setattr(local, "cores", lambda: 1)
    assert Machine(how(tmp_path, device="cuda"), None, 1, lambda job, threads: 1)._planned == [("0", 1), ("3", 1)]
    assert Machine(how(tmp_path, device="cpu"), 3, 1, lambda job, threads: 1)._planned == [(None, 1)] * 3
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho GPU-a\necho GPU-b\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert visible_gpus() == ["GPU-a", "GPU-b"]


def test_threads_that_are_interrupted_leave_what_can_be_swept(tmp_path):
    source, target = tree(tmp_path / "in", 6), tmp_path / "out"
    target.mkdir()
    jobs = find(source, target, decompress=False)
    with pytest.raises(KeyboardInterrupt), Machine(how(target), 3, 10, lambda job, threads: 1) as machine:
        machine._planned = [(None, 3)]
        for _ in machine.run(jobs):
            raise KeyboardInterrupt
    claims.sweep(target)
    assert not (target / claims.FOLDER).exists()
