"""What several stages must agree on."""

EFFORT = 5  # the default, and the highest that leaves a model as it is
