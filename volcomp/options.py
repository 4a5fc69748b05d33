"""What a user may choose, and what is taken unless they do. Nothing is imported here, so that `--help` is quick."""

MODELS = ("turbo", "fast", "base", "paper")  # those that `--model` takes, the fastest first
# `fast` compresses five times as fast as `base` and gives up 1.3 % of the size; `turbo` is no smaller for the rest of
# the time that it saves.
MODEL = "fast"
EFFORT = 5
