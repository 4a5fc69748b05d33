"""Numbers as bytes: variable length, zigzag, Rice codes, and the cursor that reads them."""
