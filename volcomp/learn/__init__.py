"""The network as something that learns: its differentiable twin, and the fine-tuning to a volume."""
