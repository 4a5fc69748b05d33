"""Files -> `.vcz`: images become volumes, everything else is kept whole; verified before the output gets its name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..container.sections import BLOB, Reader, SectionId, Writer
from ..errors import DamagedError, UnsupportedError, VerificationError
from ..formats.dicom import Image, read_image
from ..formats.series import volumes
from ..options import EFFORT, MODEL
from ..progress import progress_bar
from ..codec.volumes import Progress, check_effort, progress_of, write_volume
from .files import check_target, new_file
from .header_writer import MAX_RECORD_BYTES, KeptWriter
from .manifest import Entry, Manifest, write_manifest
from .bytes_codec import CHUNK_BYTES, pack_blob
from .restore import verify_images, verify_rest
from .stack import Around, Stack
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
    model: str = MODEL,
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
        packer = _Packer(Writer(file), check)
        sizes = [sum(image.rows * image.columns * image.frames for image in stack) for stack in stacks]
        voxels = sum(sizes)
        label = ("compressing" if effort <= EFFORT else "fitting, compressing") + (", verifying" if check else "")
        work = sum(progress_of(size, effort) + size * check for size in sizes)
        try:
            with progress_bar(label, work) as progress:
                for stack in stacks:
                    packer.add_volume(stack, model, threads, device, effort, progress)
            coded = {image.name for stack in stacks for image in stack}
            packer.finish(tree, [source for source in tree.files if source.name not in coded])
            file.close()
            if check:
                with temporary.open("rb") as written:
                    packer.verify(Reader(written))
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
    """Writes the sections of one archive, gathers its manifest, and with `check` what a verification goes by."""

    def __init__(self, writer: Writer, check: bool) -> None:
        self._writer, self._check = writer, check
        self._kept = KeptWriter(writer)
        self._manifest = Manifest("", [], [], [], [])
        self._records: list[bytes] = []  # SHA-256 of the bytes around every image's pixels
        self.raw_bytes = 0  # of all files read
        self.volume_bytes = 0  # of VHDR and SLAB sections

    def add_volume(
        self, images: list[Image], model: str, threads: int | None, device: str, effort: int, progress: Progress
    ) -> None:
        """Keep the bytes around the pixels of one volume's images and code their voxels, slab by slab, each of which is
        verified while others are still being coded."""
        stack, entries = Stack(images), []
        around: list[Around] = []  # as long as the images are verified
        for entry, (before, after) in stack.files():
            self._kept.add(before, after)
            self.raw_bytes += entry.size
            entries.append(entry)
            if self._check:
                around.append((before, after))
                self._records.append(hashlib.sha256(before + after).digest())
        start = self._writer.size
        volume, slabs = write_volume(
            self._writer,
            len(self._manifest.volumes),
            stack,
            model=model,
            threads=threads,
            device=device,
            effort=effort,
            progress=progress,
            check=self._check,
        )
        with closing(slabs):
            if self._check:
                verify_images(volume, entries, around, slabs)
            for _ in slabs:
                pass
        self.volume_bytes += self._writer.size - start
        self._manifest.volumes.append(entries)
        self._kept.end_volume()

    def finish(self, tree: Tree, whole: list[Source]) -> None:
        """Keep the files that are no volumes, then write manifest and index."""
        self._kept.flush()
        entries = self._add_blobs(whole)
        self._manifest = Manifest(tree.root, self._manifest.volumes, self._kept.records, entries, tree.folders)
        write_manifest(self._writer, self._manifest)
        self._writer.finish()

    def verify(self, reader: Reader) -> None:
        """Raise DamagedError where the finished archive does not hold what was written and verified."""
        verify_rest(reader, self._writer.digests, self._manifest, self._records)

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
