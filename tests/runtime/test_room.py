"""A process with too little address space ends with a sentence, and is not aborted."""

import subprocess
import sys

import pytest

from tests.helpers import compress, series
from volcomp.runtime import room

resource = pytest.importorskip("resource")
CODE = """
import resource, sys
from volcomp.cli.main import main
from volcomp.archive import pack, restore
sizes = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmSize")]
limit = (int(sizes[0]) << 10) + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(sys.argv[2:]))
"""


def test_enough_is_no_error():
    room.check()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("command", ["compress", "decompress", "verify"])
def test_too_little_is_a_sentence(tmp_path, command):
    series(tmp_path / "in", 2)
    compress([tmp_path / "in"], tmp_path / "x.vcz")
    arguments = {
        "compress": [tmp_path / "in", "-o", tmp_path / "y.vcz"],
        "decompress": [tmp_path / "x.vcz", "-o", tmp_path / "out"],
        "verify": [tmp_path / "x.vcz"],
    }[command]
    run = [sys.executable, "-c", CODE, str(100 << 20), command, *map(str, arguments)]
    done = subprocess.run(run, capture_output=True, text=True)
    assert done.returncode == 1 and "there is not enough memory for the work" in done.stderr, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "x.vcz"]
