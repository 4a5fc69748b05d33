"""Many series at once: archive a tree of folders, or restore it, with the cores of a machine or a Dask cluster."""
