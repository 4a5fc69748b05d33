"""Stage 2, the integer LSTM that runs along the row: its weights, and backends that all give the same bits."""
