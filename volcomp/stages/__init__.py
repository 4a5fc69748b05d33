"""What defines the bits: each stage of the pipelines, in both directions. A change here is another format."""
