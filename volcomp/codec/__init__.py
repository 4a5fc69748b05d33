"""A volume to its header and slabs, and slabs to a volume: the loop over slabs, and the choice of an engine."""
