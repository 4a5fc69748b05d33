"""An image codec with loss: the first layer of layered files. `encode` meets a budget of bytes, `decode` is exact."""

from .codec import decode, decode_finely, encode

__all__ = ["decode", "decode_finely", "encode"]
