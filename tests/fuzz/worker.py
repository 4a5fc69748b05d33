"""One process that runs one target: inputs by number, each under a limit of time and of memory.

The inputs follow from the target, a seed and their number, and from what earlier ones brought to light: an input that
is accepted or refused in a new way, told by what `check` returns or by the lines that raised, is changed further.
(Coverage of instructions would tell more, but is blind in the compiled loops, where most of the work is.)
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import re
import resource
import sys
import time
import traceback
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

from .target import REFUSALS, Target, WrongError

MEMORY = 512 << 20  # bytes that one input may take: the largest that a format allows is 32 MiB, held some times
SECONDS = 60  # of one input; a machine may be loaded, and code compiled meanwhile
CRASHED = "crashed"  # name of the input that is being checked
_MOST_FAILURES = 20  # kinds
_REFUSED, _FAILED = "refused", "failed"
_MOST_POOL = 4000


def peak() -> int:
    """Return the most bytes of memory that the process had since `reset_peak`; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return int(status.split("VmHWM:")[1].split()[0]) << 10


def reset_peak() -> None:
    """Begin to measure the peak anew."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def outcome(target: Target, data: bytes) -> object:
    """Check an input; return how it ended, as a key. Raises what is a failure."""
    try:
        return target.check(data)
    except REFUSALS as error:
        frames = traceback.extract_tb(error.__traceback__)
        what = re.sub(r"\d+", "#", str(error))[:80]
        return _REFUSED, type(error), what, tuple((frame.filename, frame.lineno) for frame in frames[-3:])


def refused(key: object) -> bool:
    """Return whether a key of `outcome` is that of a refused input."""
    return isinstance(key, tuple) and key[:1] == (_REFUSED,)


def inputs(target: Target, seed: int, pool: list[bytes]) -> Any:
    """Yield changed inputs without end; the caller adds to `pool`."""
    number = 0
    while True:
        random = Random(f"{target.name} {seed} {number}")
        base = random.choice(pool)
        others = random.sample(pool, min(len(pool), 3))
        yield target.mutate(random, base, others)
        number += 1


def run(target: Target, seconds: float, seed: int, folder: Path) -> dict[str, Any]:
    """Check seeds, then changed inputs until time is over; failing ones are saved in `folder`. Returns counts."""
    pool = list(dict.fromkeys(target.seeds()))
    failures: Counter[str] = Counter()
    for data in pool:  # seeds come first: they compile what is needed, without a limit of time
        _guarded(target, data, folder, failures, limit=600)
    limit_memory()
    known: set[object] = set()
    count = most = 0
    ends = Counter(refused=0, accepted=0)
    slowest = 0.0
    begin = time.monotonic()
    for data in inputs(target, seed, pool):
        if time.monotonic() - begin > seconds or len(failures) >= _MOST_FAILURES:
            break
        reset_peak()
        before, started = peak(), time.process_time()
        key = _guarded(target, data, folder, failures, limit=SECONDS)
        slowest = max(slowest, time.process_time() - started)
        grown = peak() - before
        most = max(most, grown)
        if grown > MEMORY:
            _save(target, data, folder, failures, "too many MiB of memory", f"{grown >> 20}")
        count += 1
        new = key != _FAILED and key not in known
        known.add(key)
        ends["failed" if key == _FAILED else "refused" if refused(key) else "accepted"] += 1
        if new and len(pool) < _MOST_POOL:
            pool.append(data)
    return {
        "inputs": count, **ends, "ways": len(known), "failures": dict(failures),
        "seconds": round(time.monotonic() - begin, 1), "slowest": round(slowest, 2), "MiB": most >> 20,
    }  # fmt: skip


def limit_memory() -> None:
    """Let an allocation fail that is far beyond the limit, before it is used and shows in the peak."""
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 2 * MEMORY, resource.RLIM_INFINITY))


def _guarded(target: Target, data: bytes, folder: Path, failures: Counter[str], limit: float) -> object:
    """Check an input under a limit of time. It lies in the folder meanwhile, in case the process ends."""
    current = folder / CRASHED
    current.write_bytes(data)
    faulthandler.dump_traceback_later(limit, exit=True)
    try:
        return outcome(target, data)
    except (Exception, SystemExit) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = "" if isinstance(error, WrongError) else f" in {Path(frame.filename).name}:{frame.lineno}"
        kind = f"{type(error).__name__}{place}"
        if not place:
            kind += ": " + re.sub(r"\d+|'.*'", "#", str(error))[:100]
        _save(target, data, folder, failures, kind, str(error)[:100])
        return _FAILED
    finally:
        faulthandler.cancel_dump_traceback_later()
        current.unlink(missing_ok=True)


def _save(target: Target, data: bytes, folder: Path, failures: Counter[str], kind: str, what: str) -> None:
    """Save a failing input, the shortest of its kind, and say how to repeat it."""
    path = folder / f"{target.name}-{hashlib.sha256(kind.encode()).hexdigest()[:8]}"
    failures[kind] += 1
    if not path.exists() or path.stat().st_size > len(data):
        path.write_bytes(data)
        again = f"python -m tests.fuzz --repeat {target.name} {path}"
        print(f"FAILED {kind}: {what}\n  repeat: {again}", file=sys.stderr, flush=True)


def main(name: str, seconds: float, seed: int, folder: Path, targets: dict[str, Target]) -> None:
    """Run a target and print its counts as one line of JSON."""
    faulthandler.enable()
    print(json.dumps(run(targets[name], seconds, seed, folder)), flush=True)


if __name__ == "__main__":
    from .registry import TARGETS

    main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]), TARGETS)
