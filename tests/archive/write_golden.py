"""Write a golden archive of all that one can hold, and lists of it: python -m tests.archive.write_golden NAME. One of
series in time: the same with a NAME that ends with -times."""

import hashlib
import json
import stat
import sys
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np

from tests.archive.everything import everything
from tests.conformance.golden import mixed
from tests.formats.volumes import nifti
from tests.helpers import compress, contents, image
from volcomp.codec import series
from volcomp.container.volume import Order

GOLDEN = Path(__file__).parent / "golden"


def digests(folder: Path) -> dict[str, str | None]:
    """The SHA-256 of every file by its name, the target of every link, None for folders."""
    found = contents(folder)
    return {name: hashlib.sha256(data).hexdigest() if isinstance(data, bytes) else data for name, data in found.items()}


def facts(folder: Path) -> dict[str, list[int | None]]:
    """Time in nanoseconds and permissions of all entries and of the folder itself; links have none of their own."""
    found = {str(path.relative_to(folder)): path.lstat() for path in (folder, *folder.rglob("*"))}
    return {
        name: [status.st_mtime_ns, None if stat.S_ISLNK(status.st_mode) else stat.S_IMODE(status.st_mode)]
        for name, status in found.items()
    }


def write(name: str, folder: Path = GOLDEN) -> None:
    """Write the files."""
    with tempfile.TemporaryDirectory() as place:
        made = everything(Path(place) / "everything")
        compress([made], folder / f"{name}.vcz", force=True)
        for suffix, found in ((".json", digests(made)), (".facts.json", facts(made))):
            (folder / name).with_name(name + suffix).write_text(json.dumps(found, indent=1, sort_keys=True) + "\n")


def write_times(name: str, folder: Path = GOLDEN) -> None:
    """Write files that have time points in every order, by their number of slices."""
    orders = {2: Order.APART, 3: Order.AFTER, 4: Order.TURNED, 5: Order.APART, 6: Order.BESIDE}
    with (
        tempfile.TemporaryDirectory() as place,
        patch.object(series, "order", lambda planes, now, options: orders[planes[0][0].shape[0]]),
    ):
        made = in_time(Path(place) / "times")
        compress([made], folder / f"{name}.vcz", model="fast", force=True)
        (folder / f"{name}.json").write_text(json.dumps(digests(made), indent=1, sort_keys=True) + "\n")


def in_time(folder: Path) -> Path:
    """Fill a folder with series in time of 2 to 6 slices: files of words, of colours, and of DICOM."""
    folder.mkdir()
    for slices in range(2, 7):
        texture, noise = mixed(slices, 9, 8) % 250, mixed(3, slices, 9, 8)
        voxels = (texture + noise % 5 + slices).astype("u2")
        if slices > 4:
            for t, z in np.ndindex(voxels.shape[:2]):
                facts = {"TemporalPositionIdentifier": t + 1, "series": f"1.2.{slices}"}
                image(folder / str(slices) / f"{t}-{z}.dcm", voxels[t, z], z=2.0 * z, **facts)
            continue
        (folder / f"{slices}.nii").write_bytes(nifti(voxels, kind="u2"))
        grey = (voxels // 2).astype("u1")
        head = nifti(grey, type=128, bits=24)[:352]
        (folder / f"{slices} rgb.nii").write_bytes(head + np.stack([grey, grey + 2, grey // 2], -1).tobytes())
    return folder


if __name__ == "__main__":
    (write_times if sys.argv[1].endswith("-times") else write)(sys.argv[1])
