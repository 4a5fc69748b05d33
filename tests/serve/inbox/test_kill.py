"""Killed at any moment, the inbox loses nothing that it has taken, and has nothing twice; see `nursery`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no forks")


def kill(folder: Path, steps: int, times: int) -> None:
    """Kill at steps and after times."""
    command = [sys.executable, "-m", "tests.serve.inbox.nursery", str(folder), str(steps), str(times), "1"]
    done = subprocess.run(command, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    count, killed = map(int, done.stdout.split())
    assert count > 60 and killed >= steps // 2, "too few were killed for this to show anything"


def test_killed_at_many_moments(tmp_path: Path) -> None:
    kill(tmp_path, 26, 4)


@pytest.mark.long
def test_killed_at_two_hundred_moments(tmp_path: Path) -> None:
    kill(tmp_path, 150, 50)
