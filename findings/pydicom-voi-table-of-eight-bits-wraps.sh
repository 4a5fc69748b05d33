#!/usr/bin/env bash
# pydicom's apply_voi_lut takes a value modulo 256 where the entries of the table have 8 bits, however many there are.
#
# Versions   pydicom 3.0.2, numpy 2.4.6, Python 3.11
# Expected   Entry number value − first, as for tables of 10 to 16 bits, as apply_modality_lut gives for the same table,
#            and as PS3.3, C.11.2.1.1 says: the number of entries and their bits are stated apart.
# Seen       No error. The place in the table is held in the type of the entries, uint8: of 4096 entries the first 256
#            are used, again and again, and a picture has contours where it should be smooth. Entries of 8 bits in OW,
#            which the standard packs two to a word, raise struct.error, as twice the bytes are read.
#
#      value    pydicom    entry
#          0          0        0
#        255         15       15
#        256          0       16
#       2048          0      128
#       4095         15      255
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import struct

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

table = (np.arange(4096) // 16).astype(np.uint16)


def header(bits, vr, entries):
    item = Dataset()
    item.add_new(0x00283002, "US", [4096, 0, bits])
    item.add_new(0x00283006, vr, entries)
    item.ModalityLUTType = "US"
    data = Dataset()
    data.ensure_file_meta()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.VOILUTSequence = data.ModalityLUTSequence = Sequence([item])
    return data


values = np.array([0, 255, 256, 2048, 4095], np.uint16)
narrow, wide = header(8, "US", table.tolist()), header(16, "US", table.tolist())
found = apply_voi_lut(values, narrow)
print("value    pydicom    entry")
for value, seen, entry in zip(values, found, table[values]):
    print(f"{value:>5}    {seen:>7}    {entry:>5}")
assert np.array_equal(found, table[values % 256])
assert np.array_equal(apply_modality_lut(values, narrow), table[values])
assert np.array_equal(apply_voi_lut(values, wide), table[values])
try:
    apply_voi_lut(values, header(8, "OW", table.astype(np.uint8).tobytes()))
    raise AssertionError("packed entries are read")
except struct.error:
    pass
END
