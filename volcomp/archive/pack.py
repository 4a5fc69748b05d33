"""Files -> `.vcz`: images become volumes, everything else is kept whole; verified before the output gets its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..container import BLOB, Reader, SectionId, Writer
from ..errors import DamagedError, UnsupportedError, VerificationError
from ..formats.dicom import Image, read_image
from ..formats.series import volumes
from ..progress import progress_bar
from ..volume import EFFORT, Progress, check_effort, progress_of, write_volume
from .files import check_target, new_file
from .kept import MAX_RECORD_BYTES, KeptWriter
from .manifest import Entry, Manifest, write_manifest
from .packing import CHUNK_BYTES, pack_blob
from .restore import verify_open
from .tree import Source, Tree, collect, source_errors


@dataclass(frozen=True)
class Summary:
    """What was done, for the final line."""

    files: int
    raw_bytes: int
    packed_bytes: int
    voxels: int
    voxel_bits: float  # bits per voxel of headers and slabs; 0 without voxels


def compress(
    inputs: list[Path],
    output: Path,
    *,
    model: str = "base",
    threads: int | None = None,
    device: str = "auto",
    effort: int = EFFORT,
    check: bool = True,
    force: bool = False,
) -> Summary:
    """Archive folders and files. Raises TargetError, UnsupportedError (unreadable inputs), VerificationError."""
    check_effort(effort)
    check_target(output, force=force)
    tree = collect(inputs)
    if any(source.path.resolve() == output.resolve() for source in tree.files):
        raise UnsupportedError(f"{output} is itself among the files to archive; write it elsewhere with -o")
    stacks = volumes(_images(tree.files))
    with new_file(output, force=force) as (file, temporary):
        packer = _Packer(Writer(file))
        sizes = [sum(image.rows * image.columns * image.frames for image in stack) for stack in stacks]
        voxels = sum(sizes)
        label = "compressing" if effort <= EFFORT else "fitting, compressing"
        with progress_bar(label, sum(progress_of(size, effort) for size in sizes)) as progress:
            for stack in stacks:
                packer.add_volume(stack, model, threads, device, effort, progress)
        coded = {image.name for stack in stacks for image in stack}
        packer.finish(tree, [source for source in tree.files if source.name not in coded])
        file.close()
        if check:
            try:
                with temporary.open("rb") as written:
                    verify_open(Reader(written), threads=threads, device=device)
            except DamagedError as error:
                raise VerificationError(
                    f"what was coded does not decode to what was read, so nothing was written: {error}"
                ) from error
        size = temporary.stat().st_size
    return Summary(len(tree.files), packer.raw_bytes, size, voxels, 8 * packer.volume_bytes / max(voxels, 1))


def _images(sources: list[Source]) -> Iterator[Image]:
    """The files with native greyscale pixels, save those with more around the pixels than one KEEP section takes."""
    for source in sources:
        with source_errors(source.path):
            image = read_image(source.path, source.name)
        if image and image.size - image.pixel_bytes <= MAX_RECORD_BYTES:
            yield image


class _Packer:
    """Writes the sections of one archive and gathers its manifest."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._kept = KeptWriter(writer)
        self._volumes: list[list[Entry]] = []
        self.raw_bytes = 0  # of all files read
        self.volume_bytes = 0  # of VHDR and SLAB sections

    def add_volume(
        self, stack: list[Image], model: str, threads: int | None, device: str, effort: int, progress: Progress
    ) -> None:
        """Read the images of one volume, code their voxels and keep the bytes around them."""
        wide = stack[0].bits == 16
        slices = sum(image.frames for image in stack)
        voxels = np.empty((slices, stack[0].rows, stack[0].columns), "<u2" if wide else "u1")  # [Z, Y, X]
        entries, first = [], 0
        for image in stack:
            frames = voxels[first : first + image.frames]
            entries.append(self._read(image, frames))
            if wide and image.big_endian:
                frames.byteswap(inplace=True)
            first += image.frames
        start = self._writer.size
        write_volume(
            self._writer,
            len(self._volumes),
            _interpreted(voxels, stack[0].signed),
            model=model,
            threads=threads,
            device=device,
            effort=effort,
            progress=progress,
        )
        self.volume_bytes += self._writer.size - start
        self._volumes.append(entries)
        self._kept.end_volume()

    def _read(self, image: Image, frames: np.ndarray) -> Entry:
        """Read a file once: its pixels into `frames`, the rest to the kept bytes, all of it into its SHA-256."""
        pixels = frames.view(np.uint8).reshape(-1).data
        with source_errors(image.path), image.path.open("rb") as file:
            before = file.read(image.start)
            count = file.readinto(pixels)
            after = file.read(image.size)
        size = len(before) + count + len(after)
        if size != image.size or count != len(pixels):
            raise UnsupportedError(f"{image.path} changed while it was being read; try again when it is at rest")
        sha = hashlib.sha256(before)
        sha.update(pixels)
        sha.update(after)
        self.raw_bytes += size
        self._kept.add(before, after)
        return Entry(image.name, size, sha.digest(), image.frames, len(before), image.big_endian and image.bits == 16)

    def finish(self, tree: Tree, whole: list[Source]) -> None:
        """Keep the files that are no volumes, then write manifest and index."""
        self._kept.flush()
        entries = self._add_blobs(whole)
        write_manifest(self._writer, Manifest(tree.root, self._volumes, self._kept.records, entries, tree.folders))
        self._writer.finish()

    def _add_blobs(self, sources: list[Source]) -> list[Entry]:
        """Store files one after another in BLOB sections of CHUNK_BYTES raw; a large file spans several."""
        entries: list[Entry] = []
        chunk, number = bytearray(), 0
        for source in sources:
            sha, size = hashlib.sha256(), 0
            with source_errors(source.path), source.path.open("rb") as file:
                while piece := file.read(min(1 << 20, CHUNK_BYTES - len(chunk))):
                    sha.update(piece)
                    size += len(piece)
                    chunk += piece
                    if len(chunk) == CHUNK_BYTES:
                        self._writer.add(SectionId(BLOB, number), pack_blob(bytes(chunk)))
                        chunk, number = bytearray(), number + 1
            self.raw_bytes += size
            entries.append(Entry(source.name, size, sha.digest()))
        if chunk:
            self._writer.add(SectionId(BLOB, number), pack_blob(bytes(chunk)))
        return entries


def _interpreted(words: np.ndarray, signed: bool) -> np.ndarray:
    """The words as signed or unsigned, whichever has the smaller range of values; on a tie as the header says.

    Where unused bits hold rubbish, or a writer has not extended the sign, the header's type may span far more values.
    """
    other = words.view(words.dtype.str.replace("u", "i"))
    ranges = {array.dtype.kind: int(array.max()) - int(array.min()) for array in (words, other)}
    use_signed = ranges["i"] < ranges["u"] or (ranges["i"] == ranges["u"] and signed)
    return other if use_signed else words
