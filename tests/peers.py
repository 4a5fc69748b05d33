"""Other programs that tests speak to: a browser, another server. `tests/peers.sh` installs them.

A test that has none is skipped, and says so; in CI it fails, since there they are installed.
"""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

CHROMIUM = Path("/usr/bin/chromium")
ORTHANC = Path("/usr/sbin/Orthanc")
ORTHANC_PLUGINS = Path("/usr/share/orthanc/plugins")


def need(*programs: Path) -> None:
    """Skip the test where a program is missing; fail it where it should be there."""
    for program in programs:
        if not program.exists():
            missing(f"{program} is not installed; tests/peers.sh installs it on Debian")


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI, where peers.sh could have installed what it needs."""
    in_ci = os.environ.get("CI") or os.environ.get("VOLCOMP_PEERS")
    if in_ci and shutil.which("apt-get") and os.geteuid() == 0:
        pytest.fail(reason)
    pytest.skip(reason)
