"""The page for people: what there is, a viewer, downloads, uploads, and the service for X-rays.

`pages` has the routes. `listing` makes rows of what the store finds, `stacks` orders the frames of a series in space,
`voxels` sends them, `downloads` sends files. `jobs` keeps uploads and runs them in processes of their own (`worker`),
`intake` writes bodies of requests to disk, `unzip` reads archives that nobody trusts, `xray` is the service.
"""

from .pages import routes

__all__ = ["routes"]
