"""The command of a study: its options, one run for a cache, and a stop from which the same command goes on."""

from __future__ import annotations

import argparse
import fcntl
import json
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from tqdm import tqdm

from volcomp.errors import VolcompError
from volcomp.training.corpus import ROOT

from . import results, workers
from .config import ConfigError
from .jobs import Job

HERE = Path(__file__).parent


class Named(Protocol):
    """A configuration, of whichever study."""

    @property
    def name(self) -> str:
        """Of its results."""
        ...

    def fingerprint(self) -> str:
        """Changes with every field that changes what a job finds."""
        ...


C = TypeVar("C", bound=Named)


@dataclass(frozen=True)
class Study(Generic[C]):
    """A study.

    program   what follows `python -m`
    text      what it is, whose first line its help shows
    config    the file in configs/ that it takes by default
    jobs      how many it does at a time by default
    load      reads a configuration
    plan      returns all jobs of a configuration, those first that others need
    work      does the jobs that are not done; takes a configuration, them, a cache, the options, a progress bar
    columns   of the CSV files
    report    makes tables and figures from the CSV files in a folder
    options   adds options of its own
    """

    program: str
    text: str
    config: str
    jobs: int
    load: Callable[[Path], C]
    plan: Callable[[C], list[Job]]
    work: Callable[[C, list[Job], Path, argparse.Namespace, Any], None]
    columns: dict[str, tuple[str, ...]]
    report: Callable[[C, Path], None]
    options: Callable[[argparse.ArgumentParser], None] = lambda parser: None

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Run, or report; returns the exit code."""
        given = self._parser().parse_args(arguments)
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            config = self.load(given.config)
            folder = given.results or HERE / "results" / config.name
            if given.plan:
                print(estimate(self.plan(config), given.jobs))
                return 0
            if not given.report:
                cache = given.cache or ROOT / ".cache" / "experiments" / config.name
                claim(config, cache)
                with alone(cache):
                    self._run(config, cache, folder, given)
            self.report(config, folder)
        except KeyboardInterrupt:
            print("experiments: stopped; the same command goes on from here", file=sys.stderr)
            return 130
        except (VolcompError, FileNotFoundError) as error:
            print(f"experiments: {error}", file=sys.stderr)
            return 1
        return 0

    def _run(self, config: C, cache: Path, folder: Path, given: argparse.Namespace) -> None:
        """Do all jobs that are not done, and keep the CSV files up to date with them."""
        planned = self.plan(config)
        todo = [job for job in planned if not results.finished(cache, job)]
        # Lines that are drawn over each other are for terminals; a log gets one a minute.
        often = {} if sys.stderr.isatty() else {"mininterval": 60.0, "maxinterval": 60.0}
        total = sum(job.seconds for job in planned)
        with tqdm(total=total, unit="s", desc=config.name, bar_format=_BAR, **often) as bar:
            bar.update(total - sum(job.seconds for job in todo))
            try:
                if todo:
                    self.work(config, todo, cache, given, bar)
            finally:
                results.collect(planned, cache, folder, self.columns)

    def _parser(self) -> argparse.ArgumentParser:
        parser = argparse.ArgumentParser(prog=f"python -m {self.program}", description=self.text.split("\n")[0])
        add = parser.add_argument
        add("--config", type=Path, default=HERE / "configs" / self.config, metavar="TOML")
        add("--jobs", type=int, default=self.jobs, metavar="N", help=f"at a time (default: {self.jobs})")
        add("--cache", type=Path, help="for what is not done yet (default: .cache/experiments/NAME)")
        add("--results", type=Path, help="for CSV and figures (default: experiments/results/NAME)")
        add("--report", action="store_true", help="only tables and figures, from the CSV files")
        add("--plan", action="store_true", help="only say how long it would take")
        self.options(parser)
        return parser


_BAR = "{desc}: {percentage:3.0f} %|{bar}| {n:.0f}/{total:.0f} s of work, {elapsed} passed {postfix}"


def estimate(planned: Sequence[Job], jobs: int) -> str:
    """How long a run takes where `jobs` cores do nothing else, by kind of job."""
    lines = []
    for kind in dict.fromkeys(job.kind for job in planned):
        mine = [job for job in planned if job.kind == kind]
        lines.append(f"{kind:10} {len(mine):4} jobs {sum(job.seconds for job in mine) / 60:8.1f} core minutes")
    wall = sum(job.seconds / (1 if job.alone else jobs) for job in planned)
    return "\n".join([*lines, f"about {wall / 3600:.1f} hours with {jobs} jobs at a time"])


def claim(config: Named, cache: Path) -> None:
    """Refuse to mix the results of two configurations."""
    cache.mkdir(parents=True, exist_ok=True)
    mark = cache / "config.json"
    if mark.exists() and json.loads(mark.read_text())["fingerprint"] != config.fingerprint():
        raise ConfigError(
            f"{cache} holds results of another configuration named {config.name}: remove that folder, or give the new "
            "configuration another name"
        )
    mark.write_text(json.dumps({"name": config.name, "fingerprint": config.fingerprint()}))


@contextmanager
def alone(cache: Path) -> Iterator[None]:
    """Keep a cache to one run. Processes of one that was killed end within a second or so, and are waited for: they
    write where this one will."""
    with (cache / "run.lock").open("w") as run, (cache / workers.LOCK).open("w") as others:
        try:
            fcntl.flock(run, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ConfigError(f"another run is at work in {cache}: wait for it, or give another --cache") from error
        fcntl.flock(others, fcntl.LOCK_EX)
        fcntl.flock(others, fcntl.LOCK_UN)
        yield


def _interrupt(number: int, frame: Any) -> None:
    """SIGTERM ends the work as Ctrl-C does."""
    raise KeyboardInterrupt
