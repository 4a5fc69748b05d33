"""The GPU backend: the slabs of a volume, front by front, all at once, and the same bits as everywhere."""
