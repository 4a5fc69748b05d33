"""The LSTM that runs along the row: `turbo`, `fast` and `base`."""
