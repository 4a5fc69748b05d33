#!/usr/bin/env bash
# pydicom reads a file whose transfer syntax is newer than its dictionary, and cannot save it: JPEG XL, Deflated Image
# Frame.
#
# Versions   pydicom 3.0.2, imagecodecs 2026.3.6, numpy 2.4.6, Python 3.11
# Expected   A file that was read can be saved with another name of the patient, say, as the frames need not be decoded:
#            so it is for private transfer syntaxes, whose UID pydicom cannot know either.
# Seen       ValueError, the transfer syntax is "not a valid transfer syntax", for those that PS3.5 has since 2024.
#            Stating implicit_vr and little_endian does not help. After register_transfer_syntax, which is for private
#            ones, the file cannot even be read. write_file_meta_info and write_dataset, which make the file here, do
#            save it.
#
#     1.2.840.10008.1.2.4.110    JPEG XL Lossless            read, ValueError when saved
#     1.2.840.10008.1.2.4.111    JPEG XL recompressed        read, ValueError when saved
#     1.2.840.10008.1.2.4.112    JPEG XL                     read, ValueError when saved
#     1.2.840.10008.1.2.8.1      Deflated Image Frame        read, ValueError when saved
#     1.2.840.10008.1.2.4.201    HTJ2K Lossless              read, saved
#     2.25.1234567890123456789   a private one               read, saved
#     1.2.840.10008.1.2.4.110    JPEG XL Lossless            registered: ValueError when read
#
# Fails when any of this changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pydicom==3.0.2 imagecodecs==2026.3.6 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'END'
import io
import zlib

import imagecodecs
import numpy as np
from pydicom import DataElement, Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import SecondaryCaptureImageStorage, generate_uid, register_transfer_syntax

image = (np.arange(64 * 64).reshape(64, 64) % 251).astype(np.uint8)


def deflate(samples):
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(samples.tobytes()) + engine.flush()


def written(syntax, frame):
    data = Dataset()
    data.SOPClassUID = SecondaryCaptureImageStorage
    data.SOPInstanceUID = generate_uid()
    data.PatientName = "One"
    data.Rows, data.Columns = image.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 8, 8, 7
    data["PixelData"] = DataElement(0x7FE00010, "OB", encapsulate([frame]))
    data["PixelData"].is_undefined_length = True
    meta = Dataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = data.SOPClassUID, data.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    file.write(bytes(128) + b"DICM")
    write_file_meta_info(file, meta)
    write_dataset(file, data)
    return file.getvalue()


lossless, lossy = imagecodecs.jpegxl_encode(image, lossless=True), imagecodecs.jpegxl_encode(image, lossless=False)
assert np.array_equal(imagecodecs.jpegxl_decode(lossless), image)
recompressed = imagecodecs.jpegxl_encode_jpeg(imagecodecs.jpeg8_encode(image))
assert imagecodecs.jpegxl_decode(recompressed).shape == image.shape
htj2k = imagecodecs.htj2k_encode(image)
for uid, name, frame, can in (
    ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless", lossless, False),
    ("1.2.840.10008.1.2.4.111", "JPEG XL recompressed", recompressed, False),
    ("1.2.840.10008.1.2.4.112", "JPEG XL", lossy, False),
    ("1.2.840.10008.1.2.8.1", "Deflated Image Frame", deflate(image), False),
    ("1.2.840.10008.1.2.4.201", "HTJ2K Lossless", htj2k, True),
    ("2.25.1234567890123456789", "a private one", deflate(image), True),
):
    data = dcmread(io.BytesIO(written(uid, frame)))
    assert next(generate_frames(data.PixelData, number_of_frames=1)).startswith(frame)
    data.PatientName = "Two"
    for more in ({}, {"implicit_vr": False, "little_endian": True}):
        try:
            data.save_as(io.BytesIO(), **more)
            result = "saved"
        except ValueError as error:
            assert "not a valid transfer syntax" in str(error), error
            result = "ValueError when saved"
        assert (result == "saved") == can, (uid, more, result)
    print(f"{uid:27}{name:28}read, {result}")
register_transfer_syntax("1.2.840.10008.1.2.4.110", implicit_vr=False, little_endian=True)
try:
    dcmread(io.BytesIO(written("1.2.840.10008.1.2.4.110", lossless)))
    raise SystemExit("a registered transfer syntax is read now")
except ValueError as error:
    assert "not a transfer syntax" in str(error), error
print("1.2.840.10008.1.2.4.110    JPEG XL Lossless            registered: ValueError when read")
END
