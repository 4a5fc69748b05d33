"""The structure of a file: sections, and the header of a volume. Needs numpy at most."""
