"""What a user may choose, and what is taken unless they do. Nothing is imported here, so that `--help` is quick."""

MODELS = ("turbo", "fast", "base", "paper")  # those that `--model` takes, the fastest first
# `fast` takes a half to a quarter of the time of `base` and gives up 1.3 % of the size (docs/decisions.md).
MODEL = "fast"
EFFORT = 5
