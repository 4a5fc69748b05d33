"""The command `volcomp`: one file for each of its commands. The library is imported only when there is work."""

from .main import main

__all__ = ["main"]
