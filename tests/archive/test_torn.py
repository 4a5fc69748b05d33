"""Every call of the system that writes is torn once in every way, in the manner of SQLite's tests: nothing is lost."""

import json
import os
import subprocess
import sys

import pytest

FLOWS = {  # with the least number of points: fewer would mean that calls are not seen
    "compress": 9,
    "compress-force": 10,
    "compress-link": 10,
    "append": 10,
    "append-upgrade": 10,
    "decompress": 30,
    "decompress-force": 40,
    "extract": 25,
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "flow", [pytest.param(flow, marks=pytest.mark.long if least > 20 else ()) for flow, least in FLOWS.items()]
)
def test_a_write_that_is_torn_loses_nothing(flow: str) -> None:
    """The target is the old or the new one, and the next run removes what is left and completes the work."""
    command = [sys.executable, "-m", "tests.archive.torn", flow]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(f"{flow}: {sum(found['calls'].values())} points, {found['tried']} torn writes")
    assert found["wrong"] == [] and not done.stderr
    assert sum(found["calls"].values()) >= FLOWS[flow] and found["tried"] == 3 * sum(found["calls"].values())
    assert found["leftovers"]  # else nothing was torn
