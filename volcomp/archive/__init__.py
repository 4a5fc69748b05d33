"""A folder of files <-> `.vcz`: DICOM series as volumes, all other bytes kept, every file back byte for byte."""
