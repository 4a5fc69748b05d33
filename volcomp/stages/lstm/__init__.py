"""The integer LSTM that runs along the row: its weights, and backends that all compute the same bits."""
