"""Files with changed bytes are refused, or taken in and served: nothing but an error of volcomp comes of them."""

import io
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from tests.archive.everything import encapsulated
from tests.helpers import noise
from tests.serve.inbox.conftest import Served
from tests.serve.makers import instance
from volcomp.errors import VolcompError
from volcomp.serve.store.query import Level, Query


def seeds(folder: Path) -> list[bytes]:
    """A few kinds of files."""
    voxels = noise((3, 8, 8), "u2", 0, 3000)
    paths = [
        instance(folder / "a.dcm", voxels, "A"),
        instance(folder / "b.dcm", voxels, "B", syntax=ExplicitVRBigEndian),
        instance(folder / "c.dcm", voxels, "C", syntax=ImplicitVRLittleEndian),
        instance(folder / "d.dcm", voxels, "D"),
        instance(folder / "e.dcm", np.zeros((8, 8), "u1"), "E", PhotometricInterpretation="PALETTE COLOR"),
    ]
    encapsulated(paths[3], [frame.tobytes() for frame in voxels], table=True, fragments=2)
    return [path.read_bytes() for path in paths]


def changed(data: bytes, rng: random.Random) -> bytes:
    """Some bytes of the header or anywhere are other ones, missing, or more."""
    made = bytearray(data)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(132, min(len(made), 1200) if rng.random() < 0.8 else len(made))
        kind = rng.randrange(4)
        if kind == 0:
            made[at] = rng.randrange(256)
        elif kind == 1:
            made[at : at + 4] = rng.choice(
                [b"\xff" * 4, b"\0" * 4, b"\xff\xff\xff\x7f", b"SQ\0\0", b"\xfe\xff\xdd\xe0"]
            )
        elif kind == 2:
            del made[at : at + rng.randrange(1, 9)]
        else:
            made[at:at] = made[at - 20 : at]
    return bytes(made)


@pytest.mark.parametrize("seed", range(4))
def test_changed_files(tmp_path: Path, served: Callable[..., Served], seed: int) -> None:
    rng, files, one = random.Random(seed), seeds(tmp_path / "in"), served()
    taken = 0
    for _ in range(100):
        data = changed(rng.choice(files), rng)
        received = one.inbox.receive(io.BytesIO(data))
        if received.failure:
            assert received.sentence and str(tmp_path) not in received.sentence
            continue
        taken += 1
        (found,) = one.store.instances(received.study, received.series, received.sop)
        asks = (
            lambda found=found: one.store.metadata(found, str),
            lambda found=found: one.store.frames(found, [1, found.frames]),
            lambda found=found: one.store.picture(found, 1),
            lambda found=found: one.store.bulk(found, "7FE00010"),
        )
        for ask in asks:
            try:
                ask()
            except VolcompError as error:
                assert str(error) and str(tmp_path) not in str(error)
        for level in Level:
            one.store.search(Query(level, everything=True))
        assert one.store.file(found) == data
        (one.settings.landing / found.name).unlink()  # or the next one would be refused for its UID
    assert taken > 10
