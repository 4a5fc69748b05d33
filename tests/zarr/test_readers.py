"""Arrays are read by what reads Zarr: other processes, Dask, xarray, and a reader of OME-Zarr that has only volcomp."""

import hashlib
import importlib
import json
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import entry_points
from itertools import product
from pathlib import Path

import numpy as np
import pytest

zarr = pytest.importorskip("zarr", minversion="3")
pytest.importorskip("numcodecs")

import volcomp  # noqa: E402
from tests.helpers import noise  # noqa: E402
from volcomp.zarr import Volcomp, VolcompCodec, chunks  # noqa: E402
from volcomp.zarr.settings import Settings  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
IMAGE = noise((10, 40, 36), "u2", 0, 900)
CODECS = {
    2: {"compressors": Volcomp("turbo", effort=1)},
    3: {"serializer": VolcompCodec("turbo", effort=1), "compressors": None},
}
OPTIONS = {version: {"zarr_format": version, **codec} for version, codec in CODECS.items()}
formats = pytest.mark.parametrize("version", [2, 3])


@formats
def test_an_entry_point_leads_to_each_class(version):
    group, wanted = {2: ("numcodecs.codecs", Volcomp), 3: ("zarr.codecs", VolcompCodec)}[version]
    found = [point.value for point in entry_points(group=group) if point.name == "volcomp"]
    assert set(found) == {f"{wanted.__module__}:{wanted.__qualname__}"}, "install the package again, as make setup does"
    module, name = found[0].split(":")
    assert getattr(importlib.import_module(module), name) is wanted


@formats
def test_another_process_reads_without_importing_volcomp(version, tmp_path):
    zarr.create_array(tmp_path / "x.zarr", data=IMAGE, chunks=(8, 32, 32), **OPTIONS[version])
    code = (
        "import sys, zarr; array = zarr.open(sys.argv[1], mode='r'); assert 'torch' not in sys.modules;"
        "import hashlib; print(array.shape, hashlib.sha256(array[:].tobytes()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.zarr")], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{IMAGE.shape} {hashlib.sha256(IMAGE.tobytes()).hexdigest()}"


def test_each_class_is_imported_alone():
    """Whoever reads format 2 with numcodecs need not have Zarr."""
    code = "import sys; sys.modules['zarr'] = None; import numcodecs; print(numcodecs.get_codec({'id': 'volcomp'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == repr(Volcomp()), done.stderr
    code = "import sys, volcomp.zarr; print('zarr' in sys.modules, 'numcodecs' in sys.modules, dir(volcomp.zarr))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False False ['Volcomp', 'VolcompCodec']", done.stderr
    with pytest.raises(AttributeError):
        volcomp.zarr.Codec  # noqa: B018


@formats
@pytest.mark.parametrize("scheduler", ["threads", "sync"])
def test_dask(version, scheduler, tmp_path):
    array = pytest.importorskip("dask.array")
    there = zarr.create_array(
        tmp_path / "x.zarr", shape=IMAGE.shape, chunks=(8, 32, 32), dtype=IMAGE.dtype, **OPTIONS[version]
    )
    array.store(array.from_array(IMAGE, chunks=(8, 32, 32)), there, scheduler=scheduler)
    found = array.from_zarr(str(tmp_path / "x.zarr"))
    assert found.chunksize == (8, 32, 32)
    assert np.array_equal(found.compute(scheduler=scheduler), IMAGE)
    assert int(found[3:9, 30:].sum().compute(scheduler=scheduler)) == int(IMAGE[3:9, 30:].sum(dtype="u8"))


@pytest.mark.filterwarnings("ignore")  # of xarray and pandas
@formats
def test_xarray(version, tmp_path):
    xarray = pytest.importorskip("xarray")
    axes = ("z", "y", "x")
    ct = xarray.DataArray(IMAGE.astype("i2"), dims=axes, coords={"z": np.arange(10) * 2.5}, attrs={"units": "HU"})
    dose = xarray.DataArray((IMAGE / 7).astype("f4"), dims=axes)
    encoding = {name: {**CODECS[version], "chunks": (8, 32, 32)} for name in ("ct", "dose")}
    dataset = xarray.Dataset({"ct": ct, "dose": dose})
    dataset.to_zarr(tmp_path / "x.zarr", zarr_format=version, encoding=encoding)
    with xarray.open_zarr(tmp_path / "x.zarr") as found:
        xarray.testing.assert_identical(found.load(), dataset)
    stored = zarr.open_group(tmp_path / "x.zarr", mode="r")["ct"]
    assert "olcomp" in repr(stored.metadata.codecs if version == 3 else stored.metadata.compressor)
    assert np.array_equal(xarray.open_zarr(tmp_path / "x.zarr").ct.sel(z=slice(4, 11)), ct.sel(z=slice(4, 11)))


def multiscale(folder, version):
    """An image of OME-Zarr 0.4 (format 2) or 0.5 (format 3) with two levels, axes t, c, z, y, x."""
    levels = [np.stack([IMAGE, IMAGE[::-1]])[None], np.stack([IMAGE, IMAGE[::-1]])[None, :, :, ::2, ::2]]
    names = ("t", "c", "z", "y", "x")
    kinds = ("time", "channel", "space", "space", "space")
    group = zarr.open_group(folder, mode="w", zarr_format=version)
    datasets = []
    for k, level in enumerate(levels):
        named = {"dimension_names": names} if version == 3 else {"chunk_key_encoding": {"name": "v2", "separator": "/"}}
        group.create_array(str(k), data=level, chunks=(1, 1, 8, 32, 32), **CODECS[version], **named)
        scale = [1.0, 1.0, 2.5, 0.5 * 2**k, 0.5 * 2**k]
        datasets.append({"path": str(k), "coordinateTransformations": [{"type": "scale", "scale": scale}]})
    axes = [{"name": name, "type": kind} for name, kind in zip(names, kinds, strict=True)]
    image = {"name": "ct", "axes": axes, "datasets": datasets}
    if version == 3:
        group.attrs["ome"] = {"version": "0.5", "multiscales": [image]}
    else:
        group.attrs["multiscales"] = [{"version": "0.4", **image}]
    return levels


def read_level(folder, number):
    """Read a level of an OME-Zarr image as its specification says, with no library but volcomp."""
    if (folder / "zarr.json").exists():
        ome = json.loads((folder / "zarr.json").read_text())["attributes"]["ome"]
        assert ome["version"] == "0.5"
        place = folder / ome["multiscales"][0]["datasets"][number]["path"]
        metadata = json.loads((place / "zarr.json").read_text())
        chunk, dtype = metadata["chunk_grid"]["configuration"]["chunk_shape"], np.dtype(metadata["data_type"])
        assert [codec["name"] for codec in metadata["codecs"]] == ["volcomp"]
        prefix = "c/"
    else:
        image = json.loads((folder / ".zattrs").read_text())["multiscales"][0]
        assert image["version"] == "0.4"
        place = folder / image["datasets"][number]["path"]
        metadata = json.loads((place / ".zarray").read_text())
        chunk, dtype = metadata["chunks"], np.dtype(metadata["dtype"])
        assert metadata["compressor"]["id"] == "volcomp" and metadata["dimension_separator"] == "/"
        prefix = ""
    shape = metadata["shape"]
    counts = [-(-side // step) for side, step in zip(shape, chunk, strict=True)]
    whole = np.full([count * step for count, step in zip(counts, chunk, strict=True)], metadata["fill_value"], dtype)
    for at in product(*map(range, counts)):
        voxels = volcomp.decompress((place / (prefix + "/".join(map(str, at)))).read_bytes())
        assert voxels.shape == tuple(chunk[2:]) and voxels.dtype == dtype
        whole[tuple(slice(k * step, (k + 1) * step) for k, step in zip(at, chunk, strict=True))] = voxels
    return whole[tuple(map(slice, shape))]


@formats
def test_ome_zarr(version, tmp_path):
    levels = multiscale(tmp_path / "ct.ome.zarr", version)
    for k, level in enumerate(levels):
        assert np.array_equal(read_level(tmp_path / "ct.ome.zarr", k), level)
        assert np.array_equal(zarr.open(tmp_path / "ct.ome.zarr", mode="r")[str(k)][0, 1, 3:9], level[0, 1, 3:9])


def test_many_threads_may_begin_at_once():
    """In a process of its own, in which nothing is compiled or loaded yet."""
    code = """if True:
        import sys
        from concurrent.futures import ThreadPoolExecutor
        import numpy as np, zarr
        image = np.add.outer(np.arange(64), np.add.outer(np.arange(32), np.arange(32))).astype("u2")
        entry = {"name": "volcomp", "configuration": {"model": "turbo", "effort": 1}}
        options = {"serializer": entry, "compressors": None}
        array = zarr.create_array({}, shape=image.shape, chunks=(8, 32, 32), dtype="u2", **options)
        def write(k):
            array[8 * k : 8 * k + 8] = image[8 * k : 8 * k + 8]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
            parts = list(pool.map(lambda k: array[8 * k : 8 * k + 8], range(8)))
        print(np.array_equal(np.concatenate(parts), image))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=900)
    assert done.stdout.strip() == "True", done.stderr


def _decoded_there(payloads, queue):
    queue.put([chunks.decode(payload, (8, 40, 36), np.dtype("u2")).tobytes() for payload in payloads])


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="the system has no fork")
def test_a_forked_process_goes_on():
    """The parent has used the codec from several threads, which the child does not have."""
    quick = Settings("turbo", effort=1)
    with ThreadPoolExecutor(4) as pool:
        payloads = list(pool.map(lambda k: chunks.encode(IMAGE[k : k + 8], quick), range(3)))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_decoded_there, args=(payloads, queue))
    child.start()
    try:
        assert queue.get(timeout=900) == [IMAGE[k : k + 8].tobytes() for k in range(3)]
        child.join(900)
        assert child.exitcode == 0
    finally:
        if child.is_alive():
            child.kill()
