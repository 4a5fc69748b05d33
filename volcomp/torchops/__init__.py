"""What the walk on a GPU and training there have in common: the inputs and the gates, in torch and in Triton."""
