"""Worker processes never hear the interrupt that a terminal sends to all: the main process ends them."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import re
from pathlib import Path
from volcomp.batch.processes import Process
from volcomp.batch.work import How
from volcomp.options import EncodeOptions

if __name__ == "__main__":
    for _ in range(2):  # the first one starts a helper of multiprocessing
        process = Process(How(Path("."), False, EncodeOptions("fast"), True), None, 1)
        print(re.search("SigBlk:\\\\s*(\\\\w+)", Path(f"/proc/{process._process.pid}/status").read_text())[1])
        Process.end([process])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no /proc")
def test_interrupts_are_blocked_from_the_birth_of_a_worker(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(CODE)
    done = subprocess.run([sys.executable, tmp_path / "main.py"], capture_output=True, text=True, check=True)
    masks = [int(mask, 16) for mask in re.findall(r"\w+", done.stdout)]
    assert len(masks) == 2 and all(mask >> (signal.SIGINT - 1) & 1 for mask in masks)
