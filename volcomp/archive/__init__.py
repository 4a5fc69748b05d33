"""Archive a folder as a `.vcz`: image series as volumes, all other bytes kept. Files are restored byte for byte."""
