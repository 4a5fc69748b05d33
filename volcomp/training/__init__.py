"""Training of the models in floats, and their export to the integers that the codec uses."""
