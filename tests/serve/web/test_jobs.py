"""Jobs on files that people hand in: in a process of their own, bounded, cancelled, cleaned up."""

from __future__ import annotations

import os
import signal
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import volcomp
from tests import helpers
from volcomp.errors import MissingError
from volcomp.serve.settings import Settings
from volcomp.serve.web import jobs as module
from volcomp.serve.web.jobs import CANCELLED, DONE, FAILED, Job, Jobs
from volcomp.serve.web.refusal import Refusal
from volcomp.serve.web.workroom import Workroom


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    settings = Settings(tmp_path, max_upload=1 << 20)
    room = Workroom(settings)
    made = Jobs(room, settings)
    yield made
    made.close()
    room.close()


def filled(jobs: Jobs, kind: str = "compress") -> Job:
    job = jobs.new(kind, "study")
    helpers.series(job.inputs / "study", slices=3, size=16)
    jobs.count(job, files=3, bytes=3000)
    return job


def ended(jobs: Jobs, job: Job) -> Job:
    jobs.start(job)
    assert job.over.wait(300)
    return job


def test_a_folder_becomes_an_archive_and_comes_back(jobs: Jobs, tmp_path: Path) -> None:
    job = filled(jobs)
    given = helpers.contents(job.inputs / "study")
    assert ended(jobs, job).state == DONE and job.refusal is None
    assert job.result and job.result_name == "study.vcz"
    assert job.facts["facts"]["files"] == 3 and job.total >= job.done > 0
    outcome = volcomp.decompress_files(job.result, tmp_path / "back")
    assert helpers.contents(tmp_path / "back") == given and outcome.files == 3

    back = jobs.new("restore", "study")
    (back.inputs / "study.vcz").write_bytes(job.result.read_bytes())
    jobs.count(back, files=1, bytes=job.result.stat().st_size)
    assert ended(jobs, back).state == DONE and back.result
    with zipfile.ZipFile(back.result) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == given
    listed = {one["name"]: one["size"] for one in back.shown()["listed"]}
    assert listed == {name: len(data or b"") for name, data in given.items()}


def test_links_in_an_archive_lead_nowhere(jobs: Jobs, tmp_path: Path) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "study"
    secret.write_text("not for others")
    folder.mkdir()
    (folder / "link").symlink_to(secret)
    (folder / "note").write_text("note")
    helpers.compress([folder], tmp_path / "study.vcz")
    job = jobs.new("restore", "study")
    (tmp_path / "study.vcz").rename(job.inputs / "study.vcz")
    assert ended(jobs, job).state == DONE and job.result
    with zipfile.ZipFile(job.result) as archive:
        assert [(name, archive.read(name)) for name in archive.namelist()] == [("note", b"note")]


@pytest.mark.parametrize("data", [b"", b"no archive", bytes(5000)])
def test_what_is_no_archive_is_refused(jobs: Jobs, data: bytes) -> None:
    job = jobs.new("restore", "x")
    (job.inputs / "x.vcz").write_bytes(data)
    assert ended(jobs, job).state == FAILED and job.refusal
    assert job.refusal.status == 422 and str(job.folder) not in str(job.refusal) and "x.vcz" in str(job.refusal)
    assert not job.folder.exists()


def test_an_archive_that_restores_too_much_is_refused(jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "zeros").write_bytes(bytes((1 << 20) + 1))
    job = jobs.new("restore", "x")
    helpers.compress([tmp_path / "zeros"], job.inputs / "x.vcz")
    assert ended(jobs, job).state == FAILED and job.refusal and job.refusal.status == 413


def test_the_process_may_die_and_the_next_job_is_done(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []
    begin = module._begun

    def die_first() -> object:
        begun.append(begin())
        if len(begun) == 1:
            os.kill(begun[0].pid, signal.SIGKILL)
        return begun[-1]

    monkeypatch.setattr(module, "_begun", die_first)
    first = ended(jobs, filled(jobs))
    assert first.state == FAILED and first.refusal and first.refusal.status == 500
    assert ended(jobs, filled(jobs)).state == DONE and len(begun) == 2
    ended(jobs, filled(jobs))
    assert len(begun) == 2  # one process does several


def test_a_job_may_not_take_for_ever(tmp_path: Path) -> None:
    settings = Settings(tmp_path, max_upload=1 << 20)
    room = Workroom(settings)
    jobs = Jobs(room, settings, seconds=0.0)
    job = ended(jobs, filled(jobs))
    assert job.state == FAILED and job.refusal and "longer than 0 s" in str(job.refusal)
    assert not job.folder.exists()
    jobs.close()
    room.close()


def test_cancelled_jobs_leave_nothing(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = filled(jobs)
    jobs.cancel(waiting)
    assert waiting.state == CANCELLED and waiting.over.is_set() and not waiting.folder.exists()
    with pytest.raises(Refusal):
        jobs.count(waiting, files=1)

    running = filled(jobs)
    begin = module._begun

    def cancel_then_work() -> object:  # as soon as a process is there, the job is cancelled
        process = begin()
        jobs.cancel(running)
        return process

    monkeypatch.setattr(module, "_begun", cancel_then_work)
    jobs.start(running)
    assert running.over.wait(300)
    assert running.state == CANCELLED and not running.folder.exists()


def test_a_running_job_is_stopped_with_its_process(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job = filled(jobs)
    said = module.json.loads

    def cancel_at_the_first_word(line: str) -> object:
        jobs.cancel(job)
        return said(line)

    monkeypatch.setattr(module.json, "loads", cancel_at_the_first_word)
    assert ended(jobs, job).state == CANCELLED and job.process is None and not job.folder.exists()


def test_too_much_is_refused(jobs: Jobs) -> None:
    job = jobs.new("compress", "x")
    with pytest.raises(Refusal, match="send less") as refused:
        jobs.count(job, bytes=(1 << 20) + 1)
    assert refused.value.status == 413
    with pytest.raises(Refusal, match="send less"):
        jobs.count(jobs.new("compress", "x"), files=20_001)
    others = [jobs.new("compress", "x") for _ in range(3)]
    with pytest.raises(Refusal, match="too much to do") as busy:
        for other in others:
            jobs.count(other, bytes=1 << 20)
    assert busy.value.status == 503
    with pytest.raises(Refusal, match="too much to do"):
        for _ in range(module.MOST):
            jobs.new("compress", "x")


def test_old_jobs_are_forgotten(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    job = ended(jobs, filled(jobs))
    assert jobs.find(job.id) is job and job.result and job.result.exists()
    monkeypatch.setattr(module, "_KEPT", -1.0)
    with pytest.raises(MissingError):
        jobs.find(job.id)
    assert not job.folder.exists()


def test_all_is_removed_at_the_end(tmp_path: Path) -> None:
    settings = Settings(tmp_path)
    room = Workroom(settings)
    jobs = Jobs(room, settings)
    for _ in range(2):
        ended(jobs, filled(jobs))
    filled(jobs)
    jobs.close()
    room.close()
    assert list(settings.own.iterdir()) == []
    with pytest.raises(Refusal):
        jobs.new("compress", "x")
