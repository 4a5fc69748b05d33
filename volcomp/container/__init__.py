"""What a file is made of: sections, and the header of a volume. Needs numpy at most."""
