"""The command `volcomp`, one file for each subcommand. The library is imported only when it is needed."""

from .main import main

__all__ = ["main"]
