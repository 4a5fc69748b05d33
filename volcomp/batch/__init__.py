"""Many series at once: a tree of folders <-> a tree of `.vcz`, over the cores of one machine or a Dask cluster."""
