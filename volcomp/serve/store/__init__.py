"""What the server knows of a tree of archives, and reads from it. It knows nothing of HTTP."""
