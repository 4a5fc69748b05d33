"""A tree of archives as a DICOMweb server with a page for people: `volcomp serve`."""
