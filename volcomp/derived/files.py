"""Derive a tree of files: those whose voxels a user lets differ are written anew, all others stay as they are.

The derived files lie in a temporary folder while the archive is made of them. Each is read again, and its voxels are
compared with those of the original: none may differ by more than the bound.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .. import arrays
from ..archive.files import target_errors
from ..archive.tree import Item, Tree
from ..container.losses import Loss
from ..dtypes import Bools, Integers
from ..errors import UnsupportedError, VerificationError
from ..formats.dicom import DICOM
from ..formats.protocol import Image
from ..formats.series import volumes
from ..options import EncodeOptions
from ..progress import progress_bar
from ..wording import spelled
from . import dicom, plain
from .bound import bounded
from .region import Region
from .voxels import headers_of, image_of, inflated, voxels_of

_MOST_ERROR = 1 << 14  # grey levels
_SAMPLE_SLICES = 8  # in the middle of a series, by which its ratio is stated


@dataclass(frozen=True)
class Allowed:
    """What a user allows.

    max_error   grey levels by which a stored voxel may differ
    region      voxels that stay as they are
    dicom       whether images in DICOM files may become new instances
    """

    max_error: int
    region: Region | None = None
    dicom: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.max_error <= _MOST_ERROR:
            raise UnsupportedError(
                f"a largest error of {self.max_error} was given; 1 to {_MOST_ERROR} grey levels are possible"
            )


@dataclass
class Derived:
    """A tree with derived files."""

    tree: Tree
    losses: list[Loss]
    exact: list[str] = field(default_factory=list)  # names of images that stay as they are, since they cannot change
    warnings: list[str] = field(default_factory=list)


@contextmanager
def derived(tree: Tree, allowed: Allowed, options: EncodeOptions) -> Iterator[Derived]:
    """Derive the files of a tree; they are there inside the block.

    Raises:
        UnsupportedError: for a DICOM image where that is not allowed, a region that does not fit, or an input that
            cannot be read.
        TargetError: where there is no room for temporary files.
        VerificationError: where a derived file is not within the bound.
    """
    with tempfile.TemporaryDirectory(prefix="volcomp-") as folder:
        work = _Work(tree, allowed, options, Path(folder))
        yield work.done()


class _Work:
    """Derives the files of one tree into a folder."""

    def __init__(self, tree: Tree, allowed: Allowed, options: EncodeOptions, folder: Path) -> None:
        self._tree, self._allowed, self._options, self._folder = tree, allowed, options, folder
        self._items = {item.name: item for item in tree.files}
        self._paths: dict[str, Path] = {}  # of derived files, by name
        self._exact: list[str] = []
        self._beyond: dict[str, tuple[float, float]] = {}  # modality: ratio that is agreed on, largest ratio

    def done(self) -> Derived:
        """Derive all files."""
        images = [image for item in self._tree.files if (image := image_of(item.path, item.name))]
        self._refuse(images)
        stacks = volumes(images)
        with progress_bar("changing voxels", sum(len(stack) for stack in stacks), "files") as progress:
            for stack in stacks:
                self._derive(stack)
                progress(len(stack))
        region = str(self._allowed.region or "")
        losses = [Loss(len(self._paths), self._allowed.max_error, region)] if self._paths else []
        return Derived(self._derived_tree(), losses, self._exact, self._warnings())

    def _derived_tree(self) -> Tree:
        def changed(item: Item) -> Item:
            return replace(item, path=self._paths.get(item.name, item.path))

        return replace(self._tree, items=[changed(item) for item in self._tree.items])

    def _warnings(self) -> list[str]:
        return [
            f"{modality} is coded at {ratio:.1f}:1, and {dicom.CONSENSUS} agrees to {agreed:g}:1 at most"
            for modality, (agreed, ratio) in sorted(self._beyond.items())
        ]

    def _refuse(self, images: Sequence[Image]) -> None:
        first = next((image for image in images if image.format is DICOM), None)
        if first and not self._allowed.dicom:
            raise UnsupportedError(
                f"{first.path} is a DICOM image, whose voxels would change; allow it ({spelled('lossy=True')}): the "
                "archive then gets new instances, marked as lossy, in place of such images"
            )

    def _derive(self, stack: Sequence[Image]) -> None:
        """Derive the images of a volume."""
        depth, first = sum(image.frames for image in stack), 0
        ratio = None
        for image in stack:
            inside = self._inside(image, depth, first)
            first += image.frames
            if image.format is DICOM:
                ratio = ratio or self._ratio(stack)
                self._derive_instance(image, inside, ratio)
            else:
                self._derive_plain(image, inside)

    def _inside(self, image: Image, depth: int, first: int) -> Bools | None:
        """Return which voxels of an image must stay."""
        region = self._allowed.region
        if region is None:
            return None
        slices, times = image.frames // image.times, image.times
        if times > 1:
            return np.concatenate([region.inside((slices, image.rows, image.columns), 0, slices)] * times)
        return region.inside((depth, image.rows, image.columns), first, first + image.frames)

    def _derive_instance(self, image: Image, inside: Bools | None, ratio: float) -> None:
        dataset, voxels = dicom.read(image.path), voxels_of(image)
        if dataset is None or voxels is None:
            self._exact.append(image.name)
            return
        exact, padding = _for_components(inside, voxels), dicom.padding(dataset, voxels)
        near = self._near(voxels, image.stored, _either(exact, padding))
        if (now := dicom.padding(dataset, near)) is not None:
            near = np.where(now, voxels, near)  # no other voxel becomes padding
        agreed, modality = dicom.agreed_ratio(dataset), str(dataset.get("Modality", ""))
        if agreed is not None and ratio > agreed:
            self._beyond[modality] = agreed, max(ratio, self._beyond.get(modality, (0.0, 0.0))[1])
        target = self._target(image.name)
        with target_errors(self._folder):
            dicom.write(
                dataset, near, dicom.Change(self._allowed.max_error, str(self._allowed.region or ""), ratio), target
            )
        self._check(image.name, image_of(target, image.name), voxels, near)

    def _derive_plain(self, image: Image, inside: Bools | None) -> None:
        with inflated(image.path) as (path, compressed):
            given = image_of(path, image.name.removesuffix(".gz")) if compressed else image
            voxels = voxels_of(given) if given and plain.is_replaceable(given) else None
            if given is None or voxels is None:
                self._exact.append(image.name)
                return
            # A header may state a least and a greatest value, as that of PGM does: none leaves those of the file.
            near = bounded(voxels, self._allowed.max_error, int(voxels.min()), int(voxels.max()), inside)
            with target_errors(self._folder):
                target = self._target(image.name, headers_of(image))
                plain.write(given, near, target, compressed=compressed)
            with inflated(target) as (written, _):
                self._check(image.name, image_of(written, given.name), voxels, near)

    def _near(self, voxels: Integers, stored: int, exact: Bools | None) -> Integers:
        kind = np.iinfo(voxels.dtype)
        least, most = kind.min, kind.max
        if 0 < stored < kind.bits:
            least, most = (-(1 << stored - 1), (1 << stored - 1) - 1) if kind.min else (0, (1 << stored) - 1)
        return bounded(voxels, self._allowed.max_error, least, most, exact)

    def _target(self, name: str, headers: Sequence[Path] = ()) -> Path:
        """Return the path of a derived file. Of one with `headers` it has these beside it, and its name."""
        path = self._folder / str(len(self._paths) + len(self._exact))
        if headers:
            path.mkdir()
            for header in headers:
                (path / header.name).symlink_to(header.absolute())
            path /= name.rpartition("/")[2]
        self._paths[name] = path
        return path

    def _check(self, name: str, written: Image | None, voxels: Integers, near: Integers) -> None:
        """Compare what a written file must hold with the bound; the original stays where the file holds something
        else, as where a header and a compressed stream disagree on the sign."""
        again = voxels_of(written) if written else None
        if np.abs(near.astype(np.int32) - voxels).max(initial=0) > self._allowed.max_error:
            raise VerificationError(f"{name} cannot be written with voxels within {self._allowed.max_error} of its own")
        if again is None or again.dtype != near.dtype or not np.array_equal(again, near):
            del self._paths[name]
            self._exact.append(name)

    def _ratio(self, stack: Sequence[Image]) -> float:
        """Return about how many times larger the pixels are than what they become, by slices in the middle."""
        sample: list[Integers] = []
        for image in stack[max(0, len(stack) // 2 - _SAMPLE_SLICES // 2) :]:
            voxels = voxels_of(image)
            if voxels is None or len(sample) >= _SAMPLE_SLICES:
                break
            of_one = voxels if voxels.ndim == 3 else voxels[..., 1]
            middle = max(0, len(of_one) // 2 - _SAMPLE_SLICES // 2)
            sample += list(self._near(of_one[middle : middle + _SAMPLE_SLICES], image.stored, None))
        if not sample:
            return 1.0
        pixels = np.stack(sample[:_SAMPLE_SLICES])
        model, threads = self._options.model, self._options.threads
        return pixels.nbytes / len(arrays.compress(pixels, model, effort=1, verify=False, threads=threads))


def _for_components(inside: Bools | None, voxels: Integers) -> Bools | None:
    """Give a region [z, Y, X] the components of the voxels."""
    return inside[..., None] if inside is not None and voxels.ndim == 4 else inside


def _either(one: Bools | None, other: Bools | None) -> Bools | None:
    return other if one is None else one if other is None else one | other
