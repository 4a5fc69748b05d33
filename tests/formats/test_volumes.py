"""Files of whole volumes in all formats come back byte for byte, and are coded where their headers are true."""

import gzip
import io
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.formats.volumes import meta, mgh, nifti, npy, nrrd, picture, stored, tiff, tree
from tests.helpers import ONE, compress, contents
from volcomp.archive.describe import describe
from volcomp.archive.restore import restore, verify
from volcomp.bodies.numbers import Numbers
from volcomp.formats import registry
from volcomp.formats.protocol import NotCoded
from volcomp.formats.uncompressed import MOST_AROUND


def test_a_tree_of_all_formats(tmp_path):
    """In both orders of bytes, all types of numbers, one and several files for a volume; and some compressed ones."""
    count = tree(tmp_path / "in")
    for number, path in enumerate(sorted((tmp_path / "in").rglob("*.nii"))[:2]):
        path.with_suffix(".nii.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=number))
    archive = tmp_path / "x.vcz"
    compress([tmp_path / "in"], archive, model="turbo", effort=1)
    found = describe(archive)
    reasons = {reason: n for reason, n in found["not_coded"].items() if not reason.startswith("it is a header")}
    headers = sum(found["not_coded"].values()) - sum(reasons.values())
    assert (found["files"], headers) == (count + 2, 10) and count >= 40
    assert set(reasons) <= {"no image of a known format"} and sum(reasons.values()) <= 2
    verify(archive, options=ONE)
    restore(archive, tmp_path / "out", options=ONE)
    assert contents(tmp_path / "out") == contents(tmp_path / "in")
    told = [volume for volume in found["volumes"] if volume["spacing_mm"] == (3.0, 0.75, 0.5)]
    assert len(told) > 20 and {volume["description"] for volume in told} == {"a head", ""}


def write(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files; return the path of the first."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder / next(iter(files))


def planes_of(path):
    """Return the image in a file, and its planes [z, y, x] as an archive codes them."""
    image = registry.read_image(path, path.name)
    with path.open("rb") as file:
        if image.reading:
            blocks = list(image.reading.read(file))
            return image, [np.concatenate(parts) for parts in zip(*blocks, strict=True)]
        file.seek(image.start)
        words = np.frombuffer(file.read(image.pixel_bytes), f"{'>' if image.big_endian else '<'}u{image.bits // 8}")
        return image, [words.astype(words.dtype.newbyteorder("<")).reshape(image.frames, image.rows, image.columns)]


VOXELS = picture((6, 12, 10), "i2")
WORDS = VOXELS.view("<u2")
SOUND = {
    "nifti": {"a.nii": nifti(VOXELS, after=b"tail")},
    "nifti 2, big-endian": {"a.nii": nifti(VOXELS, ">", version=2)},
    "extensions": {"a.nii": nifti(VOXELS, extensions=bytes(32), between=b"between")},
    "pair": {"a.img": stored(VOXELS, ">"), "a.hdr": nifti(VOXELS, ">", magic=b"ni1\0")},
    "pair of version 2": {"a.img": stored(VOXELS), "a.hdr": nifti(VOXELS, version=2, magic=b"ni2\0")},
    "pair with an offset": {"a.IMG": b"12345" + stored(VOXELS), "a.HDR": nifti(VOXELS, magic=b"ni1\0", offset=5)},
    "analyze": {"a.img": stored(VOXELS), "a.hdr": nifti(VOXELS, magic=bytes(4))},
    "nrrd": {"a.nrrd": nrrd(VOXELS, ">", newline="\r\n")},
    "nrrd, bytes at the end": {"a.nrrd": nrrd(VOXELS, fields={"byte skip": -1}, data=b"between" + stored(VOXELS))},
    "nrrd, lines and bytes": {
        "a.nrrd": nrrd(VOXELS, fields={"byte skip": 3, "line skip": 2}, data=b"\nline\n123" + stored(VOXELS))
    },
    "nrrd in two files": {"b": stored(VOXELS), "a.nhdr": nrrd(VOXELS, fields={"data file": "./b"})},
    "nrrd in two files, CRLF": {
        "b": stored(VOXELS), "a.nhdr": nrrd(VOXELS, newline="\r\n", datafile="b", fields={"data file": "b"})
    },
    "meta": {"a.mha": meta(VOXELS, newline="\r\n")},
    "meta, bytes at the end": {"a.mha": meta(VOXELS, HeaderSize=-1, data=b"between" + stored(VOXELS))},
    "meta in two files": {
        "b.raw": b"1234" + stored(VOXELS, ">"), "a.mhd": meta(VOXELS, ">", data_file="b.raw", HeaderSize=4)
    },
    "meta, the other key": {
        "a.mha": meta(VOXELS, ">", BinaryDataByteOrderMSB=None, ElementByteOrderMSB="True")
    },
    "npy": {"a.npy": npy(VOXELS)},
    "npy of version 3": {"a.npy": npy(VOXELS.astype(">i2"), version=3)},
    "npy by columns": {"a.npy": npy(np.asfortranarray(VOXELS.T), fortran=True, version=2)},
    "mgh": {"a.mgh": mgh(VOXELS, after=b"tags")},
    "tiff": {"a.tif": tiff(VOXELS)},
    "tiff of strips": {"a.tif": tiff(VOXELS, ">", strips=5, first=False)},
    "bigtiff": {"a.tif": tiff(VOXELS, big=True, strips=3)},
    "imagej": {"a.tif": tiff(VOXELS, ">", directories=1, description=b"ImageJ=1.53t\nimages=6\nslices=6\n\0")},
}  # fmt: skip

ALONE = {name: files for name, files in SOUND.items() if len(files) == 1}


@pytest.mark.parametrize("files", SOUND.values(), ids=SOUND)
def test_the_voxels_that_a_header_states(tmp_path, files):
    path = write(tmp_path, files)
    image, planes = planes_of(path)
    assert len(planes) == 1 and (planes[0] == WORDS).all() and image.size == path.stat().st_size
    assert image.series == path.name and image.times == 1


@pytest.mark.parametrize(
    "files", [f for f in SOUND.values() if len(f) == 1], ids=[k for k, f in SOUND.items() if len(f) == 1]
)
def test_all_bytes_come_from_the_file_object(tmp_path, files):
    """As when it has what a compressed file holds."""
    ((name, data),) = files.items()
    path = tmp_path / name
    for file_format in registry.FORMATS:
        file = io.BytesIO(data)
        if file_format.sniff(data[:512]) and (image := file_format.read(path, name, file)):
            assert (image.size, image.frames, image.rows, image.columns) == (len(data), 6, 12, 10)
            break
    else:
        pytest.fail("no format reads it")


def test_time_points(tmp_path):
    voxels = picture((4, 6, 12, 10))
    for path in (
        write(tmp_path, {"a.nii": nifti(voxels)}),
        write(tmp_path, {"a.mgh": mgh(voxels)}),
        write(tmp_path, {"a.npy": npy(voxels)}),
        write(tmp_path, {"a.nrrd": nrrd(voxels, kinds="domain domain domain list")}),
    ):
        image, planes = planes_of(path)
        assert (image.frames, image.times) == (24, 4)
        assert (planes[0].reshape(voxels.shape) == voxels.view("u2")).all()
    flat = registry.read_image(write(tmp_path, {"flat.nii": nifti(voxels[:, :1])}), "")
    assert (flat.frames, flat.times, flat.rows) == (4, 4, 12)
    upright = registry.read_image(write(tmp_path, {"upright.nii": nifti(voxels[:, :, :, :1])}), "")
    assert (upright.columns, upright.rows, upright.frames, upright.times) == (12, 6, 4, 4)


def test_components(tmp_path):
    vectors = np.stack([picture((6, 12, 10), seed=seed) for seed in range(6)], -1)
    for count, path in (
        (3, write(tmp_path, {"a.mha": meta(vectors[..., :3].copy(), channels=3)})),
        (4, write(tmp_path, {"a.nrrd": nrrd(vectors[..., :4].copy(), kinds="vector domain domain domain")})),
        (3, write(tmp_path, {"b.nrrd": nrrd(vectors[..., :3].copy())})),
        (2, write(tmp_path, {"a.npy": npy(vectors[..., :2].copy())})),
        (2, write(tmp_path, {"f.npy": npy(np.asfortranarray(vectors[..., :2].T), fortran=True)})),
    ):
        image, planes = planes_of(path)
        assert image.planes == count and (np.stack(planes, -1) == vectors[..., :count].view("u2")).all()
    vectors = np.stack([picture((6, 24, 20), seed=seed) for seed in range(6)], -1)
    many = write(tmp_path, {"c.nrrd": nrrd(vectors, kinds="list domain domain domain")})
    image, planes = planes_of(many)
    slices = np.moveaxis(vectors, -1, 1).reshape(-1, 24, 20)
    assert image.planes == 1 and (planes[0] == slices - slices.min()).all()


def test_gaps(tmp_path):
    """Pages with a directory between one and the next."""
    voxels = picture((10, 24, 20))
    for data in (tiff(voxels, gap=7), tiff(voxels, ">", gap=300, strips=4, big=True, first=False)):
        image, planes = planes_of(write(tmp_path, {"a.tif": data}))
        assert len(planes) == 1 and (planes[0] == voxels - voxels.min()).all() and image.reading.number == 5
        with (tmp_path / "a.tif").open("rb") as file:
            blocks = list(image.reading.read(file))
        assert b"".join(Numbers().write(image.reading.kept, iter(blocks))) == data


def test_several_files_for_a_volume(tmp_path):
    """They are the slices of one volume, in the order of the header, whatever their names."""
    names = ["z.raw", "b.raw", "a.raw", "y.raw", "c.raw", "x.raw"]
    for suffix, header in (
        ("mhd", meta(VOXELS, data_file="LIST", more="\n".join(names))),
        ("mhd", meta(VOXELS, data_file="LIST 2D", more="\r\n".join([*names, ""]))),
        ("nhdr", nrrd(VOXELS, fields={"data file": "LIST 2"}, data=names)),
        ("nhdr", nrrd(VOXELS, newline="\r\n", fields={"data file": "LIST"}, data=names)),
    ):
        folder = tmp_path / f"{suffix}{len(header)}"
        folder.mkdir()
        write(folder, {f"a.{suffix}": header} | dict(zip(names, map(stored, VOXELS), strict=True)))
        images = [registry.read_image(folder / name, f"there/{name}") for name in names]
        assert {image.series for image in images} == {f"there/a.{suffix}"}
        assert [image.order for image in images] == [(float(i),) for i in range(6)]
        assert {(image.frames, image.rows, image.columns) for image in images} == {(1, 12, 10)}
    folder = tmp_path / "pattern"
    folder.mkdir()
    header = meta(VOXELS, data_file="s%03d.raw 10 15 1")
    path = write(folder, {"s012.raw": stored(VOXELS[2]), "a.mhd": header})
    assert registry.read_image(path, "").order == (2.0,)
    assert registry.read_image(write(folder, {"s016.raw": stored(VOXELS[2])}), "") is None


def many_pages(count):
    """Return a file whose directories share one list of a million strips."""
    data = b"II*\0\x08\0\0\0"
    for page in range(1, count + 1):
        data += struct.pack("<H", 2)
        data += struct.pack("<HHII", 273, 4, 1 << 20, 2000) + struct.pack("<HHII", 279, 4, 1 << 20, 2000)
        data += struct.pack("<I", 8 + 30 * page if page < count else 0)
    return data.ljust(2000 + (4 << 20), b"\0")


HUGE = [3, 32767, 32767, 32767, 1, 1, 1, 1]
BEYOND = 1 << 60
BAD = {
    "cut in the header": ({"a.nii": nifti(VOXELS)[:200]}, "cut short"),
    "cut in the voxels": ({"a.nii": nifti(VOXELS)[:-1]}, "shorter than its header"),
    "huge": ({"a.nii": nifti(VOXELS, dims=HUGE)}, "shorter than its header"),
    "huge, version 2": ({"a.nii": nifti(VOXELS, version=2, dims=[7] + [1 << 62] * 7)}, "shorter than its header"),
    "negative": ({"a.nii": nifti(VOXELS, dims=[3, -10, -12, 6, 1, 1, 1, 1])}, "no voxels"),
    "nothing": ({"a.nii": nifti(VOXELS, dims=[3, 10, 0, 6, 1, 1, 1, 1])}, "no voxels"),
    "no dimensions": ({"a.nii": nifti(VOXELS, dims=[0, 10, 12, 6, 1, 1, 1, 1])}, "0 dimensions"),
    "eight dimensions": ({"a.nii": nifti(VOXELS, dims=[8, 10, 12, 6, 1, 1, 1, 1])}, "8 dimensions"),
    "one axis": ({"a.nii": nifti(VOXELS, dims=[3, 720, 1, 1, 1, 1, 1, 1])}, "along one axis"),
    "offset NaN": ({"a.nii": nifti(VOXELS, offset=float("nan"))}, "where its voxels begin"),
    "offset infinite": ({"a.nii": nifti(VOXELS, offset=float("inf"))}, "where its voxels begin"),
    "offset of half a byte": ({"a.nii": nifti(VOXELS, offset=352.5)}, "where its voxels begin"),
    "offset within the header": ({"a.nii": nifti(VOXELS, offset=348)}, "within it"),
    "offset negative": ({"a.nii": nifti(VOXELS, offset=-16)}, "within it"),
    "offset beyond": ({"a.nii": nifti(VOXELS, offset=1e9)}, "shorter than its header"),
    "offset far beyond": ({"a.nii": nifti(VOXELS, version=2, offset=BEYOND)}, "shorter than its header"),
    "bits": ({"a.nii": nifti(VOXELS, bits=8)}, "bits of a voxel"),
    "type": ({"a.nii": nifti(VOXELS, type=7)}, "data type 7"),
    "128 bits": ({"a.nii": nifti(VOXELS, type=1536, bits=128)}, "data type 1536"),
    "header of a pair": ({"a.hdr": nifti(VOXELS, magic=b"ni1\0")}, "the .img file"),
    "pair that does not fit": (
        {"a.img": stored(VOXELS)[:-1], "a.hdr": nifti(VOXELS, magic=b"ni1\0")},
        "shorter than its header",
    ),
    "pair with an offset before it": (
        {"a.img": stored(VOXELS), "a.hdr": nifti(VOXELS, magic=bytes(4), offset=-2)},
        "begin before it does",
    ),
    "too much around": ({"a.nii": nifti(VOXELS, after=bytes(MOST_AROUND))}, "too many bytes around"),
    "small frames": ({"a.nii": nifti(shape=(5, 6, 30), after=bytes(5 * 6 * 60))}, "fewer than 32 pixels"),
    "many tiny frames": ({"a.nii": nifti(shape=(2, 2, 3000), after=bytes(24000))}, "each of fewer than"),
    "nrrd without an end": ({"a.nrrd": nrrd(VOXELS).split(b"\n\n")[0]}, "does not end"),
    "nrrd, its type": ({"a.nrrd": nrrd(VOXELS, type="block")}, "data type block"),
    "nrrd, its sizes": ({"a.nrrd": nrrd(VOXELS, sizes="10 12")}, "makes no sense"),
    "nrrd, no sizes": ({"a.nrrd": nrrd(VOXELS, sizes="ten 12 6")}, "makes no sense"),
    "nrrd, huge": ({"a.nrrd": nrrd(VOXELS, sizes="1000000 1000000 1000000")}, "shorter than its header"),
    "nrrd, vast": ({"a.nrrd": nrrd(VOXELS, sizes=f"{10**30} 1 1")}, "makes no sense"),
    "nrrd, negative": ({"a.nrrd": nrrd(VOXELS, sizes="-10 -12 6")}, "no voxels"),
    "nrrd, no order": ({"a.nrrd": nrrd(VOXELS, "middle")}, "order of bytes"),
    "nrrd, text": ({"a.nrrd": nrrd(VOXELS, encoding="ascii")}, "numbers are text"),
    "nrrd, packed": ({"a.nrrd": nrrd(VOXELS, encoding="gzip")}, "no gzip member or zlib stream"),
    "nrrd, lines": ({"a.nrrd": nrrd(VOXELS, fields={"line skip": 10**6})}, "fewer lines"),
    "nrrd, twice": ({"a.nrrd": nrrd(VOXELS, fields={"byte skip": 0, "byteskip": 7})}, "contradicts itself"),
    "nrrd, a header": ({"a.nhdr": nrrd(VOXELS, fields={"data file": "b.raw"})}, "voxels are in b.raw"),
    "nrrd, other files": (
        {"b": stored(VOXELS), "a.nhdr": nrrd(VOXELS, fields={"data file": "LIST"}, data=["b", "c"])},
        "another number of files",
    ),
    "meta without an end": ({"a.mha": meta(VOXELS).split(b"ElementDataFile")[0]}, "does not end"),
    "meta, no sense": ({"a.mha": b"ObjectType = Image\nwhat is this\n" + meta(VOXELS)}, "makes no sense"),
    "meta, twice": ({"a.mha": b"NDims = 2\n" + meta(VOXELS)}, "contradicts itself about ndims"),
    "meta, two orders": ({"a.mha": meta(VOXELS, ElementByteOrderMSB="True")}, "order of bytes"),
    "meta, its dimensions": ({"a.mha": meta(VOXELS, NDims=4)}, "about its dimensions"),
    "meta, its type": ({"a.mha": meta(VOXELS, ElementType="MET_OTHER")}, "data type MET_OTHER"),
    "meta, no channels": ({"a.mha": meta(VOXELS, ElementNumberOfChannels=0)}, "no voxels"),
    "meta, text": ({"a.mha": meta(VOXELS, BinaryData="False")}, "numbers are text"),
    "meta, packed": ({"a.mha": meta(VOXELS, CompressedData="True")}, "no gzip member or zlib stream"),
    "meta, negative": ({"a.mha": meta(VOXELS, HeaderSize=-1, data=b"")}, "before the file begins"),
    "meta, a pattern": ({"a.mhd": meta(VOXELS, data_file="s%n.raw 1 6 1")}, "names no files"),
    "meta, a long pattern": ({"a.mhd": meta(VOXELS, data_file=f"s%d.raw 1 {10**9} 1")}, "names no files"),
    "npy, no numbers": ({"a.npy": npy(VOXELS, descr="|O")}, "plain numbers"),
    "npy, an odd type": ({"a.npy": npy(VOXELS, descr="<i3")}, "type <i3"),
    "npy, 128 bits": ({"a.npy": npy(VOXELS, descr="<f16", shape=(2, 3, 4))}, "its numbers are of the type"),
    "npy, cut": ({"a.npy": npy(VOXELS)[:40]}, "plain numbers"),
    "npy, its version": ({"a.npy": b"\x93NUMPY\x09\0" + bytes(100)}, "unknown version"),
    "npy, huge": ({"a.npy": npy(VOXELS, shape=(1 << 40, 1 << 40))}, "shorter than its header"),
    "npy, one number": ({"a.npy": npy(VOXELS, shape=())}, "no voxels"),
    "mgh, its type": ({"a.mgh": mgh(VOXELS, type=9)}, "data type 9"),
    "mgh, huge": ({"a.mgh": mgh(VOXELS, dims=(10, *(2**31 - 1,) * 3))}, "shorter than its header"),
    "mgh, negative": ({"a.mgh": mgh(VOXELS, dims=(10, -12, 6, 1))}, "no voxels"),
    "tiff, strips": ({"a.tif": tiff(VOXELS, gap=-2)}, "strips do not follow"),
    "tiff, packed": ({"a.tif": tiff(VOXELS, compression=5)}, "pixels are compressed"),
    "tiff, cut": ({"a.tif": tiff(VOXELS, first=False)[:-30]}, "lie outside"),
    "tiff, cut pixels": ({"a.tif": tiff(VOXELS)[:-30]}, "shorter than its header"),
    "tiff, beyond": ({"a.tif": tiff(VOXELS, offset=10**9)}, "shorter than its header"),
    "tiff, 12 bits": ({"a.tif": tiff(VOXELS[:, :8], bits=12)}, "12 bits"),
    "tiff, huge": ({"a.tif": tiff(VOXELS, rows=2**32 - 1, columns=2**32 - 1)}, "strips do not follow"),
    "tiff, many pages": (
        {"a.tif": tiff(VOXELS, directories=1, description=b"ImageJ=1\nimages=999999999\n\0")},
        "shorter than its header",
    ),
    "tiff, one list for many pages": ({"a.tif": many_pages(20)}, "too many values"),
    "tiff, a circle": ({"a.tif": b"II*\0\x08\0\0\0\0\0\x08\0\0\0"}, "no end"),
    "tiff, nothing": ({"a.tif": b"II*\0\0\0\0\0"}, "no pixels"),
    "tiff, no directory": ({"a.tif": b"II*\0\xff\xff\xff\xff"}, "lie outside"),
    "tiff, no header": ({"a.tif": b"MM\0+\0\4\0\0" + bytes(20)}, "no sense"),
}  # fmt: skip


@pytest.mark.parametrize(("files", "reason"), BAD.values(), ids=BAD)
def test_a_header_that_lies(tmp_path, files, reason):
    with pytest.raises(NotCoded, match=reason):
        registry.read_image(write(tmp_path, files), "a")


def test_a_frame_that_no_slice_can_be(tmp_path):
    path = write(tmp_path, {"a.npy": npy(VOXELS, shape=(1 << 14, 1 << 14))})
    with path.open("r+b") as file:
        file.truncate(2 * (1 << 28) + 128)
    with pytest.raises(NotCoded, match="frame of it is too large"):
        registry.read_image(path, "a")


def test_headers_that_lie_are_kept_whole(tmp_path):
    """All of them in one archive."""
    for number, (files, _) in enumerate(BAD.values()):
        (tmp_path / "in" / str(number)).mkdir(parents=True)
        write(tmp_path / "in" / str(number), {name: data[: 1 << 16] for name, data in files.items()})
    compress([tmp_path / "in"], tmp_path / "x.vcz", model="turbo", effort=1)
    restore(tmp_path / "x.vcz", tmp_path / "out", options=ONE)
    assert contents(tmp_path / "out") == contents(tmp_path / "in")
    assert describe(tmp_path / "x.vcz")["kept_whole"] >= len(BAD)


def test_files_that_only_look_like_parts_of_a_volume(tmp_path):
    """No header names them, or it is none."""
    path = write(tmp_path, {"a.img": stored(VOXELS), "a.hdr": b"a text", "b.raw": stored(VOXELS), "c.mhd": b"a text"})
    assert registry.read_image(path, "a.img") is None
    assert registry.read_image(tmp_path / "b.raw", "b.raw") is None
    assert registry.read_image(tmp_path / "c.mhd", "c.mhd") is None
    write(tmp_path, {"x.img": stored(VOXELS), "x.hdr": nifti(VOXELS)})
    assert registry.read_image(tmp_path / "x.img", "x.img") is None


def test_descriptions_of_any_bytes():
    """Of headers cut anywhere, and of noise."""
    random = np.random.default_rng(0)
    for files, _ in BAD.values():
        for data in files.values():
            for header in (data[:600], data[: random.integers(0, 400)], data[:300] + random.bytes(300)):
                for file_format in registry.FORMATS:
                    if file_format.sniff(header[:512]):
                        file_format.describe([header])
                        if facts := file_format.facts(header):
                            assert facts.spacing is None or min(facts.spacing) > 0
                for beside in registry.DETACHED:
                    beside.facts_beside(header, "x.raw")
                registry.describe([header])
    header = nifti(VOXELS, units=1)[:352]
    found = registry.NIFTI.facts(header)
    assert found and found.spacing == (3000.0, 750.0, 500.0) and registry.describe([header]).description == "a head"
    assert registry.describe([nrrd(VOXELS, **{"space directions": "(0,0.5,0) (0,0,0.75) (3,0,0)", "spacings": ""})])
