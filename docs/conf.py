"""How Sphinx makes HTML of the documentation. Warnings are errors, and nothing is asked of the network."""

from __future__ import annotations

from configdrive import __version__

project = "configdrive-fleet"
author = "the authors of configdrive-fleet"
project_copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.graphviz",
]
html_theme = "furo"
html_title = f"configdrive-fleet {__version__}"
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False

nitpicky = True  # a reference that leads nowhere is a warning, and so an error

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

graphviz_output_format = "svg"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
