"""The ISO 9660 image: `build` writes it, `verify` reads it back by code that shares nothing with the writer."""
