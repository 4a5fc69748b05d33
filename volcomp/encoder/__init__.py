"""What only an encoder decides: nothing here defines the bits."""
