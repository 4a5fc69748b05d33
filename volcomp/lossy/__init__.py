"""An image codec with loss: the first layer of layered files. `encode` meets a budget of bytes, `decode` is exact."""

from .codec import decode, encode

__all__ = ["decode", "encode"]
