"""Whether two versions write the same files: `python -m benchmarks.same_bytes OTHER_TREE`.

Both compress slices from the middle of every series of the corpus' valid split, with every model that both have and at
every effort, each in processes of its own; what is compared are whole files. Efforts above 5 fit a model, which takes
minutes a series: `--fitted` says of how many series.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

from volcomp.training import corpus

OWN = Path(__file__).resolve().parents[1]
# Run by the other version as well, so it knows no more than the public interface.
WORK = """
import hashlib, json, sys
import numpy as np
import volcomp
for line in sys.stdin:
    path, model, effort = json.loads(line)
    try:
        data = volcomp.compress(np.load(path), model=model, effort=effort, verify=False, device="cpu", threads=2)
    except volcomp.UnsupportedError as error:
        print(json.dumps(str(error)), flush=True)
    else:
        print(json.dumps([len(data), hashlib.sha256(data).hexdigest()]), flush=True)
"""


class Version:
    """A tree of volcomp, at work in a process."""

    def __init__(self, tree: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORK],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def compress(self, path: Path, model: str, effort: int) -> object:
        """Size and SHA-256 of the file, or why there is none."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([str(path), model, effort]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self._process.args!r} ended with {self._process.wait()}")
        return json.loads(line)


def main() -> int:
    """Returns 0 if all files are the same, else 1."""
    import numpy as np

    parser = argparse.ArgumentParser(prog="python -m benchmarks.same_bytes", description=__doc__)
    parser.add_argument("other", type=Path, help="a checkout of the other version")
    parser.add_argument("--models", nargs="+", default=["fast", "base"])
    parser.add_argument("--efforts", type=int, nargs="+", default=[1, 2, 3, 4, 5, 6, 7, 8, 9])
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--fitted", type=int, default=2, help="series of which efforts above 5 are compared")
    options = parser.parse_args()
    names = [series.name for series in corpus.splits() if series.split == "valid"]
    theirs, ours = Version(options.other.resolve()), Version(OWN)
    path = OWN / ".cache" / "same_bytes.npy"
    path.parent.mkdir(exist_ok=True)
    same = different = 0
    for number, name in enumerate(names):
        volume = corpus.volumes(name)[0]
        begin = max(0, (len(volume) - options.slices) // 2)
        np.save(path, np.ascontiguousarray(volume[begin : begin + options.slices]))
        for model, effort in itertools.product(options.models, options.efforts):
            if effort > 5 and number >= options.fitted:
                continue
            pair = theirs.compress(path, model, effort), ours.compress(path, model, effort)
            same, different = same + (pair[0] == pair[1]), different + (pair[0] != pair[1])
            if pair[0] != pair[1]:
                print(f"{name}, {model}, effort {effort}: {pair[0]} and {pair[1]}", flush=True)
        print(f"{name}: {same} files the same so far, {different} not", flush=True)
    path.unlink()
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
