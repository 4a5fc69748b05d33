"""New instances: durably on disk, readable at once, packed into archives when their series is quiet."""

from .folder_inbox import FolderInbox, open_inbox

__all__ = ["FolderInbox", "open_inbox"]
