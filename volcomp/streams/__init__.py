"""Compressed streams of other codecs, taken apart into samples and made again byte for byte."""
