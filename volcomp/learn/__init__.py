"""The differentiable twin of the row network, for training and for fine-tuning to a volume."""
