"""Figures that the README quotes, measured in one run: `make bench`."""
