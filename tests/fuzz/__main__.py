"""Fuzz: `python -m tests.fuzz --seconds 600 [TARGET …]` runs targets one after the other, each in a process of its own.

Exits with 1 where an input failed. `--repeat TARGET FILE` checks one saved input, with the whole traceback.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from .registry import TARGETS
from .worker import CRASHED, SECONDS

FOUND = Path("build/fuzz")  # failing inputs; the folder is ignored by git
_GRACE = 1200  # seconds to compile, to check the seeds and for the last input


def supervised(
    name: str, seconds: float, seed: int, found: Path, module: str = "tests.fuzz.worker", *, crashes_at_most: int = 5
) -> dict[str, Any]:
    """Run one target in a process. One that ends by itself, or hangs, leaves the input that did it; a new one goes on.

    Parameters:
        name: of the target.
        seconds: how long.
        seed: of the random numbers.
        found: a folder for failing inputs.
        module: the worker.
        crashes_at_most: so many end it.

    Returns:
        The counts of `worker.run`, and under "crashes" the inputs that ended a process.
    """
    folder = found / name
    folder.mkdir(parents=True, exist_ok=True)
    crashes: list[str] = []
    while True:
        command = [sys.executable, "-m", module, name, str(seconds), str(seed + 1000 * len(crashes)), str(folder)]
        try:
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=seconds + _GRACE)
            code = done.returncode
        except subprocess.TimeoutExpired:
            code = None
        if code == 0:
            return {**json.loads(done.stdout.splitlines()[-1]), "crashes": crashes}
        left = folder / f"{name}-crash{len(crashes)}"
        if not (folder / CRASHED).exists():
            raise RuntimeError(f"{name}: the process ended with {code}, and not because of an input")
        shutil.move(folder / CRASHED, left)
        print(f"FAILED {name}: a process ended with {code}\n  repeat: python -m tests.fuzz --repeat {name} {left}")
        crashes.append(str(left))
        if len(crashes) >= crashes_at_most:
            return {"inputs": 0, "failures": {}, "crashes": crashes}


def main() -> int:
    """Run the targets that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all without")
    parser.add_argument("--seconds", type=float, default=600, help="for each target (600)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers; a release takes another one (0)")
    parser.add_argument("--found", type=Path, default=FOUND, help=f"folder for failing inputs ({FOUND})")
    parser.add_argument("--repeat", nargs=2, metavar=("TARGET", "FILE"), help="check one saved input")
    arguments = parser.parse_args()
    if arguments.repeat:
        import faulthandler

        from .worker import outcome

        faulthandler.enable()
        faulthandler.dump_traceback_later(2 * SECONDS, exit=True)
        print(outcome(TARGETS[arguments.repeat[0]], Path(arguments.repeat[1]).read_bytes()))
        return 0
    unknown = set(arguments.targets) - set(TARGETS)
    if unknown:
        parser.error(f"unknown targets {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    failed = False
    for name in arguments.targets or TARGETS:
        counts = supervised(name, arguments.seconds, arguments.seed, arguments.found)
        failed |= bool(counts["failures"] or counts["crashes"])
        print(f"{name}: {json.dumps(counts)}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
