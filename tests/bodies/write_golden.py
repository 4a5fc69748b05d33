"""Write kept bytes of body 5 and their planes: python -m tests.bodies.write_golden NAME."""

import hashlib
import sys
from pathlib import Path

import numpy as np

from tests.bodies.test_numbers import sides

GOLDEN = Path(__file__).parent / "golden"


def write(name: str) -> None:
    """Write one of each form: kind of code, flags, and how many planes."""
    arrays: dict[str, np.ndarray] = {}
    seen = set()
    for side, blocks, data in sides():
        planes = np.array([np.concatenate(parts) for parts in zip(*blocks, strict=True)])
        form = (side[0], side[2], len(planes), planes.dtype)
        if form not in seen:
            number = len(seen)
            seen.add(form)
            arrays[f"side{number}"] = np.frombuffer(side, np.uint8)
            arrays[f"planes{number}"] = planes
            arrays[f"sha{number}"] = np.frombuffer(hashlib.sha256(data).digest(), np.uint8)
    np.savez_compressed(GOLDEN / f"{name}.npz", **arrays)


if __name__ == "__main__":
    write(sys.argv[1])
