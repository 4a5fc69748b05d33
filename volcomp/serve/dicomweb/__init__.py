"""DICOMweb (PS3.18): requests to calls of the store, and what it returns to responses."""

from .routes import mounted

__all__ = ["mounted"]
