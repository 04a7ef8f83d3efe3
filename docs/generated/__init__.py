"""Parts of the reference that are made from the code, one module for each: `markdown()` returns the text.

So the reference cannot say anything but what the code does.
"""
