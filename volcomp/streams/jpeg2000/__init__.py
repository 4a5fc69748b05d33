"""JPEG 2000 (ITU-T T.800 | ISO/IEC 15444-1) without loss, taken apart and made again.

`stream` is the codec. Of a stream, `codestream` reads marker segments, `geometry` lays out what they describe,
`packets` reads and writes packets with the `tag_trees` in their headers, and `assembly` puts all together. Of an image,
`coder` calls `wavelet`, and for code blocks `tier1_encode` and `tier1_decode`, which share `contexts` and `mq`.
"""
