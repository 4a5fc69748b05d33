"""File formats behind one protocol. Encoding and decoding depend on no particular format."""
