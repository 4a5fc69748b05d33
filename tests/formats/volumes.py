"""Files of whole volumes in every format, made on the spot: headers by struct, voxels by numpy."""

import struct
from pathlib import Path

import numpy as np

NIFTI_TYPES = {
    "u1": 2, "i2": 4, "i4": 8, "f4": 16, "c8": 32, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280,
    "c16": 1792,
}  # fmt: skip

TIFF_TYPES = {3: "H", 4: "I", 16: "Q"}


def picture(shape=(10, 16, 14), kind="i2", seed=0):
    """A round thing with noise on it, [z, y, x] or [t, z, y, x], in any type."""
    z, y, x = (np.linspace(-1, 1, n) for n in shape[-3:])
    radius = z[:, None, None] ** 2 + y[:, None] ** 2 + x**2
    scale = 100 if np.dtype(kind).itemsize == 1 else 1000
    numbers = scale * np.exp(-2 * radius) + np.random.default_rng(seed).normal(0, scale / 200, shape)
    if np.dtype(kind).kind == "c":
        numbers = numbers + 1j * picture(shape, "f8", seed + 100)
    return (np.maximum(numbers, 0) if np.dtype(kind).kind in "ui" else numbers).astype(kind)


def nifti(
    voxels=None, endian="<", *, version=1, shape=None, kind=None, type=None, bits=None, offset=None, magic=None,
    dims=None, extensions=b"", between=b"", after=b"", descrip=b"a head", units=2,
):  # fmt: skip
    """Return header, extensions and voxels [..., z, y, x]; what is stated may be another thing."""
    kind = kind or (voxels.dtype.str[1:] if voxels is not None else "i2")
    shape = shape or (voxels.shape[::-1] if voxels is not None else (4, 4, 4))
    dims = dims or [len(shape), *shape] + [1] * (7 - len(shape))
    type = NIFTI_TYPES.get(kind) if type is None else type
    bits = 8 * np.dtype(kind).itemsize if bits is None else bits
    size = 348 if version == 1 else 540
    single = magic is None or magic.startswith(b"n+")
    begin = size + 4 + len(extensions) + len(between) if single else 0
    offset = begin if offset is None else offset
    head = bytearray(size)
    struct.pack_into(endian + "i", head, 0, size)
    spacing = (1.0, 0.5, 0.75, 3.0, 2.0, 1.0, 1.0, 1.0)
    if version == 1:
        struct.pack_into(endian + "8h", head, 40, *dims)
        struct.pack_into(endian + "2h", head, 70, type, bits)
        struct.pack_into(endian + "9f", head, 76, *spacing, offset)
        head[123] = units
        struct.pack_into("80s", head, 148, descrip)
        head[344:348] = b"n+1\0" if magic is None else magic
    else:
        head[4:12] = (b"n+2\0" if magic is None else magic) + b"\r\n\x1a\n"
        struct.pack_into(endian + "2h", head, 12, type, bits)
        struct.pack_into(endian + "8q", head, 16, *dims)
        struct.pack_into(endian + "8d", head, 104, *spacing)
        struct.pack_into(endian + "q", head, 168, offset)
        struct.pack_into("80s", head, 240, descrip)
        struct.pack_into(endian + "i", head, 500, units)
    if not single:
        return bytes(head)
    data = b"" if voxels is None else stored(voxels, endian)
    return bytes(head) + bytes([bool(extensions), 0, 0, 0]) + extensions + between + data + after


def stored(voxels, endian="<"):
    """Return the bytes of an array in an order of bytes."""
    return voxels.astype(voxels.dtype.newbyteorder(">" if endian == ">" else "<"), order="C").tobytes()


def nrrd(voxels, endian="<", *, newline="\n", fields=(), data=None, **changed):
    """Return a header and voxels [..., z, y, x], or with `data file` among the fields the header alone."""
    names = {"u1": "uchar", "i1": "int8", "i2": "short", "u2": "ushort", "i4": "int", "u4": "uint32", "i8": "int64",
             "u8": "unsigned long long int", "f4": "float", "f8": "double"}  # fmt: skip
    stated = {
        "type": names[voxels.dtype.str[1:]],
        "dimension": str(voxels.ndim),
        "sizes": " ".join(map(str, voxels.shape[::-1])),
        "endian": {"<": "little", ">": "big"}.get(endian, endian),
        "encoding": "raw",
        "spacings": "0.5 0.75 3",
        "content": "a head",
        **dict(fields),
        **changed,
    }
    lines = ["NRRD0004", "# a comment", *(f"{key}: {value}" for key, value in stated.items()), "who:=nobody: at all"]
    if "data file" in stated and stated["data file"].startswith("LIST"):
        lines = [line for line in lines if not line.startswith("data file")]
        lines.append(f"data file: {stated['data file']}")
        return newline.join([*lines, *data, ""]).encode()
    text = newline.join(lines) + newline
    if "data file" in stated:
        return text.encode()
    return (text + newline).encode() + (stored(voxels, endian) if data is None else data)


def meta(voxels=None, endian="<", *, data_file="LOCAL", channels=1, more="", data=None, newline="\n", **changed):
    """Return a header and voxels [z, y, x] or [z, y, x, c]; or the header alone."""
    names = {"u1": "UCHAR", "i1": "CHAR", "i2": "SHORT", "u2": "USHORT", "i4": "INT", "u4": "UINT", "f4": "FLOAT",
             "f8": "DOUBLE", "i8": "LONG_LONG", "u8": "ULONG_LONG"}  # fmt: skip
    shape = voxels.shape[:-1] if channels > 1 else voxels.shape
    stated = {
        "ObjectType": "Image",
        "NDims": len(shape),
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False" if endian == "<" else "True",
        "ElementSpacing": "0.5 0.75 3",
        "DimSize": " ".join(map(str, shape[::-1])),
        "ElementNumberOfChannels": channels,
        "ElementType": "MET_" + names[voxels.dtype.str[1:]],
        **changed,
        "ElementDataFile": data_file,
    }
    text = "".join(f"{key} = {value}{newline}" for key, value in stated.items() if value is not None) + more
    if data_file != "LOCAL":
        return text.encode()
    return text.encode() + (stored(voxels, endian) if data is None else data)


def npy(array, *, version=1, fortran=False, descr=None, shape=None):
    """Return an array as numpy stores it."""
    shape = array.shape if shape is None else shape
    text = f"{{'descr': '{descr or array.dtype.str}', 'fortran_order': {fortran}, 'shape': {shape}, }}"
    width = 2 if version == 1 else 4
    text += " " * (-(len(text) + 9 + width) % 64) + "\n"
    head = b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(width, "little") + text.encode()
    return head + array.tobytes("F" if fortran else "C")


def mgh(voxels, *, after=b"", type=None, dims=None, version=1):
    """Return a header and voxels [t, z, y, x] or [z, y, x]."""
    kinds = {"u1": 0, "i4": 1, "f4": 3, "i2": 4}
    dims = dims or (*voxels.shape[::-1], *[1] * (4 - voxels.ndim))
    head = bytearray(284)
    struct.pack_into(">6i", head, 0, version, *dims, kinds[voxels.dtype.str[1:]] if type is None else type)
    struct.pack_into(">h3f", head, 28, 1, 0.5, 0.75, 3.0)
    return bytes(head) + stored(voxels, ">") + after


def tiff(
    pages, endian="<", *, big=False, first=True, description=b"", strips=1, gap=0, samples=1, photometric=1,
    compression=1, planar=1, directories=None, offset=None, **changed,
):  # fmt: skip
    """Return a file of pages [z, y, x], or [z, y, x, c].

    Parameters:
        first: whether the directories precede the pixels.
        strips: of a page.
        gap: bytes between pages.
        directories: how many pages have one; all of them unless it is stated.
    """
    depth, rows, columns = pages.shape[:3]
    data = stored(pages, endian)
    length = len(data) // depth
    word, room, entry = ("Q", 8, 20) if big else ("I", 4, 12)
    count = depth if directories is None else directories
    per_strip = -(-rows // strips)  # where that makes as many strips
    names = 13 + bool(description)
    size = (8 if big else 2) + names * entry + room
    extra = 2 * strips * room + 8 * samples + len(description)
    head = 16 if big else 8
    directory = head if first else head + depth * (length + gap) - gap
    pixels = head + count * (size + extra) if first else head
    out = struct.pack(endian + "2sHHHQ", b"II" if endian == "<" else b"MM", 43, 8, 0, directory) if big else (
        struct.pack(endian + "2sHI", b"II" if endian == "<" else b"MM", 42, directory)
    )  # fmt: skip
    tables = b""
    for page in range(count):
        at = directory + page * (size + extra)
        after = at + size
        begin = (pixels if offset is None else offset) + page * (length + gap)
        starts = [begin + strip * per_strip * (length // rows) for strip in range(strips)]
        lengths = [min(begin + length, s + per_strip * (length // rows)) - s for s in starts]
        stated = {"rows": rows, "columns": columns, "bits": 8 * pages.itemsize, **changed}
        values = [
            (256, 4, [stated["columns"]]),
            (257, 4, [stated["rows"]]),
            (258, 3, [stated["bits"]] * samples),
            (259, 3, [compression]),
            (262, 3, [photometric]),
            *([(270, 2, description)] if description else []),
            (273, 16 if big else 4, starts),
            (277, 3, [samples]),
            (278, 3, [per_strip]),
            (279, 16 if big else 4, lengths),
            (284, 3, [planar]),
            (296, 3, [1]),
            (305, 2, b"it\0"),
            (339, 3, ["_uif".index(pages.dtype.kind)] * samples),
        ]
        fields, more = b"", b""
        for tag, kind, value in values:
            packed = value if kind == 2 else struct.pack(f"{endian}{len(value)}{TIFF_TYPES[kind]}", *value)
            where = packed.ljust(room, b"\0")
            if len(packed) > room:
                where = struct.pack(endian + word, after + len(more))
                more += packed
            fields += struct.pack(endian + "HH" + word, tag, kind, len(value)) + where
        following = at + size + extra if page + 1 < count else 0
        table = struct.pack(endian + ("Q" if big else "H"), len(values)) + fields
        table += struct.pack(endian + word, following)
        assert len(table) == size
        tables += table + more.ljust(extra, b"\0")
    body = bytes(max(gap, 0)).join(data[z * length : (z + 1) * length] for z in range(depth))
    return out + (tables + body if first else body + tables)


def tree(folder: Path) -> int:
    """Write some sixty files of all formats that are coded; return how many there are."""
    files: dict[str, bytes] = {}
    for endian, order in (("<", "little"), (">", "big")):
        for kind in NIFTI_TYPES:
            files[f"nifti/{order}-{kind}.nii"] = nifti(picture(kind=kind), endian)
        files[f"nifti/{order}-2.nii"] = nifti(picture(seed=1), endian, version=2)
        files[f"nifti/{order}-2-float.nii"] = nifti(picture(kind="f4", seed=1), endian, version=2)
        files[f"nifti/{order}-times.nii"] = nifti(picture((3, 5, 16, 14), seed=2), endian, after=b"and more")
        files[f"pair/{order}.hdr"] = nifti(picture(seed=3), endian, magic=b"ni1\0")
        files[f"pair/{order}.img"] = stored(picture(seed=3), endian)
        files[f"pair/{order}-analyze.hdr"] = nifti(picture(kind="f4", seed=3), endian, magic=bytes(4))
        files[f"pair/{order}-analyze.img"] = stored(picture(kind="f4", seed=3), endian)
        files[f"nrrd/{order}.nrrd"] = nrrd(picture(seed=4), endian, newline="\r\n")
        files[f"nrrd/{order}-float.nrrd"] = nrrd(picture(kind="f4", seed=4), endian)
        files[f"nrrd/{order}-beside.nhdr"] = nrrd(
            picture(kind="f8", seed=5), endian, fields={"data file": f"{order}-beside.raw", "line skip": 1}
        )
        files[f"nrrd/{order}-beside.raw"] = b"one line\n" + stored(picture(kind="f8", seed=5), endian) + b"end"
        files[f"meta/{order}.mha"] = meta(picture(seed=6), endian)
        files[f"meta/{order}-vectors.mha"] = meta(
            np.stack([picture(kind="f4", seed=7), picture(kind="f4", seed=8), picture(kind="f4", seed=9)], -1),
            endian,
            channels=3,
        )
        files[f"meta/{order}-beside.mhd"] = meta(picture(seed=10), endian, data_file=f"{order}.raw", HeaderSize=-1)
        files[f"meta/{order}.raw"] = b"a head of any length" + stored(picture(seed=10), endian)
        files[f"npy/{order}.npy"] = npy(picture(seed=11).astype(endian + "i2"))
        files[f"npy/{order}-fortran.npy"] = npy(picture(seed=11).astype(endian + "f4"), fortran=True, version=2)
        files[f"tiff/{order}.tif"] = tiff(picture(kind="u2", seed=12), endian)
        files[f"tiff/{order}-big.tif"] = tiff(picture(kind="u1", seed=12), endian, big=True, first=False, strips=3)
        files[f"tiff/{order}-imagej.tif"] = tiff(
            picture(kind="f4", seed=13), endian, directories=1, description=b"ImageJ=1.53\nimages=10\nslices=10\n\0"
        )
    head = struct.pack("<ii", 32, 6) + b"<some xml/>".ljust(24)
    files["nifti/extended.nii"] = nifti(picture(seed=14), extensions=head, between=b"junk" * 9)
    colours = np.stack([picture(kind="u1", seed=15), picture(kind="u1", seed=16), picture(kind="u1", seed=17)], -1)
    files["nifti/rgb.nii"] = nifti(shape=(14, 16, 10), kind="u1", type=128, bits=24, after=colours.tobytes())
    rgba = np.concatenate([colours, colours[..., :1]], -1)
    files["nifti/rgba.nii"] = nifti(shape=(14, 16, 10), kind="u1", type=2304, bits=32, after=rgba.tobytes())
    files["npy/colours.npy"] = npy(colours, version=3)
    files["npy/bool.npy"] = npy(picture() > 500)
    files["npy/half.npy"] = npy(picture(kind="f2"))
    files["tiff/gaps.tif"] = tiff(picture(kind="u2", seed=12), gap=210)
    files["tiff/colours.tif"] = tiff(colours, samples=3, photometric=2)
    files["mgh/float.mgh"] = mgh(picture(kind="f4", seed=18), after=b"tags")
    files["mgh/times.mgh"] = mgh(picture((2, 10, 16, 14), seed=18))
    files["mgh/bytes.mgh"] = mgh(picture(kind="u1", seed=18))
    for number, plane in enumerate(picture(seed=19)):
        files[f"list/{number}.raw"] = stored(plane)
    files["list/list.mhd"] = meta(
        picture(seed=19), data_file="LIST", more="".join(f"{number}.raw\n" for number in range(10))
    )
    for number, plane in enumerate(picture(kind="u2", seed=20)):
        files[f"pattern/slice{number:03}.raw"] = stored(plane)
    files["pattern/pattern.nhdr"] = nrrd(picture(kind="u2", seed=20), fields={"data file": "slice%03d.raw 0 9 1 2"})
    gradients = np.stack([picture(kind="i2", seed=seed) for seed in range(9)], -1)
    files["nrrd/gradients.nrrd"] = nrrd(gradients, kinds="list domain domain domain")
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return len(files)
