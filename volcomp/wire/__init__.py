"""Numbers as bytes: variable length, Rice codes, and the cursor that reads them."""
