"""Jobs on files that people hand in: each has a private folder, waits its turn, and is worked on by another process.

A job that nobody asks for is forgotten after a while, and its folder with it.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event, Lock, Thread, Timer
from typing import Any

import volcomp

from ...errors import MissingError
from ...models import DEFAULT
from ..settings import Settings
from .refusal import BUSY, LARGE, Refusal
from .unzip import Limits
from .workroom import Workroom, remove

LOG = logging.getLogger("volcomp.serve")
RECEIVING, WAITING, RUNNING, DONE, FAILED, CANCELLED = (
    "receiving", "waiting", "running", "done", "failed", "cancelled",
)  # fmt: skip
ENDED = (DONE, FAILED, CANCELLED)
MOST = 16  # jobs at once
_TOGETHER = 4  # times the largest request, that the files of all jobs may have
_KEPT = 15 * 60.0  # seconds for which an ended job, or one of which nothing more comes, is kept
_IDLE = 60.0  # seconds after which a process without work ends


@dataclass
class Job:
    """A job: what it does, how far it is, and what came of it."""

    id: str
    kind: str  # see `worker`
    folder: Path
    name: str  # of the result, without its suffix
    zip: bool = False  # whether the files are in one zip
    asked: dict[str, Any] = field(default_factory=dict)
    state: str = RECEIVING
    files: int = 0  # that came in
    bytes: int = 0
    label: str = ""
    done: int = 0
    total: int = 0
    result: Path | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    refusal: Refusal | None = None
    touched: float = field(default_factory=time.monotonic)
    over: Event = field(default_factory=Event)
    process: subprocess.Popen[str] | None = None

    @property
    def inputs(self) -> Path:
        """The folder of the files that came in."""
        return self.folder / "in"

    @property
    def result_name(self) -> str:
        """The name under which the result is downloaded."""
        return self.name + (self.result.suffix if self.result else "")

    def shown(self) -> dict[str, Any]:
        """Return its state for the page, as JSON."""
        found: dict[str, Any] = {
            "id": self.id, "kind": self.kind, "state": self.state, "files": self.files, "bytes": self.bytes,
            "label": self.label, "done": self.done, "total": self.total, "name": self.result_name,
        }  # fmt: skip
        if self.refusal:
            found["error"] = self.refusal.facts()
        return found | self.facts


class Jobs:
    """The jobs of a server, and the processes that do them."""

    def __init__(self, room: Workroom, settings: Settings, *, workers: int = 1, seconds: float = 3600.0) -> None:
        """`workers`: processes at once; `seconds`: that a job may take."""
        self._room, self._seconds = room, seconds
        self.limits = Limits(bytes=settings.max_upload)
        options = settings.options
        self._options = {
            "model": options.model if isinstance(options.model, str) else DEFAULT,
            "effort": options.effort,
            "threads": options.threads,
        }
        self._jobs: dict[str, Job] = {}
        self._queue: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = Lock()
        self._workers, self._threads, self._closed = workers, list[Thread](), False

    def new(self, kind: str, name: str, **asked: Any) -> Job:
        """Make a job that waits for files. Raises Refusal where there are too many, TargetError without a place."""
        self._forget()
        with self._lock:
            if len(self._jobs) >= MOST or self._closed:
                raise Refusal("the server has too much to do; try again in some minutes", BUSY)
            job = Job(secrets.token_urlsafe(18), kind, self._room.new(), name, asked=asked)
            self._jobs[job.id] = job
        job.inputs.mkdir(mode=0o700)
        return job

    def find(self, id: str) -> Job:
        """Return a job. Raises MissingError."""
        self._forget()
        with self._lock:
            job = self._jobs.get(id)
        if job is None:
            raise MissingError("there is no such job, or no longer; hand the files in again")
        job.touched = time.monotonic()
        return job

    def count(self, job: Job, *, files: int = 0, bytes: int = 0) -> None:
        """Count what comes in. Raises Refusal where it is too much."""
        with self._lock:
            job.files, job.bytes = job.files + files, job.bytes + bytes
            job.touched = time.monotonic()
            together = sum(one.bytes for one in self._jobs.values())
        if job.state != RECEIVING:
            raise Refusal("the job takes no more files", 409)
        if job.bytes > self.limits.bytes or job.files > self.limits.files:
            raise Refusal(
                f"up to {self.limits.files} files of {self.limits.bytes} bytes are taken at once; send less", LARGE
            )
        if together > _TOGETHER * self.limits.bytes:
            raise Refusal("the server has too much to do; try again in some minutes", BUSY)

    def start(self, job: Job) -> None:
        """Have a job done when its turn comes."""
        with self._lock:
            if job.state != RECEIVING:
                return
            job.state = WAITING
            if len(self._threads) < self._workers:
                thread = Thread(target=self._work, name="volcomp-jobs", daemon=True)
                self._threads.append(thread)
                thread.start()
        self._queue.put(job)

    def cancel(self, job: Job) -> None:
        """Stop a job, and remove its files."""
        with self._lock:
            if job.state not in ENDED:
                job.state = CANCELLED
            process = job.process
        if process is not None:
            process.kill()  # whose thread then ends the job
        else:
            self._end(job)

    def drop(self, job: Job) -> None:
        """Forget a job and remove its files."""
        with self._lock:
            self._jobs.pop(job.id, None)
        self.cancel(job)
        remove(job.folder)

    def close(self) -> None:
        """Stop all jobs and processes."""
        with self._lock:
            self._closed = True
            jobs, threads = list(self._jobs.values()), list(self._threads)
        for job in jobs:
            self.drop(job)
        for _ in threads:
            self._queue.put(None)
        for thread in threads:
            thread.join(10)

    def _forget(self) -> None:
        """Drop what is kept for too long."""
        with self._lock:
            late = time.monotonic() - _KEPT
            old = [one for one in self._jobs.values() if one.touched < late and one.state in (RECEIVING, *ENDED)]
        for job in old:
            self.drop(job)

    def _end(self, job: Job) -> None:
        """Remove of a job what is not its result."""
        if job.state != DONE:
            remove(job.folder)
        else:
            for path in job.folder.iterdir():
                if path.is_dir():
                    remove(path)
        job.touched = time.monotonic()
        job.over.set()

    def _work(self) -> None:
        """Do jobs, one after another, by a process that is begun when there is one, and ends when there is none."""
        process: subprocess.Popen[str] | None = None
        while True:
            try:
                job = self._queue.get(timeout=_IDLE)
            except Empty:
                _ended(process)
                process = None
                self._forget()
                continue
            if job is None:
                _ended(process)
                return
            if job.state == WAITING:
                if process is None or process.poll() is not None:
                    _ended(process)
                    process = _begun()
                self._do(job, process)
            self._end(job)

    def _do(self, job: Job, process: subprocess.Popen[str]) -> None:
        """Have a process do a job; the process is dead afterwards if the job was cancelled or took too long."""
        with self._lock:
            if job.state != WAITING:
                return
            job.state, job.process, job.label = RUNNING, process, "starting"
        late = Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = Timer(self._seconds, stop)
        timer.daemon = True
        timer.start()
        order = {
            "kind": job.kind, "folder": str(job.folder), "zip": job.zip, "asked": job.asked, "options": self._options,
            "limits": asdict(self.limits),
        }  # fmt: skip
        end: dict[str, Any] = {}
        try:
            assert process.stdin and process.stdout
            with suppress(BrokenPipeError):
                process.stdin.write(json.dumps(order) + "\n")
                process.stdin.flush()
            for line in process.stdout:
                said = json.loads(line)
                if "progress" in said:
                    job.label, job.done, job.total = said["progress"]
                elif "ready" not in said:
                    end = said
                    break
        except ValueError:
            process.kill()
        finally:
            timer.cancel()
        self._note(job, end, late.is_set())

    def _note(self, job: Job, end: dict[str, Any], late: bool) -> None:
        """Note how a job ended."""
        with self._lock:
            job.process = None
            if job.state == CANCELLED:
                return
            if "done" in end:
                said = end["done"]
                job.result = job.folder / said["result"]
                job.facts = {name: value for name, value in said.items() if name != "result"}
                job.state = DONE
                return
            job.state = FAILED
            if "failed" in end:
                job.refusal = Refusal(**end["failed"])
            elif late:
                job.refusal = Refusal(f"it took longer than {self._seconds:.0f} s; send less at once", LARGE)
            else:
                job.refusal = Refusal("the process that worked on it ended; send less at once", 500)
        if "where" in end or "failed" not in end:
            LOG.error("job %s: %s", job.kind, end.get("where", "the process ended"))


def _begun() -> subprocess.Popen[str]:
    """Begin a process that finds volcomp where this one did."""
    root = str(Path(volcomp.__file__).parents[1])
    path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
    return subprocess.Popen(
        [sys.executable, "-m", "volcomp.serve.web.worker"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, encoding="utf-8", env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip


def _ended(process: subprocess.Popen[str] | None) -> None:
    """End a process."""
    if process is not None:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream:
                with suppress(OSError):
                    stream.close()
