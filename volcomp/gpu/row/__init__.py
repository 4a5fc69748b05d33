"""The pipeline `row` on a GPU."""
