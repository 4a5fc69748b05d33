"""Slabs for training over previews: what the network sees of them is what it sees in coding."""

import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
imagecodecs = pytest.importorskip("imagecodecs")
pytest.importorskip("pydicom")

from volcomp import lossy, models  # noqa: E402
from volcomp.learn import data  # noqa: E402
from volcomp.pipelines.row import fronts  # noqa: E402
from volcomp.pipelines.row.pipeline import ROW  # noqa: E402
from volcomp.pipelines.row.slab import RowSlab, lay_out  # noqa: E402
from volcomp.stages import histogram_packing  # noqa: E402
from volcomp.stages.grid import unpadded  # noqa: E402
from volcomp.training import layered, radiographs  # noqa: E402


def waves(height: int, width: int) -> np.ndarray:
    y, x = np.ogrid[:height, :width]
    noise = np.random.default_rng(height).normal(0, 4, (height, width))
    return (120 + 90 * np.sin(y / 9) * np.cos(x / 11) + noise).clip(0, 255).astype(np.uint8)


def test_the_reference_is_what_the_layer_decodes_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """And inputs of blocks are those that the codec computes for the first voxels of the slab."""
    image, fits = waves(80, 90), []
    fit = layered.linear_fit.fit_by_effort
    monkeypatch.setattr(layered.linear_fit, "fit_by_effort", lambda *given: fits.append(fit(*given)) or fits[-1])
    slab = layered.slab_of(image, 16, 16)
    packing = histogram_packing.find(image)
    nearest = packing.nearest(lossy.decode(lossy.encode(image, image.nbytes // 16)), np.int16)
    held = slab.known[slab.size :].reshape(3, 80 + 14, 90 + 14)
    assert np.array_equal(held[1, 7:-7, 7:-7], nearest)
    levels = unpadded(slab.known[: slab.size], slab.shape)
    zero = np.zeros(1, np.int64)
    batch = data.blocks_of(slab, zero, zero, zero, (1, 1, 1))
    model = ROW.load(models.named("fast-layered-1"))
    work = RowSlab(lay_out(slab.shape, fits[0]), packing.limit, fits[0], model, None, nearest[None], sees=True)
    fronts.look_at(0, work._arrays, work._stages, work._state.arrays, np.empty(work._scratch, np.int64))
    assert (
        np.array_equal(batch.inputs[0, 0, 0, 0], work._state.inputs[0, :64]) and batch.inputs[0, 0, 0, 0, 10:40].any()
    )
    assert batch.error[0, 0, 0, 0] == levels[0, 0, 0] - work._arrays.scratch.prediction[0] / 16


def test_small_images_and_crops_of_large_ones_are_kinds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOLCOMP_RADIOGRAPHS", str(tmp_path))
    monkeypatch.setattr(radiographs, "CROP", 96)
    monkeypatch.setattr(radiographs, "APART", 192)
    monkeypatch.setattr(layered, "CROP", 96)
    files = {"small.png": waves(64, 64), "large.png": waves(96, 300), "other.png": waves(64, 64)}
    with (tmp_path / "splits.csv").open("w", newline="") as lines:
        writer = csv.writer(lines)
        writer.writerow(["file", "split"])
        for name, image in files.items():
            (tmp_path / name).write_bytes(imagecodecs.png_encode(image))
            writer.writerow([name, "valid" if name == "other.png" else "train"])
    kinds = layered.series(12, None)
    assert len(kinds) == layered.SHARES["small"] + layered.SHARES["large"]
    assert [slab.shape for slab in kinds[0]] == [(1, 64, 64)]
    assert [slab.shape for slab in kinds[-1]] == [(1, 96, 96)] * 2
