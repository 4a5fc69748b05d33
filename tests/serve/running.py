"""A server of uvicorn in a thread, at a free port of this machine; and small DICOM files."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import uvicorn
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from volcomp.serve.app import HttpServer, application
from volcomp.serve.security.audit import Audit
from volcomp.serve.security.keys import Keys
from volcomp.serve.settings import Settings

WAIT = 900  # seconds that no test comes near


@contextmanager
def served(store: Any, inbox: Any, settings: Settings) -> Iterator[str]:
    """Serve while the block runs; the URL, without a slash at its end."""
    ready = threading.Event()

    audit = Audit(settings.audit) if settings.audit else None
    app = application(store, inbox, settings, Keys(settings), audit)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False, lifespan="on", ws="none")
    server = HttpServer(config, ready.set)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert ready.wait(WAIT) and server.started
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(WAIT)
        assert not thread.is_alive()


def settings(root: Path, **changes: Any) -> Settings:
    """Settings of a server of a folder."""
    return replace(Settings(root, port=0), **changes)


def dataset(
    pixels: np.ndarray | None, study: str = "1.2.3", series: str = "1.2.3.1", number: int = 1, **more: Any
) -> Any:
    """A small image [y, x], [frames, y, x] or, of u1, [y, x, 3]; or what has no pixels."""
    made = pydicom.Dataset()
    made.file_meta, made.preamble = FileMetaDataset(), bytes(128)
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = CTImageStorage
    uid = generate_uid(entropy_srcs=[study, series, str(number)])
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = uid
    made.StudyInstanceUID, made.SeriesInstanceUID, made.InstanceNumber = study, series, number
    made.PatientName, made.PatientID, made.StudyDate, made.Modality = "Doe^Jane", "P1", "20200102", "CT"
    if pixels is not None:
        colours = pixels.ndim == 3 and pixels.shape[-1] == 3
        made.SamplesPerPixel = 3 if colours else 1
        made.PhotometricInterpretation = "RGB" if colours else "MONOCHROME2"
        made.Rows, made.Columns = pixels.shape[:2] if colours else pixels.shape[-2:]
        if colours:
            made.PlanarConfiguration = 0
        elif pixels.ndim == 3:
            made.NumberOfFrames = len(pixels)
        bits = 8 * pixels.dtype.itemsize
        made.BitsAllocated, made.BitsStored, made.HighBit = bits, bits, bits - 1
        made.PixelRepresentation = int(pixels.dtype.kind == "i")
        data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
        made.add_new("PixelData", "OW" if bits == 16 else "OB", data + b"\0" * (len(data) % 2))
    for name, value in more.items():
        setattr(made, name, value)
    return made


def written(made: Any) -> bytes:
    """The file of a dataset."""
    file = BytesIO()
    syntax = made.file_meta.TransferSyntaxUID
    made.save_as(
        file, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian, enforce_file_format=True
    )
    return file.getvalue()
