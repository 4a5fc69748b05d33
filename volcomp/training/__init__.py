"""Floats live here alone: training of the row LSTM, and its export to the integers that the codec uses."""
