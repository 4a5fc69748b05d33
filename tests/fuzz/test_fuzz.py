"""Each fuzz target runs, its seeds are sound, and the supervisor notices all that can go wrong."""

from random import Random

import pytest

from tests.fuzz import mutations
from tests.fuzz.__main__ import supervised
from tests.fuzz.planted import PLANTED
from tests.fuzz.registry import TARGETS
from tests.fuzz.target import REFUSALS, join, split
from tests.fuzz.worker import outcome, refused

_INPUTS = 40  # of each target; `make fuzz` has minutes
_SLOW = {"restore": 8, "dicom": 8, "formats": 8, "paper": 8}


@pytest.mark.parametrize("name", TARGETS)
def test_seeds_are_accepted_and_changed_ones_too_or_refused(name):
    target = TARGETS[name]
    seeds = target.seeds()
    tried = seeds[:: max(1, len(seeds) // _SLOW.get(name, _INPUTS))]
    accepted = sum(not refused(outcome(target, seed)) for seed in tried)
    assert accepted >= 0.7 * len(tried) > 0, "but for streams of encoders that are not supported"
    kinds = set()
    for number in range(_SLOW.get(name, _INPUTS)):
        random = Random(number)
        data = target.mutate(random, random.choice(seeds), random.sample(seeds, min(3, len(seeds))))
        again = Random(number)
        assert target.mutate(again, again.choice(seeds), again.sample(seeds, min(3, len(seeds)))) == data
        kinds.add(outcome(target, data))
    assert len(kinds) > 1, "changes have no effect"


def test_names_are_unique_and_there_are_enough():
    assert len(TARGETS) >= 8 and all(name == target.name for name, target in TARGETS.items())


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("raises", "IndexError"), ("wrong", "WrongError"), ("fills", "MiB of memory"), ("takes", "MemoryError"),
        ("hangs", None), ("dies", None),
    ],
)  # fmt: skip
def test_failures_are_noticed_and_saved(tmp_path, capfd, name, what):
    counts = supervised(name, 3, 0, tmp_path, "tests.fuzz.planted", crashes_at_most=1)
    saved = [path.read_bytes() for path in (tmp_path / name).iterdir()]
    assert saved and all(data[0] >= 200 for data in saved)
    if what:
        assert any(what in failure for failure in counts["failures"]) and not counts["crashes"]
    else:
        assert len(counts["crashes"]) == len(saved) == 1
    output = "".join(capfd.readouterr())
    assert f"python -m tests.fuzz --repeat {name} {tmp_path}" in output


def test_refusals_are_no_failures(tmp_path):
    counts = supervised("refuses", 1, 0, tmp_path, "tests.fuzz.planted")
    assert counts["inputs"] > 10 and counts["refused"] and counts["accepted"]
    assert counts["failures"] == {} and counts["crashes"] == [] and list((tmp_path / "refuses").iterdir()) == []
    with pytest.raises(REFUSALS):
        PLANTED["refuses"].check(b"\xff")


def test_a_worker_that_fails_without_an_input_is_an_error(tmp_path):
    with pytest.raises(RuntimeError, match="not because of an input"):
        supervised("unknown", 1, 0, tmp_path, "tests.fuzz.planted")


def test_parts_of_inputs():
    assert split(join(b"a", b"", b"xyz" * 99)) == [b"a", b"", b"xyz" * 99]


def test_changes_change():
    """Nearly all of them, in length as well, and to nothing and from nothing."""
    data = bytes(range(100))
    found = [mutations.changed(Random(i), data, [b"other" * 30]) for i in range(500)]
    assert sum(other != data for other in found) > 450 and len({len(other) for other in found}) > 50
    assert all(isinstance(mutations.changed(Random(i), b""), bytes) for i in range(50))
