"""The documentation: Markdown pages, and what Sphinx makes HTML of them with (`make docs`)."""
