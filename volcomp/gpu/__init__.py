"""The GPU backend: it works on all slabs of a volume at once, front by front, and gives the same bits as the CPU."""
