"""Encode files as a `.vcz`: images become volumes, other files are kept whole. The output is verified, then named."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from ..codec.decode import Progress
from ..codec.encode import progress_of, write_volume
from ..constants import EFFORT
from ..container.sections import BLOB, Reader, SectionId, Writer
from ..errors import DamagedError, UnsupportedError, VerificationError
from ..formats.protocol import Image
from ..formats.registry import read_image
from ..formats.series import volumes
from ..options import ENCODING, EncodeOptions
from ..progress import progress_bar
from .bytes_codec import CHUNK_BYTES, pack_blob
from .files import check_target, new_file
from .header_writer import MAX_RECORD_BYTES, KeptWriter
from .manifest import Entry, Manifest, write_manifest
from .protect import add_parity
from .restore import verify_images, verify_rest
from .stack import Around, Stack
from .tree import Source, Tree, collect, source_errors


@dataclass(frozen=True)
class Summary:
    """Counts for the final line of the command."""

    files: int
    raw_bytes: int
    packed_bytes: int
    voxels: int
    voxel_bits: float  # bits per voxel of headers and slabs; 0 without voxels


def compress(
    inputs: list[Path],
    output: Path,
    options: EncodeOptions = ENCODING,
    *,
    force: bool = False,
) -> Summary:
    """Archive folders and files.

    Parameters:
        inputs: folders and files.
        output: the archive. It gets its name when it is complete.
        options: see `options.EncodeOptions`.
        force: overwrite an existing `output`.

    Raises:
        TargetError: where `output` exists or cannot be written.
        UnsupportedError: for an input that cannot be read, or options that cannot be met.
        VerificationError: where the archive does not decode to the input.
    """
    check_target(output, force=force)
    tree = collect(inputs)
    if any(source.path.resolve() == output.resolve() for source in tree.files):
        raise UnsupportedError(f"{output} is itself among the files to archive; write it elsewhere with -o")
    stacks = volumes(_images(tree.files))
    with new_file(output, force=force) as (file, temporary):
        packer = _Packer(Writer(file), options)
        sizes = [sum(image.rows * image.columns * image.frames for image in stack) for stack in stacks]
        voxels = sum(sizes)
        label = "compressing" if options.effort <= EFFORT else "fine-tuning, compressing"
        label += ", verifying" if options.verify else ""
        work = sum(progress_of(size, options.effort) + size * options.verify for size in sizes)
        try:
            with progress_bar(label, work) as progress:
                for stack in stacks:
                    packer.add_volume(stack, progress)
            coded = {image.name for stack in stacks for image in stack}
            packer.finish(tree, [source for source in tree.files if source.name not in coded])
            file.close()
            if options.verify:
                with temporary.open("rb") as written:
                    packer.verify(Reader(written))
        except DamagedError as error:
            raise VerificationError(
                f"what was coded does not decode to what was read, so nothing was written: {error}"
            ) from error
        if options.parity:
            add_parity(temporary, options.parity)
        size = temporary.stat().st_size
    return Summary(len(tree.files), packer.raw_bytes, size, voxels, 8 * packer.volume_bytes / max(voxels, 1))


def _images(sources: list[Source]) -> Iterator[Image]:
    """Yield the images among the files, except those with more bytes around the voxels than one KEEP section holds."""
    for source in sources:
        with source_errors(source.path):
            image = read_image(source.path, source.name)
        if image and image.size - image.pixel_bytes <= MAX_RECORD_BYTES:
            yield image


class _Packer:
    """Writes the sections of one archive; collects its manifest and, with `verify`, digests to compare with."""

    def __init__(self, writer: Writer, options: EncodeOptions) -> None:
        self._writer, self._options = writer, options
        self._kept = KeptWriter(writer)
        self._manifest = Manifest("", [], [], [], [])
        self._records: list[bytes] = []  # SHA-256 of the bytes around every image's voxels
        self.raw_bytes = 0  # of all files read
        self.volume_bytes = 0  # of VHDR and SLAB sections

    def add_volume(self, images: list[Image], progress: Progress) -> None:
        """Keep the bytes around the voxels of one volume's images, and encode the voxels slab by slab.

        With `verify`, a slab is verified while later slabs are encoded.
        """
        stack, entries = Stack(images), []
        around: list[Around] = []  # empty without `verify`
        for entry, (before, after) in stack.files():
            self._kept.add(images[0].format, before, after)
            self.raw_bytes += entry.size
            entries.append(entry)
            if self._options.verify:
                around.append((before, after))
                self._records.append(hashlib.sha256(before + after).digest())
        start = self._writer.size
        number = len(self._manifest.volumes)
        volume, slabs = write_volume(self._writer, number, stack, self._options, progress=progress)
        with closing(slabs):
            if self._options.verify:
                verify_images(volume, entries, around, slabs)
            for _ in slabs:
                pass
        self.volume_bytes += self._writer.size - start
        self._manifest.volumes.append(entries)
        self._kept.end_volume()

    def finish(self, tree: Tree, whole: list[Source]) -> None:
        """Store the files that are not coded as volumes, then write manifest and index."""
        self._kept.flush()
        entries = self._add_blobs(whole)
        self._manifest = Manifest(tree.root, self._manifest.volumes, self._kept.records, entries, tree.folders)
        write_manifest(self._writer, self._manifest)
        self._writer.finish()

    def verify(self, reader: Reader) -> None:
        """Raise DamagedError unless the finished archive holds what was written and verified."""
        verify_rest(reader, self._writer.digests, self._manifest, self._records, self._options.record)

    def _add_blobs(self, sources: list[Source]) -> list[Entry]:
        """Store files one after another in BLOB sections of CHUNK_BYTES raw bytes; a large file spans several."""
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
