"""Tests with a target of their own in the Makefile: they take minutes. No file here is called `test_*.py`, so that
`make test` does not collect them; pytest takes a file that is named to it whatever it is called.
"""
