"""JPEG 2000 (ITU-T T.800, and T.814 for High-Throughput code blocks) without loss, taken apart and made again.

`stream` is the codec. Of a stream, `codestream` reads marker segments, `geometry` lays out what they describe,
`packets` reads and writes packets with the `tag_trees` in their headers, and `assembly` puts all together. Of an image,
`coder` calls `wavelet`, and for code blocks `tier1_encode` and `tier1_decode`, which share `contexts` and `mq`,
or `ht_encode` and `ht_decode`, which share `ht_tables`.
"""
