"""Encode files as a `.vcz`: images become volumes, other files are kept whole. The output is verified, then named.

The file is written group by group: what is kept of some images beside their voxels, the list of these files, their
volumes. So the files of an archive that is cut anywhere keep their names.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from ..constants import EFFORT
from ..container import parity
from ..container.losses import Loss, write_losses
from ..container.sections import FORMAT_VERSION, Reader, Writer
from ..container.volume import SLICE_VOXELS
from ..errors import DamagedError, UnsupportedError, VerificationError
from ..formats.protocol import Extent, Image, NotCoded
from ..formats.registry import read_image
from ..formats.series import volumes
from ..options import ENCODING, EncodeOptions
from ..progress import progress_bar
from ..runtime import room
from ..wording import spelled
from .entry import Kind
from .files import check_target, clear, new_output
from .groups import Groups
from .images import ImageWriter, work
from .ledger import Ledger
from .tree import Item, Tree, collect, source_errors
from .whole import Whole, add_whole


@dataclass(frozen=True)
class Summary:
    """Counts for the final line of the command."""

    files: int
    raw_bytes: int
    packed_bytes: int
    voxels: int  # that are coded; each picture once
    voxel_bits: float  # bits per voxel of headers and slabs; 0 without voxels
    skipped: list[str] = field(default_factory=list)  # a sentence for each input that could not be read
    folders: int = 0
    links: int = 0
    changed: int = 0  # files that are not those given: their voxels lie within the bound that was allowed
    unchanged: list[str] = field(default_factory=list)  # names of images that were to change and could not
    warnings: list[str] = field(default_factory=list)


class Substitute(Protocol):
    """A tree in which files stand for others, and what is said of them."""

    @property
    def tree(self) -> Tree:
        """The tree to archive."""
        ...

    @property
    def losses(self) -> Sequence[Loss]:
        """How the files differ."""
        ...

    @property
    def exact(self) -> list[str]:
        """See `Summary.unchanged`."""
        ...

    @property
    def warnings(self) -> list[str]:
        """See `Summary.warnings`."""
        ...


class _Same(NamedTuple):
    """The tree itself."""

    tree: Tree
    losses: Sequence[Loss] = ()
    exact: list[str] = []  # noqa: RUF012 (nobody appends)
    warnings: list[str] = []  # noqa: RUF012


def compress(
    inputs: list[Path],
    output: Path | BinaryIO,
    options: EncodeOptions = ENCODING,
    *,
    force: bool = False,
    times: bool = True,
    skip_errors: bool = False,
    substitute: Callable[[Tree], AbstractContextManager[Substitute]] | None = None,
    whole: str = "",
) -> Summary:
    """Archive folders and files.

    Parameters:
        inputs: folders and files.
        output: the archive, which gets its name when it is complete; or a stream, which gets it when it is complete.
        options: see `options.EncodeOptions`.
        force: overwrite an existing `output`.
        times: keep times of modification and permissions.
        skip_errors: leave out what cannot be read; see `Summary.skipped`.
        substitute: puts other files in the place of some; see `derived`.
        whole: why all files are kept whole, none coded as a volume; "" where they are not.

    Raises:
        TargetError: where `output` exists or cannot be written.
        UnsupportedError: for an input that cannot be read, or options that cannot be met.
        VerificationError: where the archive does not decode to the input.
    """
    if isinstance(output, Path):
        check_target(output, force=force)
        clear(output)
    tree = gather(inputs, output if isinstance(output, Path) else None, times=times, skip_errors=skip_errors)
    with (
        substitute(tree) if substitute else nullcontext(_Same(tree)) as given,
        new_output(output, force=force) as file,
    ):
        writer = Writer(file, FORMAT_VERSION)
        ledger = Ledger(writer, tree.root, [item for item in tree.items if item.kind != Kind.FILE], itself=tree.itself)
        done = fill(
            file, writer, ledger, given.tree, options, skip_errors=skip_errors, losses=given.losses, whole=whole
        )
        changed = sum(loss.files for loss in given.losses)
        return replace(done, changed=changed, unchanged=given.exact, warnings=given.warnings)


def gather(inputs: list[Path], output: Path | None, *, times: bool, skip_errors: bool, own_names: bool = False) -> Tree:
    """List the inputs of `output`, which must not be one of them; see `tree.collect`. Raises UnsupportedError."""
    tree = collect(inputs, skip_errors=skip_errors, own_names=own_names)
    if output and output.exists():
        itself = output.stat()
        for item in tree.files:
            with source_errors(item.path):
                if os.path.samestat(item.path.stat(), itself):
                    raise UnsupportedError(
                        f"{output} is itself among the files to archive; write it elsewhere with {spelled('output=')}"
                    )
    if not times:
        tree = replace(tree, items=[replace(item, mtime=None, mode=None) for item in tree.items], itself=None)
    return tree


def fill(
    file: BinaryIO, writer: Writer, ledger: Ledger, tree: Tree, options: EncodeOptions, *, skip_errors: bool,
    losses: Sequence[Loss] = (), whole: str = "",
) -> Summary:  # fmt: skip
    """Write the sections of all files and the end of an archive, and verify it; see `compress`.

    Raises MemoryError before the work where that is known to fail.
    """
    room.check()
    reasons: dict[str, str] = {}  # by the name of a file that is kept whole
    jpeg: dict[str, list[Extent]] = {}  # frames in such a file
    if whole:
        reasons = {item.name: whole for item in tree.files}
    stacks = volumes([] if whole else list(_images(tree.files, reasons, jpeg)))
    of_images = ImageWriter(writer, ledger, options, {item.name: item for item in tree.files})
    try:
        label = "compressing" if options.effort <= EFFORT else "fine-tuning, compressing"
        label += ", verifying" if options.verify else ""
        with progress_bar(label, sum(work(stack, options) for stack in stacks)) as progress:
            groups = Groups(of_images)
            for stack in stacks:
                groups.add(stack, progress)
            groups.finish(progress)
        reasons |= groups.reasons
        others = [
            Whole(item, reasons[item.name], jpeg.get(item.name, [])) for item in tree.files if item.name in reasons
        ]
        skipped = [*tree.skipped, *add_whole(writer, ledger, others, skip_errors=skip_errors)]
        ledger.finish()
        if losses:
            write_losses(writer, losses)
        writer.finish()
        file.flush()
        if options.verify:
            ledger.verify(Reader(file), options.record)
        if options.parity:
            parity.append(file, writer.size, options.parity)
    except DamagedError as error:
        raise VerificationError(
            f"what was coded does not decode to what was read, so nothing was written: {error}"
        ) from error
    finally:
        of_images.close()
    bits = 8 * of_images.bytes / max(of_images.voxels, 1)
    folders, links = (sum(item.kind == kind for item in tree.items) for kind in (Kind.FOLDER, Kind.LINK))
    size = file.seek(0, 2)
    return Summary(ledger.files, ledger.raw_bytes, size, of_images.voxels, bits, skipped, folders, links)


def _images(items: list[Item], reasons: dict[str, str], jpeg: dict[str, list[Extent]]) -> Iterator[Image]:
    """Yield the images among the files; note of all others why they are kept whole, and where they have JPEG frames."""
    for item in items:
        try:
            with source_errors(item.path):
                image = read_image(item.path, item.name)
        except UnsupportedError:  # it will be raised again, or passed over, where the file is read whole
            image = None
        except NotCoded as error:
            reasons[item.name] = str(error)
            jpeg[item.name] = error.jpeg
            continue
        if image is None:
            reasons[item.name] = ""
        elif image.rows * image.columns > SLICE_VOXELS:
            reasons[item.name] = (
                f"a frame of {image.columns} × {image.rows} pixels exceeds the {SLICE_VOXELS} of a slice"
            )
        else:
            yield image
