"""Kinds of predictors, each from grey levels to a slab's payload and back."""
