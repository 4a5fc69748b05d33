"""Read volumes of an archive as lazy arrays, with geometry and rescaling, and write them as files of other formats."""
