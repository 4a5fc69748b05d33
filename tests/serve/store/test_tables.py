"""Tables of headers (PS3.3, C.11.1.1 and C.11.2.1.1), against pydicom's reading of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence

from tests.helpers import noise
from volcomp.serve.dicomweb.rendered import shown
from volcomp.serve.store import TreeStore
from volcomp.serve.web.stacks import slices_of

from .test_store import one

Opener = Callable[..., TreeStore]


def table(first: int, count: int, bits: int, *, vr: str = "OW", kind: str = "<u2", seed: int = 1) -> Dataset:
    """An item with a table that rises unevenly; `kind`: of its entries."""
    rising = np.sort(np.random.default_rng(seed).integers(0, 1 << bits, count)).astype(kind)
    item = Dataset()
    item.add_new(0x00283002, "US" if first >= 0 else "SS", [count % (1 << 16), first, bits])
    item.add_new(0x00283006, vr, rising.tolist() if vr == "US" else rising.tobytes())
    return item


# Short ones stand in the attributes, long ones are bulk; of all 65,536 entries the count is stated as 0.
TABLES = {
    "short": table(100, 60, 12),
    "long": table(0, 4096, 16),
    "numbers": table(500, 300, 10, vr="US"),
    "bytes": table(64, 1024, 8, kind="u1"),
    "all": table(0, 65536, 16),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_grey_levels_by_a_table(open_tree: Opener, tmp_path: Path, name: str, photometric: str) -> None:
    pixels = noise((24, 20), "u2", 0, 4000)
    store, found, path = one(
        open_tree, tmp_path, pixels, VOILUTSequence=Sequence([TABLES[name]]), PhotometricInterpretation=photometric,
        RescaleIntercept=0, RescaleSlope=1,
    )  # fmt: skip
    seen, header = store.picture(found, 1), pydicom.dcmread(path)
    bits = TABLES[name][0x00283002].value[2]
    if name == "bytes":  # of which pydicom 3.0 takes two for one entry
        passed = np.frombuffer(TABLES[name][0x00283006].value, "u1")[(pixels.astype(int) - 64).clip(0, 1023)]
    else:
        passed = apply_voi_lut(pixels, header)
    expected = np.rint(passed / ((1 << bits) - 1) * 255)
    expected = 255 - expected if photometric == "MONOCHROME1" else expected
    assert np.array_equal(shown(seen, None), expected)
    assert seen.curve and np.array_equal(seen.samples, pixels), "what is stored stays"
    asked = shown(seen, (2000, 400, "linear"))
    assert asked.min() == 0 and asked.max() == 255, "a window that is asked for comes before the table"


def test_values_by_a_table(open_tree: Opener, tmp_path: Path) -> None:
    pixels = noise((24, 20), "u2", 0, 4000)
    modality = TABLES["long"]
    modality.ModalityLUTType = "US"
    store, found, path = one(
        open_tree, tmp_path, pixels, ModalityLUTSequence=Sequence([modality]), RescaleSlope=None, RescaleIntercept=None,
        WindowCenter=None, WindowWidth=None,
    )  # fmt: skip
    seen, header = store.picture(found, 1), pydicom.dcmread(path)
    values = apply_modality_lut(pixels, header)
    assert np.array_equal(seen.values(seen.samples), values) and np.array_equal(seen.samples, pixels)
    scaled = (values.astype(float) - values.min()) / (int(values.max()) - int(values.min()))
    assert abs(shown(seen, None) - scaled * 255).max() <= 0.5
    (drawn,) = slices_of(found, store.metadata(found, str))
    assert drawn.range == (0, 65535) and (drawn.slope, drawn.intercept) == (1, 0)


@pytest.mark.parametrize("first", [-200, 65536 - 200], ids=["signed", "unsigned"])
def test_a_table_of_negative_values(open_tree: Opener, tmp_path: Path, first: int) -> None:
    """Its first value is stated signed or not."""
    pixels = noise((24, 20), "i2", -400, 400)
    item = table(first, 500, 12)
    store, found, _ = one(
        open_tree, tmp_path, pixels, VOILUTSequence=Sequence([item]), RescaleSlope=1, RescaleIntercept=0,
        WindowCenter=None, WindowWidth=None,
    )  # fmt: skip
    entries = np.frombuffer(item[0x00283006].value, "<u2")
    expected = entries[(pixels.astype(int) + 200).clip(0, 499)] / 4095 * 255
    assert np.array_equal(shown(store.picture(found, 1), None), np.rint(expected))
    (drawn,) = slices_of(found, store.metadata(found, str))
    assert drawn.window == (50, 500), "the viewer's window begins and ends where the table does"


def test_a_window_of_another_function(open_tree: Opener, tmp_path: Path) -> None:
    pixels = noise((24, 20), "u2", 0, 4000)
    store, found, path = one(
        open_tree, tmp_path, pixels, WindowCenter=1800, WindowWidth=900, VOILUTFunction="SIGMOID", RescaleSlope=1,
        RescaleIntercept=0,
    )  # fmt: skip
    expected = apply_voi_lut(pixels, pydicom.dcmread(path)) / 65535 * 255
    assert abs(shown(store.picture(found, 1), None) - expected).max() <= 0.51


@pytest.mark.parametrize("what", ["empty", "no description", "no data", "no bits"])
def test_tables_that_make_no_sense_are_passed_over(open_tree: Opener, tmp_path: Path, what: str) -> None:
    item = table(0, 40, 12)
    if what == "no description":
        del item[0x00283002]
    elif what == "no data":
        del item[0x00283006]
    elif what == "no bits":
        item[0x00283002].value = [40, 0, 0]
    pixels = noise((24, 20), "u2", 0, 4000)
    sequence = Sequence([] if what == "empty" else [item])
    store, found, _ = one(
        open_tree, tmp_path, pixels, VOILUTSequence=sequence, ModalityLUTSequence=sequence, WindowCenter=2000,
        WindowWidth=4000, RescaleSlope=1, RescaleIntercept=0,
    )  # fmt: skip
    seen = store.picture(found, 1)
    assert seen.curve is None and seen.modality is None and seen.window == (2000, 4000)
    assert shown(seen, None).max() > 200
