"""The page for people: what there is, a viewer, downloads, uploads, and the service for X-rays.

`pages` has the routes. `listing` makes rows of what the store finds, `stacks` orders the frames of a series in space,
`voxels` sends them, `downloads` sends files. `uploads` has the routes of files that are handed in, `intake` writes them
to disk, `jobs` has them worked on in processes of their own (`worker`), `unzip` opens zips that nobody trusts, `xray`
has the routes of the service, and `coding` does its work.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from ..inbox.protocol import Inbox
    from ..settings import Settings
    from ..store.protocol import Store
    from ..work import Work


def opened(
    store: Store, inbox: Inbox, settings: Settings, work: Work | None = None
) -> AbstractContextManager[list[BaseRoute]]:
    """Yield the routes of the page; see `pages.opened`."""
    from .pages import opened

    return opened(store, inbox, settings, work)


def routes(store: Store, inbox: Inbox, settings: Settings, work: Work | None = None) -> list[BaseRoute]:
    """Return the routes of the page; see `pages.routes`. Imported late: workers need none of it."""
    from .pages import routes

    return routes(store, inbox, settings, work)
