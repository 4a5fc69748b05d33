"""A chest CT that nobody had to be scanned for: the scene of `make demo`, as a series of DICOM files.

Noise decides how well a CT compresses, so it is made as a scanner makes it: exact line integrals through ellipses,
photon noise on every ray, a smoothing kernel, filtered back-projection (A. C. Kak and M. Slaney, "Principles of
Computerized Tomographic Imaging", 1988, chapter 3). That gives what white noise on a picture lacks: texture across
neighbouring voxels, and streaks along the directions in which the body is thick.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

FIELD_OF_VIEW = 360.0  # mm, the circle that is reconstructed
THICKNESS = 2.5  # mm between slices
WATER = 0.0193  # attenuation per mm at 70 keV
PHOTONS = 8e4  # per ray; leaves a noise of some 15 HU at the centre of the body, as a routine chest CT has
INTERCEPT = -1024  # stored value 0, in HU

# x, y: centre in mm from the axis, y downwards; a, b: half axes in mm; turn in radians; HU added to what is there
Ellipse = tuple[float, float, float, float, float, float]


def scan(slices: int = 24, size: int = 256, seed: int = 1) -> np.ndarray:
    """Stored values of the phantom: uint16 [slices, size, size], 12 bits in use, 0 outside of the circle.

    The same arguments give the same voxels, on one machine: the reconstruction is in floating point.
    """
    random = np.random.default_rng(seed)
    views, rays = 3 * size // 2, 2 * size
    angles = np.arange(views) * np.pi / views
    spacing = FIELD_OF_VIEW * 1.1 / rays  # the fan is a little wider than the circle, so that no edge is cut
    offsets = (np.arange(rays) - (rays - 1) / 2) * spacing
    chest = _chest(slices, random)
    integrals = np.stack([_project(ellipses, angles, offsets) for ellipses in chest], axis=-1)
    image = _reconstruct(_expose(integrals, random), angles, spacing, size)
    hounsfield = 1000 * (image / WATER - 1)
    stored = np.clip(np.rint(hounsfield) - INTERCEPT, 0, 4095)
    stored[_distance(size) > FIELD_OF_VIEW / 2] = 0
    return np.ascontiguousarray(np.moveaxis(stored, -1, 0).astype(np.uint16))


def write(folder: Path, volume: np.ndarray) -> None:
    """Write a volume [Z, Y, X] of uint16 as a CT series, one DICOM file per slice, private elements and all."""
    folder.mkdir(parents=True, exist_ok=True)
    for place, pixels in enumerate(volume):
        _slice(place, pixels).save_as(folder / f"IM{place + 1:04d}", enforce_file_format=True)


def _chest(slices: int, random: np.random.Generator) -> list[list[Ellipse]]:
    """The ellipses of each slice: body, lungs, heart, bones, table, and vessels that wander from slice to slice."""
    vessels = random.uniform([-1, -1, 0.8, -1, -1], [1, 1, 3.5, 1, 1], (60, 5))  # x, y, radius, and drift along z
    chest = []
    for place in np.arange(slices) * THICKNESS:
        breath = 1 + 0.0015 * place  # the lungs grow downwards
        ellipses: list[Ellipse] = [
            (0, 0, 165, 112, 0, 900),  # skin and fat, in air
            (0, 0, 148, 95, 0, 150),  # muscle
            (-74, -2, 46 * breath, 62 * breath, 0.08, -900),  # right lung
            (78, 4, 42 * breath, 58 * breath, -0.08, -900),  # left lung
            (6, -32, 20, 30, 0.4, 120),  # heart, contrast agent in its blood
            (16, 38, 11, 11, 0, 170),  # aorta
            (-2, 2, 8, 7, 0, -1040),  # windpipe
            (0, 70, 19, 15, 0, 330),  # vertebra
            (0, 70, 15, 11, 0, -180),  # its spongy inside
            (0, 91, 9, 8, 0, -20),  # spinal canal
            (0, 145, 190, 9, 0, 120),  # table
            (0, 145, 187, 6, 0, -90),  # foam in it
        ]
        for rib in np.arange(12) * np.pi / 6 + 0.01 * place:
            ellipses.append((137 * np.cos(rib), 86 * np.sin(rib), 10, 4.5, rib + 1.57, 650))
        for x, y, radius, along_x, along_y in vessels:
            side = -74 if along_x < 0 else 78
            centre = (side + 27 * x + 0.1 * place * along_x, 40 * y + 0.1 * place * along_y)
            ellipses.append((*centre, radius, radius * (1 + abs(along_y)), x, 850))
        chest.append(ellipses)
    return chest


def _project(ellipses: list[Ellipse], angles: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Exact line integrals of the attenuation: [views, rays] (Kak and Slaney, section 3.1, equations 3 to 8)."""
    total = np.zeros((len(angles), len(offsets)))
    for x, y, a, b, turn, hounsfield in ellipses:
        squared = (a * np.cos(angles - turn)) ** 2 + (b * np.sin(angles - turn)) ** 2
        beside = offsets - (x * np.cos(angles) + y * np.sin(angles))[:, None]  # of the ellipse's centre
        chord = 2 * a * b * np.sqrt(np.maximum(squared[:, None] - beside**2, 0)) / squared[:, None]
        total += WATER * hounsfield / 1000 * chord
    return total


def _expose(integrals: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """What a detector makes of line integrals [views, rays, slices]: photon noise, mixed over neighbouring slices."""
    noise = random.standard_normal(integrals.shape) * np.exp(integrals / 2) / np.sqrt(PHOTONS)
    measured = integrals + noise
    wide = np.pad(measured, ((0, 0), (0, 0), (1, 1)), mode="edge")
    return 0.25 * wide[:, :, :-2] + 0.5 * measured + 0.25 * wide[:, :, 2:]  # a slice is thicker than their distance


def _reconstruct(integrals: np.ndarray, angles: np.ndarray, spacing: float, size: int) -> np.ndarray:
    """Filtered back-projection of [views, rays, slices] to attenuation per mm: float32 [size, size, slices]."""
    views, rays, slices = integrals.shape
    tap = np.fft.fftfreq(2 * rays, 1 / (2 * rays))  # 0, 1, …, −1: twice the rays, so that nothing wraps around
    ramp = np.where(tap % 2 == 0, 0, -1 / (np.pi * np.where(tap == 0, 1, tap)) ** 2)  # section 3.3, equation 61
    ramp[0] = 1 / 4
    softening = np.cos(np.linspace(0, np.pi / 2, rays + 1)) ** 2  # Hann: an image without edge enhancement
    kernel = np.fft.rfft(ramp).real * softening / spacing  # per mm
    spectrum = np.fft.rfft(integrals, 2 * rays, axis=1) * kernel[:, None]
    filtered = np.fft.irfft(spectrum, axis=1)[:, :rays].astype(np.float32)
    across = ((np.arange(size) - (size - 1) / 2) * FIELD_OF_VIEW / size).astype(np.float32)  # mm
    image = np.zeros((size, size, slices), np.float32)
    for view, angle in zip(filtered, angles, strict=True):
        ray = (across * np.cos(angle) + across[:, None] * np.sin(angle)) / spacing + (rays - 1) / 2
        lower = np.clip(ray.astype(np.intp), 0, rays - 2)
        between = np.clip(ray - lower, 0, 1).astype(np.float32)[..., None]
        image += view[lower] * (1 - between) + view[lower + 1] * between
    return image * (np.pi / views)


def _distance(size: int) -> np.ndarray:
    """Millimetres from the axis: [size, size]."""
    across = (np.arange(size) - (size - 1) / 2) * FIELD_OF_VIEW / size
    return np.hypot(across, across[:, None])


def _slice(place: int, pixels: np.ndarray) -> Dataset:
    """One slice as a CT image; nothing in it depends on the clock."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=["volcomp phantom", str(place)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = Dataset()
    image.file_meta = meta
    image.SOPClassUID, image.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    image.StudyInstanceUID = generate_uid(entropy_srcs=["volcomp phantom", "study"])
    image.SeriesInstanceUID = generate_uid(entropy_srcs=["volcomp phantom", "series"])
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    image.Modality, image.Manufacturer, image.ConvolutionKernel = "CT", "volcomp phantom", "HANN"
    image.PatientName, image.PatientID = "Phantom^Chest", "PHANTOM"
    image.StudyDate, image.SeriesNumber, image.InstanceNumber = "20000101", 1, place + 1
    image.SliceThickness = THICKNESS
    image.ImagePositionPatient = [-FIELD_OF_VIEW / 2, -FIELD_OF_VIEW / 2, -place * THICKNESS]
    image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    image.Rows, image.Columns = pixels.shape
    image.PixelSpacing = [FIELD_OF_VIEW / size for size in pixels.shape]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PixelPaddingValue = 0
    image.RescaleIntercept, image.RescaleSlope = INTERCEPT, 1
    block = image.private_block(0x0029, "VOLCOMP PHANTOM", create=True)
    block.add_new(0x10, "DS", f"{PHOTONS:.0f}")
    block.add_new(0x20, "OB", bytes(range(256)))
    image.PixelData = pixels.astype("<u2").tobytes()
    return image
