"""From a volume to its header and slabs, and back: the loop over slabs, and who does the work."""
