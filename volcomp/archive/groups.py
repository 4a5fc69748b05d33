"""Groups of series as transactions: where a file changes between its two readings, its group is written once more.

What was written of the group is taken back. The file itself is kept whole, as it is when it is read for that.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..codec.decode import Progress
from ..errors import SourceError
from ..formats.protocol import Image
from .images import ImageWriter

CHANGED = "it could not be read again, or changed while it was read"


class Groups:
    """Writes images by an `ImageWriter`; `reasons` has why files must be kept whole, by their names."""

    def __init__(self, images: ImageWriter) -> None:
        self._images = images
        self._mark = images.mark()
        self._stacks: list[list[Image]] = []  # of the group
        self._given_up: dict[str, str] = {}  # as `reasons`, of the group
        self.reasons: dict[str, str] = {}

    def add(self, stack: list[Image], progress: Progress) -> None:
        """Write the images of one series, or take them into the group; see `ImageWriter.add`.

        Raises UnsupportedError where an image that was read once cannot be read again for another reason.
        """
        self._write([stack], progress, last=False)

    def finish(self, progress: Progress) -> None:
        """Write the last group."""
        self._write([], progress, last=True)

    def _write(self, stacks: Sequence[list[Image]], progress: Progress, *, last: bool) -> None:
        while True:
            try:
                for stack in stacks:
                    self._stacks.append(stack)
                    self._given_up |= self._images.add(stack, progress)
                    self._settle()
                if last:
                    self._images.flush(progress)
                    self._settle()
                return
            except SourceError as error:
                stacks = self._without(error)
                progress = _unreported

    def _settle(self) -> None:
        """Begin the next group where the last one is written."""
        if self._images.is_at_rest:
            self._mark = self._images.mark()
            self.reasons |= self._given_up
            self._stacks, self._given_up = [], {}

    def _without(self, error: SourceError) -> list[list[Image]]:
        """Take the group back; return its series without the file that changed."""
        changed = [image for stack in self._stacks for image in stack if image.path == error.path]
        if not changed:
            raise error
        self._images.rewind(self._mark)
        left = [[image for image in stack if image.path != error.path] for stack in self._stacks]
        self.reasons |= {image.name: CHANGED for image in changed}
        self._stacks, self._given_up = [], {}
        return [stack for stack in left if stack]


def _unreported(done: int) -> None:
    """Take no notice of progress on what was reported once."""
