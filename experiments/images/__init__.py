"""Published systems for single medical images, built as one family of codecs and measured on one bench."""
