"""Pack the instances of a series into an archive, in a process of its own and of low priority.

The process ends with the one that began it: it waits for the end of a pipe that nobody writes to.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread

from ...archive.pack import compress
from ...errors import UnsupportedError, VolcompError
from ...options import EncodeOptions
from ...progress import silence

_PRIORITY = 15  # below that of the server
_ODD = "its series could not be coded"


@dataclass(frozen=True)
class Job:
    """What is to be packed.

    files    instances; their names are those in the archive
    archive  a name that nothing has
    options  of the encoder
    """

    files: tuple[Path, ...]
    archive: Path
    options: EncodeOptions


class Stopped(Exception):
    """The work was given up since the inbox is being closed."""


Pack = Callable[[Job], None]  # writes a verified archive, or raises VolcompError; Stopped where it is given up


def pack(job: Job, *, whole: bool = False) -> None:
    """Pack in this process. Raises VolcompError.

    Parameters:
        job: what is to be packed.
        whole: keep the files whole, which takes no guess about what they hold.
    """
    options = replace(job.options, verify=True)
    compress(list(job.files), job.archive, options, whole=_ODD if whole else "")


class Packer:
    """Packs in a process for each series."""

    def __init__(self) -> None:
        self._process: multiprocessing.process.BaseProcess | None = None
        self._stopped = False

    def __call__(self, job: Job) -> None:
        """Pack; a series that cannot be coded, or whose process dies of it, is kept whole. Raises VolcompError."""
        try:
            self._perform(job, whole=False)
        except VolcompError:
            if self._stopped:
                raise Stopped from None
            job.archive.unlink(missing_ok=True)
            self._perform(job, whole=True)

    def stop(self) -> None:
        """End the work that is under way, and take no more."""
        self._stopped = True
        if process := self._process:
            with suppress(ValueError):  # of a process that was closed meanwhile
                process.terminate()

    def _perform(self, job: Job, *, whole: bool) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would inherit locks that other threads hold
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, job, whole), name="volcomp-pack", daemon=True)
        process.start()
        self._process = process
        if self._stopped:  # while it was being started
            process.terminate()
        theirs.close()
        try:
            sentence = ours.recv()
        except (EOFError, OSError):
            process.join()
            sentence = f"the process that packed it ended with code {process.exitcode}"
        finally:
            ours.close()
            process.join()
            self._process = None
        if sentence:
            raise UnsupportedError(sentence)


def _work(pipe: Connection, job: Job, whole: bool) -> None:
    """Pack, and send what went wrong, or ""."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which sends it to all; the server ends its work
    with suppress(OSError, AttributeError):
        os.nice(_PRIORITY)
    Thread(target=_end_with, args=(pipe,), daemon=True).start()
    silence()
    try:
        pack(job, whole=whole)
        sentence = ""
    except VolcompError as error:
        sentence = str(error)
    except MemoryError:
        sentence = "there was too little memory to pack it"
    with suppress(OSError):
        pipe.send(sentence)


def _end_with(pipe: Connection) -> None:
    """End this process as soon as the other end of the pipe is closed."""
    with suppress(EOFError, OSError):
        pipe.recv()
    os._exit(1)
