"""What the server knows of a tree of archives, and reads from it. It knows nothing of HTTP."""

from .tree_store import TreeStore, open_store

__all__ = ["TreeStore", "open_store"]
