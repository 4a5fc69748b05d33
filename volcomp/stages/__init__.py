"""The stages of the pipelines, for encoding and decoding. They define the bits: any change here changes the format."""
